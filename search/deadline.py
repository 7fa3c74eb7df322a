"""A time after which nothing further starts, as in a job of a cluster that ends after four hours."""

import math
import time
from dataclasses import dataclass
from typing import Self


class TimeIsUp(Exception):
    """A deadline is over before all was trained. What had begun has ended, and is stored."""


@dataclass(frozen=True)
class Deadline:
    """When nothing further may start.

    Attributes:
        at: Seconds of the monotonic clock.
    """

    at: float = math.inf

    @classmethod
    def after(cls, seconds: float | None) -> Self:
        """So many seconds from now on; None for never."""
        return cls() if seconds is None else cls(time.monotonic() + seconds)

    def may_start(self) -> bool:
        """Whether it is still to come."""
        return time.monotonic() < self.at


NO_DEADLINE = Deadline()
