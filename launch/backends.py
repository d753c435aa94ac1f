"""Every way of shaping a link, by its name on the command line."""

from __future__ import annotations

from kimad.launch.backend import Backend
from kimad.launch.pace import PaceBackend

BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (PaceBackend(),)}
