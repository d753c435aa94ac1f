"""Link specs: `KIND:NUMBER,NUMBER,...`, or a trace file. Rates are Mbit/s, times seconds since the start.

A further kind of numbers is one class and one line in `_KINDS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from kimad.trace.compose import PART, Concat, Scale
from kimad.trace.formats import FORMATS, read_trace
from kimad.trace.limits import LinkError, number, shown
from kimad.trace.link import HostLink, Link
from kimad.trace.markov import Markov
from kimad.trace.pattern import Outage, Square
from kimad.trace.steps import Steps
from kimad.trace.walk import Walk
from kimad.trace.wave import Const, PaperSine, Sine

MAX_SPEC = 1 << 20  # characters
_MAX_DEPTH = 20  # of links in links
_MAX_SLASHES = 100  # at which UP/DOWN is looked for
_DOWN_SEED = 1_000_000  # an unseeded link of host i takes seed i upwards, and this + i where down has its own spec

# kind -> the class, and its fields as they are called in messages; one in brackets may be left out
_KINDS: dict[str, tuple[Callable[..., Link], tuple[str, ...]]] = {
    "const": (Const, ("MBPS",)),
    "sine": (Sine, ("LO", "HI", "PERIOD_S")),
    "paper-sine": (PaperSine, ("ETA", "THETA", "DELTA")),
    "square": (Square, ("LO", "HI", "PERIOD_S")),
    "walk": (Walk, ("LO", "HI", "SIGMA", "[SEED]")),
    "markov": (Markov, ("ON_MBPS", "OFF_MBPS", "MEAN_ON_S", "MEAN_OFF_S", "[SEED]")),
    "outage": (Outage, ("MBPS", "EVERY_S", "FOR_S")),
}


def _form(kind: str) -> str:
    return f"{kind}:{','.join(_KINDS[kind][1])}".replace(",[", "[,")


_OTHER_FORMS = {
    "steps": "steps:MBPS,SECONDS,MBPS,SECONDS,...",
    "scale": "scale:FACTOR,LINK",
    "concat": f"concat:SECONDS,LINK{PART}SECONDS,LINK...",
}
_FILE_FORM = "a trace FILE or FORMAT:FILE"
LINK_FORMS = ", ".join([*map(_form, _KINDS), *_OTHER_FORMS.values(), _FILE_FORM])


def parse_link(spec: str) -> Link:
    """The link that a spec describes, such as `const:100`, `sine:30,330,30` or `traces/tram.txt`.

    Raises:
        LinkError: unknown kind, missing or surplus fields, a number that is not allowed, no such file.
        TraceError: the file is no trace.
    """
    if len(spec) > MAX_SPEC:
        raise LinkError(f"link {shown(spec)} has {len(spec)} characters; allowed: {MAX_SPEC}; write a trace file")
    spec = spec.strip()
    kind, colon, rest = spec.partition(":")
    if kind in _KINDS:
        return _of_numbers(spec, kind, rest)
    if kind == "steps":
        return _steps(spec, rest)
    if kind == "scale":
        factor, inner = _first(spec, rest, "FACTOR", _OTHER_FORMS["scale"])
        if inner.count("scale:") > _MAX_DEPTH:
            raise LinkError(f"link {shown(spec)}: too many scales in each other; multiply the factors")
        return Scale(factor, parse_link(inner))
    if kind == "concat":
        form = _OTHER_FORMS["concat"]
        parts = (_first(spec, part, "SECONDS", form) for part in rest.split(PART))
        return Concat(tuple((seconds, _simple(spec, inner)) for seconds, inner in parts))
    if colon and kind in FORMATS:
        return read_trace(rest, kind, source=spec)
    if os.path.isfile(spec):
        return read_trace(spec, source=spec)
    raise LinkError(f"link {shown(spec)} is of no known kind, and no such file exists; allowed: {LINK_FORMS}")


def parse_links(spec: str | Sequence[str], hosts: int) -> list[HostLink]:
    """The links of `hosts` hosts.

    One spec holds for all; several, as a sequence or with `;` between, are one a host. `UP/DOWN` gives each direction
    its own: a text that names an existing file or holds no slash is one link, any other is split at its one slash
    that has a link on both sides. Random links without a seed differ between hosts: host i takes seed i.

    Raises:
        LinkError: a spec is wrong, or their number is neither 1 nor `hosts`.
    """
    if hosts < 1:
        raise LinkError(f"links for {hosts} hosts; there must be 1 or more")
    given = [spec] if isinstance(spec, str) else list(spec)
    texts = [part for text in given for part in _split_hosts(text)]
    if len(texts) not in (1, hosts):
        raise LinkError(f"{len(texts)} links for {hosts} hosts; give one for all, or one for each")
    pairs = [_pair(text) for text in texts]
    if len(pairs) == 1:
        pairs *= hosts
    return [_for_host(up, down, host) for host, (up, down) in enumerate(pairs)]


def _for_host(up: Link, down: Link, host: int) -> HostLink:
    own = up.for_host(host)
    return HostLink(own, own if down is up else down.for_host(_DOWN_SEED + host))


def _split_hosts(text: str) -> list[str]:
    return [text] if os.path.isfile(text) else text.split(";")


def _pair(text: str) -> tuple[Link, Link]:
    """Up and down."""
    text = text.strip()
    if len(text) <= MAX_SPEC and not _is_one(text):
        slashes = [i for i, c in enumerate(text) if c == "/"][:_MAX_SLASHES]
        splits = [i for i in slashes if _is_one(text[:i].strip()) and _is_one(text[i + 1 :].strip())]
        if len(splits) > 1:
            raise LinkError(
                f"link {shown(text)} can be split into UP/DOWN at {len(splits)} places; name files by other paths"
            )
        if splits:
            return parse_link(text[: splits[0]]), parse_link(text[splits[0] + 1 :])
    link = parse_link(text)
    return link, link


def _is_one(text: str, depth: int = 0) -> bool:
    """Does it name one link, as far as its kind and its files tell?"""
    kind, colon, rest = text.partition(":")
    if kind in ("scale", "concat") and colon:
        parts = rest.split(PART) if kind == "concat" else [rest]
        return depth < _MAX_DEPTH and all(_is_one(part.partition(",")[2].strip(), depth + 1) for part in parts)
    if colon and (kind in _KINDS or kind == "steps"):
        return "/" not in rest
    return os.path.isfile(rest if colon and kind in FORMATS else text)


def _simple(spec: str, inner: str) -> Link:
    if inner.strip().startswith("concat:"):
        raise LinkError(f"link {shown(spec)}: a concat cannot stand in a concat; list its parts instead")
    return parse_link(inner)


def _first(spec: str, text: str, name: str, form: str) -> tuple[float, str]:
    """The number before the first comma, and what follows it."""
    first, comma, rest = text.partition(",")
    if not comma:
        raise LinkError(f"link {shown(spec)}: {shown(text)} has no comma; allowed: {form}")
    return _number(spec, name, first, form), rest


def _of_numbers(spec: str, kind: str, rest: str) -> Link:
    make, fields = _KINDS[kind]
    form = _form(kind)
    texts = rest.split(",") if rest else []
    needed = sum(not field.startswith("[") for field in fields)
    if not needed <= len(texts) <= len(fields):
        raise LinkError(f"link {shown(spec)} has {len(texts)} fields; allowed: {form}")
    values: list[float | int] = []
    for name, text in zip(fields, texts, strict=False):
        values.append(_seed(spec, text, form) if name == "[SEED]" else _number(spec, name, text, form))
    return make(*values)


def _steps(spec: str, rest: str) -> Steps:
    form = _OTHER_FORMS["steps"]
    texts = rest.split(",")
    if len(texts) % 2:
        raise LinkError(f"link {shown(spec)} has {len(texts)} fields, each rate needs its seconds; allowed: {form}")
    values = [_number(spec, "SECONDS" if i % 2 else "MBPS", text, form) for i, text in enumerate(texts)]
    return Steps.lasting(values[1::2], values[::2])


def _seed(spec: str, text: str, form: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise LinkError(f"link {shown(spec)}: SEED is {shown(text)}; it must be a whole number; allowed: {form}")
    return int(text)


def _number(spec: str, name: str, text: str, form: str) -> float:
    try:
        return number(text)
    except ValueError:
        raise LinkError(f"link {shown(spec)}: {name} is {shown(text)}, which is no number; allowed: {form}") from None
