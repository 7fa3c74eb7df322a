"""The command line: options in, one call, tables out. One file for each kind of command."""

import os
import re
import sys
from errno import ENOSPC

import typer
from typer.exceptions import TyperException

from drill_models.errors import DrillError
from search.cli import doctor, results, search, steps, studies
from search.cli import evaluation as verdicts
from search.cli.app import INTERRUPTED, USAGE, app
from search.commands.interrupt import leave_at_once
from search.console.console import Screen
from search.text import PROGRAM, in_digits, typed

__all__ = ["doctor", "main", "results", "search", "steps", "studies", "verdicts"]


def main() -> None:
    """Entry point of the console script."""
    screen = Screen()
    try:
        code = _run(screen)
    finally:
        screen.close()
    leave_at_once(code)
    sys.exit(code)


def _run(screen: Screen) -> int:
    try:
        code = app(prog_name=PROGRAM, standalone_mode=False, obj=screen)
        if not code:
            screen.end()
        if sys.stdout is not None:  # it may be closed
            sys.stdout.flush()
    except DrillError as error:
        screen.mistake(str(error))
        return USAGE
    except TyperException as error:
        screen.mistake(_with_help(error))
        return USAGE
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:  # `| head` has read enough
        _close_output()
        return 0
    except OSError as error:
        if error.errno != ENOSPC or error.filename is not None:
            raise
        _close_output()
        screen.mistake(f"what was to be printed cannot be written: {error.strerror}")
        return USAGE
    return code if isinstance(code, int) else 0


def _close_output() -> None:
    """Python would write what is left when it ends, and fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _with_help(error: TyperException) -> str:
    """What was wrong, in one sentence, and which help says what would be right."""
    said = re.sub(r"\.? Did you mean (.*)\?$", r"; did you mean \1", error.format_message().strip())
    context: typer.Context | None = getattr(error, "ctx", None)
    if context is not None:
        words = context.command_path.split()[1:]
    else:
        named = next(iter(sys.argv[1:]), "")
        commands = getattr(typer.main.get_command(app), "commands", {})
        words = [named] if named in commands else []
    return f"{in_digits(said).rstrip('.')}; see {typed(' '.join([*words, '--help']))}"
