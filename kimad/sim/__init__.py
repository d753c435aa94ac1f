"""Simulation of training steps that runs the runtime's own monitor, forecast, curves, solver and objectives.

scenario = Scenario(workload, links);  simulate(scenario, "kimad").figures()
"""

from kimad.sim.errors import SimulationError
from kimad.sim.simulate import Result, Scenario, simulate
from kimad.sim.strategy import FORMS, default_strategies
from kimad.sim.workload import Workload, WorkloadError

__all__ = [
    "FORMS",
    "Result",
    "Scenario",
    "SimulationError",
    "Workload",
    "WorkloadError",
    "default_strategies",
    "simulate",
]
