"""Validate: every row is either clean or in quarantine with a reason, and a gate stops batches that are mostly bad."""

from packwatch.validate.check import BatchResult, validate_batch
from packwatch.validate.expectations import GateResult

__all__ = ["BatchResult", "GateResult", "validate_batch"]
