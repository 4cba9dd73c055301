"""Assess: from a vehicle's sessions and days to its state of health, rate of fading and how far to trust them."""

from packwatch.assess.health import METHOD_VERSION, assess_days

__all__ = ["METHOD_VERSION", "assess_days"]
