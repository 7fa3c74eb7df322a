"""The command line: options in, one call, tables out. One file for each kind of command."""

import sys

import typer
from typer.exceptions import TyperException

from drill_models.errors import DrillError
from search.cli import results, search, steps, studies, verdicts
from search.cli.app import INTERRUPTED, USAGE, app
from search.screen import Screen

__all__ = ["main", "results", "search", "steps", "studies", "verdicts"]


def main() -> None:
    """Entry point of the console script."""
    screen = Screen()
    try:
        code = app(standalone_mode=False, obj=screen)
    except DrillError as error:
        screen.mistake(str(error))
        sys.exit(USAGE)
    except TyperException as error:
        screen.mistake(error.format_message())
        sys.exit(USAGE)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)
