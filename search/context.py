"""What long work needs from whoever started it: when to stop, and where to say something."""

from collections.abc import Callable
from dataclasses import dataclass

from drill_models.errors import Interrupted
from search.deadline import NO_DEADLINE, Deadline

GIVEN_UP = "given up where interrupted"
"""The name of threads that nobody waits for after an interruption."""


@dataclass(frozen=True)
class RunContext:
    """Handed down to everything that runs for long.

    Attributes:
        should_stop: Asked all the time; a yes ends the work with everything kept.
        notify: Told in a sentence what a person should know.
        deadline: After it nothing further starts.
    """

    should_stop: Callable[[], bool] = lambda: False
    notify: Callable[[str], None] = lambda line: None
    deadline: Deadline = NO_DEADLINE

    def may_start(self) -> bool:
        """Whether there is time to begin something."""
        return self.deadline.may_start()

    def check(self) -> None:
        """Ends the work where that is wanted.

        Raises:
            Interrupted: `should_stop` said yes.
        """
        if self.should_stop():
            raise Interrupted
