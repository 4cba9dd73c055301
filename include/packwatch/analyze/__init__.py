"""Analyze: clean rows to sessions, daily statistics, cell readings and anomalies. Pure functions; opens nothing."""

from packwatch.analyze.analysis import analyze_rows
from packwatch.analyze.frames import DayAnalysis

# Goes up whenever the same rows would give other results.
METHOD_VERSION = "1"

__all__ = ["METHOD_VERSION", "DayAnalysis", "analyze_rows"]
