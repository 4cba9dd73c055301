"""The errors Packwatch raises on purpose.

    PackwatchError
    ├── DataError            the data is bad: exit code 1, never retried
    │   ├── UnreadableLog    one object cannot be parsed at all
    │   ├── BatchRejected    too large a share of a batch broke the rules
    │   └── BooksDoNotBalance  the ledger lost or invented a row
    ├── UsageError           the caller asked for something impossible: exit code 2
    └── ServiceUnreachable   Postgres, S3 or Airflow did not answer: exit code 3, retried

Every message names the place, the value and the cure.
"""


class PackwatchError(Exception):
    """Base of every error raised on purpose."""

    exit_code = 1


class DataError(PackwatchError):
    """The data is bad; running again would not help."""


class UnreadableLog(DataError):
    """A raw object could not be parsed at all.

    `reason` is the short code that the ledger and the quarantine list.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class BatchRejected(DataError):
    """More rows of a batch broke the rules than the gate allows."""


class BooksDoNotBalance(DataError):
    """Rows in differ from clean + quarantined + duplicate rows."""


class UsageError(PackwatchError, ValueError):
    """A wrong argument, setting or combination of them."""

    exit_code = 2


class ServiceUnreachable(PackwatchError, ConnectionError):
    """A service did not answer; the task may be retried."""

    exit_code = 3
