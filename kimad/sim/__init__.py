"""Discrete-event simulation of the training step, with the runtime's own monitor, forecast, solver and objective."""

from kimad.sim.workload import Workload, WorkloadError

__all__ = ["Workload", "WorkloadError"]
