"""A demo fleet: logs of made-up vehicles in the raw layout, with known faults and dirty files."""

from packwatch.simulate.writer import SimulationSummary, simulate

__all__ = ["SimulationSummary", "simulate"]
