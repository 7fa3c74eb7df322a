"""The hand steps that travel with the package: 23 published steps on five ladders."""

from collections.abc import Sequence

from drill_models.errors import StepError
from drill_models.shipped import ladders
from drill_models.step import Step
from drill_models.step_io import load_step


def ladder(name: str) -> tuple[Step, ...]:
    """The steps of one ladder, first step first.

    Raises:
        StepError: There is no such ladder.
    """
    files = ladders()
    if name not in files:
        raise StepError(f"there is no ladder {name!r}; ladders are {', '.join(files)}")
    return tuple(load_step(path) for path in files[name])


def all_steps() -> tuple[Step, ...]:
    """Every hand step, ladder by ladder."""
    return tuple(step for name in ladders() for step in ladder(name))


def choose(names: Sequence[str]) -> tuple[Step, ...]:
    """The hand steps of `all`, `none`, ladders (`a-runs`) and single steps (`b-cyclic/5`), each once.

    Raises:
        StepError: There is no such ladder or step.
    """
    chosen: dict[str, Step] = {}
    for name in names:
        for step in _named(name):
            chosen[step.name] = step
    return tuple(chosen.values())


def _named(name: str) -> tuple[Step, ...]:
    if name == "none":
        return ()
    if name == "all":
        return all_steps()
    rungs, _, number = name.partition("/")
    if rungs not in ladders():
        known = ", ".join(ladders())
        raise StepError(
            f"hand step {name}: there is no such ladder; allowed: all, none, {known}, or {known[:6]}/1"
        )
    steps = ladder(rungs)
    if not number:
        return steps
    if not (number.isascii() and number.isdecimal()) or not 1 <= int(number) <= len(steps):
        raise StepError(f"hand step {name}: {rungs} has steps 1 to {len(steps)}")
    return (steps[int(number) - 1],)
