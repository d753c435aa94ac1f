"""Writing a trace file: whole or not at all."""

from __future__ import annotations

from pathlib import Path

from kimad.files import replacing
from kimad.trace.formats import FORMATS, find_format
from kimad.trace.formats.base import Format
from kimad.trace.formats.text import MAX_BYTES
from kimad.trace.limits import TraceError, shown_path
from kimad.trace.steps import Steps


def target_format(path: Path, name: str | None) -> Format:
    """The format to write: `name`, or the one of the file's suffix. Raises TraceError if neither tells."""
    if name is not None:
        return find_format(name)
    suffix = path.suffix.lower()
    for form in FORMATS.values():
        if suffix and suffix in (form.suffix, f".{form.name}"):
            return form
    suffixes = ", ".join(f"{form.suffix} ({form.name})" for form in FORMATS.values() if form.suffix)
    raise TraceError(
        f"trace {shown_path(str(path))}: its suffix tells no format; allowed: {suffixes}; or give --to FORMAT"
    )


def write_trace(steps: Steps, path: Path, form: Format, *, force: bool) -> None:
    """Write a trace, under another name first.

    Raises:
        TraceError: the format cannot hold it, the file exists and `force` is not given, or it cannot be written.
    """
    check_target(path, force=force)
    text = form.write(steps)
    if len(text) > MAX_BYTES:
        need = f"it would have {len(text)} bytes in format {form.name}, more than the {MAX_BYTES} that are read"
        raise TraceError(f"trace {shown_path(str(path))}: {need}; take longer steps or fewer seconds")
    try:
        with replacing(path) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TraceError(
            f"trace {shown_path(str(path))} cannot be written: {error.strerror}; give another path"
        ) from error


def check_target(path: Path, *, force: bool) -> None:
    """Raises TraceError if the file cannot be made: it exists and may not be replaced, or its folder is not there."""
    if path.is_dir():
        raise TraceError(f"trace {shown_path(str(path))} is a folder; give the path of a file")
    if path.exists() and not force:
        raise TraceError(f"trace {shown_path(str(path))} exists; give another path, or --force to replace it")
    if not path.parent.is_dir():
        raise TraceError(f"trace {shown_path(str(path))}: its folder does not exist; make it, or give another path")
