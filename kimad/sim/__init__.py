"""Simulation of training steps that runs the runtime's own monitor, forecast, curves, solver and objectives.

scenario = Scenario(workload, links);  simulate(scenario, "kimad").figures()
"""

from kimad.sim.break_even import BreakEven, break_even
from kimad.sim.errors import SimulationError
from kimad.sim.simulate import Result, Scenario, simulate
from kimad.sim.strategy import FORMS, default_strategies
from kimad.sim.workload import Workload, WorkloadError

__all__ = [
    "FORMS",
    "BreakEven",
    "Result",
    "Scenario",
    "SimulationError",
    "Workload",
    "WorkloadError",
    "break_even",
    "default_strategies",
    "simulate",
]
