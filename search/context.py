"""What long work needs from whoever started it: when to stop, and where to say something."""

from collections.abc import Callable
from dataclasses import dataclass

from drill_models.errors import Interrupted


@dataclass(frozen=True)
class RunContext:
    """Handed down to everything that runs for long.

    Attributes:
        should_stop: Asked all the time; a yes ends the work with everything kept.
        notify: Told in a sentence what a person should know.
    """

    should_stop: Callable[[], bool] = lambda: False
    notify: Callable[[str], None] = lambda line: None

    def check(self) -> None:
        """Ends the work where that is wanted.

        Raises:
            Interrupted: `should_stop` said yes.
        """
        if self.should_stop():
            raise Interrupted
