"""Bandwidth traces: the rate of a link as a function of time; generators, readers and writers."""

from kimad.trace.compose import Concat, Scale
from kimad.trace.formats import FORMATS, Format, read_trace
from kimad.trace.limits import LinkError, TraceError
from kimad.trace.link import HostLink, Link
from kimad.trace.markov import Markov
from kimad.trace.pattern import Outage, Square
from kimad.trace.spec import LINK_FORMS, parse_link, parse_links
from kimad.trace.steps import Steps
from kimad.trace.walk import Walk, walk_means
from kimad.trace.wave import Const, PaperSine, Sine

__all__ = [
    "FORMATS",
    "LINK_FORMS",
    "Concat",
    "Const",
    "Format",
    "HostLink",
    "Link",
    "LinkError",
    "Markov",
    "Outage",
    "PaperSine",
    "Scale",
    "Sine",
    "Square",
    "Steps",
    "TraceError",
    "Walk",
    "parse_link",
    "parse_links",
    "read_trace",
    "walk_means",
]
