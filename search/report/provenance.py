"""How a study was made, for the report: what was asked, when, and what trained."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import optuna
from sqlalchemy.engine import URL

from drill_models.step import Step
from search.storage.url import shown
from search.study.session_log import folded_command, sittings
from search.text import counted


def environment(step: Step, url: URL) -> list[tuple[str, str]]:
    """Where the study lies, and what the best network's own run was trained by, whichever sitting that was."""
    run = None if step.result is None else step.result.run
    found = [("storage", shown(url))]
    if run is not None:
        threads = counted(run.threads, "thread")
        program = "" if run.program is None else f" by drill-search {run.program}"
        found.append(
            (
                "the best was trained",
                f"with seed {run.seed}{program} and PyTorch {run.torch} on {run.device}, {threads}, {run.engine}, "
                f"{run.precision}",
            )
        )
    return found


def sitting_rows(study: optuna.Study) -> list[dict[str, Any]]:
    """What the search was asked and ran on, each time; times with the same of both stand together."""
    found: dict[tuple[str, ...], list[str]] = {}
    for sitting in sittings(study):
        versions = ", ".join(f"{name} {number}" for name, number in sitting["versions"].items())
        machine = f"{sitting['system']}, Python {sitting['python']}"
        key = "\n".join(folded_command(sitting, width=90)), str(sitting["workers"]), machine, versions
        found.setdefault(key, []).append(sitting["began"])
    return [
        {
            "command": command,
            "facts": [
                ("began", _times(began)),
                ("at a time", workers),
                ("machine", machine),
                ("versions", versions),
            ],
        }
        for (command, workers, machine, versions), began in found.items()
    ]


def _times(began: Sequence[str]) -> str:
    first, *more = (f"{datetime.fromisoformat(one).astimezone(UTC):%Y-%m-%d %H:%M} UTC" for one in began)
    return f"{first}, and {counted(len(more), 'more time')} until {more[-1]}" if more else first
