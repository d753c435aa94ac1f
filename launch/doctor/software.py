"""What is installed: Python, torch and the other packages, in the ranges that Kimad declares; compiled kernels."""

from __future__ import annotations

import operator
import platform
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any, final

import torch
from torch.torch_version import TorchVersion

import kimad
from kimad.compressors import kernels
from kimad.launch.doctor.check import FAIL, OK, WARN, Check

PACKAGE = "kimad"
EXTRAS = {  # that a user may want -> what for
    "plot": "plots, and those of reports",
    "top": "`kimad top` drawn in place",
    "examples": "the example with pictures",
}
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {  # of a TorchVersion, which compares with texts, but for `!=`
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, ">": operator.gt, "<": operator.lt,
    "!=": lambda version, other: not operator.eq(version, other),
}  # fmt: skip
_PART = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*([\w.+!-]+)\s*")
_REQUIREMENT = re.compile(r"([\w.-]+)\s*(?:\[[^]]*\])?\s*([^;]*)(?:;\s*(.*))?")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([\w-]+)['\"]")


@final
@dataclass(frozen=True)
class Requirement:
    """A package that Kimad declares."""

    name: str
    versions: str  # such as ">=2.4,<3"; empty: any
    extra: str | None  # that it belongs to; None: needed at all times


def declared() -> list[Requirement]:
    """What the installed package declares; nothing where it is not installed."""
    found = []
    for text in (metadata.requires(PACKAGE) or []) if installed() else []:
        match = _REQUIREMENT.fullmatch(text)
        if match is not None:
            extra = _EXTRA.search(match[3] or "")
            found.append(Requirement(match[1], match[2].strip(" ()"), extra[1] if extra else None))
    return found


def installed() -> bool:
    """Whether Kimad is installed, and not only found in a source tree."""
    try:
        metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        return False
    return True


def within(version: str, versions: str) -> bool:
    """Whether a version is in a range. Raises ValueError for a range that cannot be read.

    Example:
        >>> within("2.13.0+cpu", ">=2.4,<3"), within("3.0", ">=2.4,<3")
        (True, False)
    """
    for part in filter(None, versions.split(",")):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"the range {versions!r} cannot be read")
        if not _COMPARE[match[1]](TorchVersion(version), match[2]):
            return False
    return True


def python() -> Check:
    """The interpreter."""
    version, system = platform.python_version(), f"{platform.system()} {platform.release()}, {platform.machine()}"
    if not installed():
        return Check("python", OK, f"{version}, {system}")
    versions = metadata.metadata(PACKAGE)["Requires-Python"] or ""
    if within(version, versions):
        return Check("python", OK, f"{version} ({versions} is declared), {system}")
    return Check("python", FAIL, f"{version}, {versions} is declared", "use another interpreter")


def packages() -> Check:
    """What Kimad needs to run."""
    found, wrong = [f"kimad {kimad.__version__}"], []
    if not installed():
        text = f"{found[0]} from a source tree, torch {torch.__version__}; the ranges that it declares are not known"
        return Check("packages", WARN, text, "pip install . in that tree")
    for one in declared():
        if one.extra is not None:
            continue
        version = torch.__version__ if one.name == "torch" else metadata.version(one.name)
        found.append(f"{one.name} {version} ({one.versions})")
        if not within(version, one.versions):
            wrong.append(f"{one.name}{one.versions}")
    if wrong:
        return Check("packages", FAIL, ", ".join(found), f"pip install {' '.join(map(repr, wrong))}")
    return Check("packages", OK, ", ".join(found))


def extras() -> Check:
    """What some commands want."""
    if not installed():
        return Check("extras", WARN, "not known, for Kimad is not installed", "pip install . in its tree")
    wanted = [one for one in declared() if one.extra in EXTRAS]
    missing = [one for one in wanted if not _installed(one)]
    if not missing:
        return Check("extras", OK, f"all there: {', '.join(sorted({one.name for one in wanted}))}")
    texts = [f"{one.name} for {EXTRAS[one.extra or '']}" for one in missing]
    groups = ",".join(dict.fromkeys(one.extra or "" for one in missing))
    return Check("extras", WARN, f"missing: {'; '.join(texts)}", f"pip install 'kimad[{groups}]' if you want these")


def _installed(one: Requirement) -> bool:
    try:
        return within(metadata.version(one.name), one.versions)
    except metadata.PackageNotFoundError:
        return False


def compiled() -> Check:
    """Whether codecs run as compiled code."""
    if kernels.compiled():
        return Check("kernels", OK, "compiled kernels are in use")
    advice = "install a C compiler, then kimad again"
    return Check("kernels", WARN, "numpy codes alone: the same bytes, but several times slower", advice)
