"""The links of an emulated run, a host each."""

from __future__ import annotations

from kimad.launch.job import Job
from kimad.trace import HostLink, parse_links

SEPARATOR = ";"  # between the links of several hosts, in one text


def links_of(job: Job) -> list[HostLink]:
    """The link of each host of an emulated job."""
    return parse_links(job.link or "", job.hosts)
