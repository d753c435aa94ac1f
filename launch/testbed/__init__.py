"""A network of namespaces on this machine, with links that follow traces: `Testbed`, and `Player` for the traces."""

from kimad.launch.testbed.bed import Testbed
from kimad.launch.testbed.names import TestbedError
from kimad.launch.testbed.player import Player

__all__ = ["Player", "Testbed", "TestbedError"]
