"""The hand steps that travel with the package: 23 published steps on five ladders."""

from pathlib import Path

from drill_models.errors import StepError
from drill_models.step import Step
from drill_models.step_io import load_step


def folder() -> Path:
    """Where the hand steps lie: inside an installed package, or in `studies/drills` of a checkout."""
    packaged = Path(__file__).parent / "drills"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "studies" / "drills"


def ladders() -> tuple[str, ...]:
    """Names of the ladders, sorted."""
    return tuple(sorted(path.name for path in folder().iterdir() if path.is_dir()))


def ladder(name: str) -> tuple[Step, ...]:
    """The steps of one ladder, first step first.

    Raises:
        StepError: There is no such ladder.
    """
    if name not in ladders():
        raise StepError(f"there is no ladder {name!r}; ladders are {', '.join(ladders())}")
    files = sorted((folder() / name).glob("*.yaml"), key=lambda path: int(path.stem))
    return tuple(load_step(path) for path in files)


def all_steps() -> tuple[Step, ...]:
    """Every hand step, ladder by ladder."""
    return tuple(step for name in ladders() for step in ladder(name))
