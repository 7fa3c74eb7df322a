"""What a command says, and where: results, everything else, and a log; as text or, instead of tables, as JSON."""

import json
import logging
import math
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from drill_models.errors import DrillError
from search.text import escaped, is_typed, without_passwords

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
    _results: list[str] = field(default_factory=list)
    _documented: bool = False

    @property
    def lines(self) -> Console:
        """Where progress goes: with the results, unless they are JSON."""
        return self.err if self.json else self.out

    def progress(self, line: str) -> None:
        """What has been done so far, a line."""
        self._say(logging.INFO, line, None if self.quiet else self.lines)

    def notice(self, line: str) -> None:
        """Something beside the results, a line."""
        self._say(logging.INFO, line, None if self.quiet else self.err)

    def warning(self, line: str) -> None:
        """What must be seen even with --quiet, a line."""
        self._say(logging.WARNING, line, self.err)

    def result(self, line: str) -> None:
        """A line of the results."""
        self._results.append(line)
        self._say(logging.INFO, line, None if self.json else self.out)

    def table(self, table: RenderableType) -> None:
        """A table of the results, or a box."""
        if not self.json:
            self.out.print(table)

    def box(self, box: RenderableType, line: str) -> None:
        """What cannot be overlooked, framed; the log gets its line."""
        LOG.warning(escaped(line))
        self.lines.print(box)

    def document(self, content: Any) -> None:
        """The results as JSON, where they are asked for so. JSON has no infinity and no NaN: they are null."""
        if self.json:
            self._documented = True
            try:
                self.out.file.write(json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")
                self.out.file.flush()
            except BrokenPipeError:  # with an error number, which the command line's library makes exit code 1
                self.out.on_broken_pipe()

    def end(self) -> None:
        """A command that has no document of its own ends well: its lines are one."""
        if self._results and not self._documented:
            self.document({"results": self._results})

    def mistake(self, line: str) -> None:
        """What the user is to mend. A URL that stood in the wrong place loses its password."""
        line = escaped(without_passwords(line))
        LOG.error(line.replace("\n", "\n    "))
        self.err.print(line, style="red", highlight=False, markup=False, soft_wrap=True)

    def _say(self, level: int, line: str, console: Console | None) -> None:
        line = escaped(line)
        LOG.log(level, line.replace("\n", "\n    "))  # so that no name begins a line of the log
        if console is not None:
            _plain(console, line)

    def log_to(self, file: Path) -> None:
        """Appends all lines to a file, with their time.

        Raises:
            DrillError: It cannot be written.
        """
        try:
            handler = _Log(file, self.err)
        except OSError as error:
            raise DrillError(f"--log {file}: cannot be written: {error.strerror}") from error
        self.close()  # a file of options may name it for a command and for those below it
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._log = handler
        LOG.addHandler(handler)
        LOG.setLevel(logging.INFO)

    def close(self) -> None:
        """Closes the log."""
        if self._log is not None:
            LOG.removeHandler(self._log)
            with suppress(OSError):  # said already
                self._log.close()
            self._log = None


class _Log(logging.FileHandler):
    """A log that is no reason to stop, or to say the same for each line, when its disk is full."""

    def __init__(self, file: Path, err: Console) -> None:
        super().__init__(file, encoding="utf-8")
        self._file, self._err, self._failed = file, err, False

    def handleError(self, record: logging.LogRecord) -> None:
        """Says it once."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._failed:
            self._failed = True
            _plain(self._err, escaped(f"--log {self._file}: lines are lost: {error.strerror}"))


def _finite(content: Any) -> Any:
    """The same without numbers that are none."""
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _plain(console: Console, line: str) -> None:
    """Prints lines as they are: names in them may look like markup. Terminals wrap them, but no commands."""
    for one in line.split("\n"):
        wrapped = console.is_terminal and not is_typed(one)
        console.print(one, highlight=False, markup=False, soft_wrap=not wrapped)
