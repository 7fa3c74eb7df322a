"""What each sitting of a search was asked to do and ran on, kept in its study: so that it can be done again."""

import platform
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import optuna

from drill_models.backend import Backend
from search.config import SearchConfig

SITTING = "sitting"
"""User attributes of a study: `sitting:1` is the first."""

LIBRARIES = ("drill-search", "torch", "optuna", "numpy")


def keep_sitting(study: optuna.Study, config: SearchConfig, backend: Backend, workers: int) -> None:
    """Keeps the settings of a sitting that begins.

    Args:
        study: Of the search.
        config: Every setting. Paths and the storage are left out: they are of one machine.
        backend: What trains.
        workers: How many trials at a time.
    """
    asked = asdict(config)
    for name in ("skeletons", "storage", "out", "training"):
        del asked[name]
    study.set_user_attr(
        f"{SITTING}:{len(sittings(study)) + 1}",
        {
            "began": datetime.now(UTC).isoformat(timespec="seconds"),
            "asked": asked,
            "backend": asdict(backend),
            "workers": workers,
            "python": platform.python_version(),
            "system": f"{sys.platform} {platform.machine()}",
            "versions": {name: version(name) for name in LIBRARIES},
        },
    )


def sittings(study: optuna.Study) -> list[dict[str, Any]]:
    """The sittings of a study, the first one first; none of a study of an older version."""
    found = {
        int(key.split(":")[1]): value for key, value in study.user_attrs.items() if key.startswith(f"{SITTING}:")
    }
    return [found[number] for number in sorted(found)]
