"""What each sitting of a search was asked to do and ran on, kept in its study: so that it can be done again."""

import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import optuna

from drill_models.backend import Backend
from search.config import SearchConfig
from search.names import RAY
from search.storage.url import parse, shown
from spaces.budget import Budget

SITTING = "sitting"
"""User attributes of a study: `sitting:1` is the first."""

LIBRARIES = ("drill-search", "torch", "llvmlite", "optuna", "numpy")

OPTIONS = {"max_params": "budget", "trackers": "tracker", "skeleton_files": "skeleton", "hold_seeds": "seeds"}
"""Options that are not named as the setting."""


def option_of(setting: str) -> str:
    """The option that sets something."""
    return f"--{OPTIONS.get(setting, setting).replace('_', '-')}"


def keep_sitting(study: optuna.Study, config: SearchConfig, backend: Backend, workers: int) -> None:
    """Keeps the settings of a sitting that begins.

    Args:
        study: Of the search.
        config: Every setting; passwords are not kept.
        backend: What trains.
        workers: How many trials at a time.
    """
    study.set_user_attr(
        f"{SITTING}:{len(sittings(study)) + 1}",
        {
            "began": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": full_command(config),
            "asked": {**_asked(config), "command": config.command},
            "backend": asdict(backend),
            "workers": workers,
            "python": platform.python_version(),
            "system": f"{sys.platform} {platform.machine()}",
            "versions": {name: version(name) for name in LIBRARIES},
        },
    )


def _asked(config: SearchConfig) -> dict[str, Any]:
    """Every setting, by the names of options, as plain values; skeletons themselves are kept by the study."""
    asked, training = asdict(config), asdict(config.training)
    for name in ("skeletons", "command", "training"):
        del asked[name]
    cluster = training.pop("cluster")
    if cluster is not None:
        training |= {"engine": RAY, **cluster}
    found = {**asked, **training}
    found["storage"] = None if config.storage is None else shown(parse(config.storage))
    for name in ("out", "data"):
        found[name] = None if found[name] is None else str(found[name])
    return found


def full_command(config: SearchConfig) -> list[str]:
    """The words that ask for all of it, wherever they came from: typed, in a file of options, in the environment.

    What is at its default is left out, but for the budget.
    """
    asked = _asked(config)
    usual = _asked(SearchConfig(budget=Budget(max_params=1), skeletons=()))
    limits = asked.pop("budget")
    words = ["drill-search"]
    if config.hold_seeds is not None:
        words.append("frontier")
        del asked["objective"]  # which that command implies
    words += ["--budget", str(limits.pop("max_params"))]
    del asked["own_skeletons"]  # the names in these files
    for name, value in {**limits, **asked}.items():
        option = option_of(name)
        if value == usual.get(name):
            continue
        if isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-"))
        else:
            for each in value if isinstance(value, tuple) else (value,):
                words += [option, str(each)]
    return words


def _words(sitting: Mapping[str, Any]) -> list[str]:
    """Of its command."""
    words: list[str] = sitting["command"] if "command" in sitting else sitting["asked"]["command"]
    return words


def shown_command(sitting: Mapping[str, Any]) -> str:
    """A sitting's command, to be pasted into a shell; of an older version as it was typed."""
    return shlex.join(_words(sitting))


def folded_command(sitting: Mapping[str, Any], width: int = 100) -> list[str]:
    """The same in lines of about so many characters, which can be pasted, too."""
    lines = [""]
    for word in map(shlex.quote, _words(sitting)):
        if lines[-1] and len(lines[-1]) + len(word) >= width and word.startswith("-"):
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


def sittings(study: optuna.Study) -> list[dict[str, Any]]:
    """The sittings of a study, the first one first; none of a study of an older version."""
    found = {
        int(key.split(":")[1]): value for key, value in study.user_attrs.items() if key.startswith(f"{SITTING}:")
    }
    return [found[number] for number in sorted(found)]
