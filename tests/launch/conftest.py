"""What the tests of emulated networks need of the machine, and why they skip where it is not there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from kimad.launch.testbed import probe
from kimad.launch.testbed.names import NETNS, tag_of
from kimad.launch.testbed.owner import claimed, is_orphan
from kimad.launch.testbed.shaping import Path as LinkPath
from tests.source import ROOT

NOBODY = 65534


def _need(reason: str | None) -> None:
    if reason is not None and "CI" not in os.environ:  # there nothing may be skipped
        pytest.skip(f"an emulated network cannot be made here: {reason}")


@pytest.fixture(scope="session")
def netns() -> None:
    """Namespaces, as root."""
    _need(probe.netns(LinkPath()))


@pytest.fixture(scope="session")
def userns() -> None:
    """Namespaces, as any user."""
    _need(probe.userns(LinkPath()))


@pytest.fixture
def leaves_nothing() -> Iterator[None]:
    """No namespace and no interface. That no process is left holds for every test."""
    interfaces = set(os.listdir("/sys/class/net"))
    before = orphans()
    yield
    assert orphans() <= before
    assert set(os.listdir("/sys/class/net")) == interfaces


def orphans() -> set[str]:
    """Namespaces and owner files without a living owner: others may have emulations of their own."""
    names = {name: tag_of(name) for name in (os.listdir(NETNS) if NETNS.is_dir() else [])}
    living = {tag for tag in claimed() if not is_orphan(tag)}
    return {name for name, tag in names.items() if tag is not None and tag not in living} | set(claimed()) - living


@pytest.fixture
def nobody(tmp_path: Path) -> list[str]:
    """The start of a command that runs Python without any privilege, in `tmp_path`."""
    if os.geteuid() != 0:
        return [sys.executable]
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv (util-linux) is not installed, so root cannot try it without privilege")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all"]
    paths = [str(ROOT), sysconfig.get_path("purelib")]
    for python in (sys.executable, f"/usr/bin/{version}"):
        variables = ["env", f"PYTHONPATH={os.pathsep.join(paths)}", f"HOME={tmp_path}", f"TMPDIR={tmp_path}"]
        command = [*drop, *variables, python]
        tried = subprocess.run(
            [*command, "-c", "import click, numpy, psutil, torch"],
            cwd=tmp_path,
            capture_output=True,
            timeout=50,
            check=False,
        )
        if tried.returncode == 0:
            break
    else:
        pytest.skip(f"no Python {version} with torch can be read by another user; install the project outside /root")
    for folder in tmp_path.parents:
        if "pytest-of-" in str(folder):  # pytest keeps others out
            folder.chmod(0o755)
    os.chown(tmp_path, NOBODY, NOBODY)
    return command
