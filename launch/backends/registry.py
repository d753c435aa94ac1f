"""Every way of shaping the links, in the order in which `auto` tries them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from kimad.launch.backends.backend import Backend
from kimad.launch.backends.hook import HookBackend
from kimad.launch.backends.namespaces import NamespaceBackend
from kimad.launch.backends.pace import PaceBackend
from kimad.launch.errors import UsageError
from kimad.launch.job import Job
from kimad.launch.testbed import probe, userns

AUTO = "auto"
BACKENDS: dict[str, Backend] = {
    backend.name: backend
    for backend in (
        NamespaceBackend("netns", "hosts are network namespaces, the kernel shapes their links", probe.netns, None),
        NamespaceBackend("userns", "as netns, in a user namespace of our own", probe.userns, userns.move),
        PaceBackend(),
        HookBackend(),
    )
}


@final
@dataclass(frozen=True)
class Choice:
    """The backend that a job gets."""

    backend: Backend
    passed_over: dict[str, str]  # better backend -> why it was not taken


def choose(name: str, job: Job) -> Choice:
    """The backend of that name, or for `auto` the first that works here and can do what the job asks for.

    Raises:
        UsageError: it does not work here, or cannot do it; or none does.
    """
    passed_over: dict[str, str] = {}
    for backend in BACKENDS.values() if name == AUTO else [BACKENDS[name]]:
        reason = backend.unfit(job) or backend.unavailable()
        if reason is None:
            return Choice(backend, passed_over)
        passed_over[backend.name] = reason
    reasons = "; ".join(f"{backend}: {reason}" for backend, reason in passed_over.items())
    if name == AUTO:
        raise UsageError(f"no backend can emulate this here: {reasons}")
    raise UsageError(f"backend {reasons.replace(':', ' cannot work here:', 1)}")
