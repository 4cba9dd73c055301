"""Packwatch: nightly battery health for electric-vehicle fleets."""

__version__ = "0.1.0"
