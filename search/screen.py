"""What a command says, and where: results, everything else, and a log; as text or, instead of tables, as JSON."""

import json
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from drill_models.errors import DrillError

LOG = logging.getLogger("drill_search")
"""Every line that is said goes there, too; without `--log` or a handler of the user's own it is lost."""
LOG.addHandler(logging.NullHandler())

PIPE_WIDTH = 200
"""Characters in a line of a table where no terminal says how many there are."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Rich's own would end the program with exit code 1."""
        raise BrokenPipeError


def _console(*, stderr: bool) -> Console:
    console = _Console(stderr=stderr)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


@dataclass
class Screen:
    """Where a command's words go.

    Attributes:
        out: For results.
        err: For everything else: progress, notices, mistakes.
        json: Results are one JSON document on `out`, and all lines go to `err`.
        quiet: No progress and no notices.
        verbose: A line for each epoch, too.
    """

    out: Console = field(default_factory=lambda: _console(stderr=False))
    err: Console = field(default_factory=lambda: _console(stderr=True))
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    _log: logging.Handler | None = None

    @property
    def lines(self) -> Console:
        """Where progress goes: with the results, unless they are JSON."""
        return self.err if self.json else self.out

    def progress(self, line: str) -> None:
        """What has been done so far, a line."""
        LOG.info(line)
        if not self.quiet:
            _plain(self.lines, line)

    def notice(self, line: str) -> None:
        """Something beside the results, a line."""
        LOG.info(line)
        if not self.quiet:
            _plain(self.err, line)

    def warning(self, line: str) -> None:
        """What must be seen even with --quiet, a line."""
        LOG.warning(line)
        _plain(self.err, line)

    def result(self, line: str) -> None:
        """A line of the results."""
        LOG.info(line)
        if not self.json:
            _plain(self.out, line)

    def table(self, table: RenderableType) -> None:
        """A table of the results, or a box."""
        if not self.json:
            self.out.print(table)

    def document(self, content: Any) -> None:
        """The results as JSON, where they are asked for so."""
        if self.json:
            self.out.file.write(json.dumps(content, indent=2, allow_nan=False) + "\n")

    def mistake(self, line: str) -> None:
        """What the user is to mend."""
        LOG.error(line)
        self.err.print(line, style="red", highlight=False, markup=False, soft_wrap=True)

    def log_to(self, file: Path) -> None:
        """Appends all lines to a file, with their time.

        Raises:
            DrillError: It cannot be written.
        """
        try:
            handler = logging.FileHandler(file, encoding="utf-8")
        except OSError as error:
            raise DrillError(f"--log {file}: cannot be written: {error.strerror}") from error
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._log = handler
        LOG.addHandler(handler)
        LOG.setLevel(logging.INFO)

    def close(self) -> None:
        """Closes the log."""
        if self._log is not None:
            LOG.removeHandler(self._log)
            self._log.close()


def _plain(console: Console, line: str) -> None:
    """Prints lines as they are: names in them may look like markup. Terminals wrap them, but no commands."""
    for one in line.split("\n"):
        wrapped = console.is_terminal and not one.lstrip().startswith("drill-search ")
        console.print(one, highlight=False, markup=False, soft_wrap=not wrapped)
