"""How far a verdict that was read can be trusted: against what was just measured, and by whose runs it has."""

import math

from drill_models.count import count
from drill_models.result import Verdict
from drill_models.step import Step
from search.evaluation.run_cache import FILE, ConfirmedRuns
from search.text import counted

LEAST_STD = 0.001
"""Of the last accuracy over seeds, where two or three say little of it; chance on 10,000 images is as much."""


def contradicts(old: Verdict, new: Verdict) -> bool:
    """Whether a verdict of the same recipe is not of what was just measured: the means differ by more than noise.

    Four standard errors: of honest verdicts one in ten thousand is replaced for nothing, and its runs are kept.
    """
    if len(old.runs[0].accuracies) != len(new.runs[0].accuracies):
        return True
    std = max(_spread(new), _spread(old), LEAST_STD)
    noise = 4 * std * math.sqrt(1 / old.seeds + 1 / new.seeds)
    return abs(old.mean - new.mean) > noise or new.last5_min < old.last5_min - 20 * std


def _spread(verdict: Verdict) -> float:
    """How far single seeds may lie from the mean: the standard deviation, or where one seed is known, a guess.

    The guess is the range of the run's last epochs. A run of one or two epochs may lie anywhere.
    """
    if verdict.std is not None:
        return verdict.std
    last = verdict.runs[0].accuracies[-5:]
    return max(last) - min(last) if len(last) > 2 else (1 - verdict.mean) / 4


def says_more(old: Verdict | None, new: Verdict | None) -> bool:
    """Whether a verdict has more seeds than a new one of its recipe, or as many others, and agrees with it."""
    if old is None or new is None or old.recipe != new.recipe or old.data != new.data or contradicts(old, new):
        return False
    others = {run.seed for run in old.runs} != {run.seed for run in new.runs}
    return old.seeds > new.seeds or (old.seeds == new.seeds and others)


def whose(verdict: Verdict, here: ConfirmedRuns | None = None) -> str:
    """Whose runs a verdict rests on, for a person: those kept in this folder, or those that it came with."""
    runs = (ConfirmedRuns() if here is None else here).all_of(verdict.recipe)
    mine = sum(
        any(
            run.seed == one.seed and run.accuracies == one.accuracies and run.key.data == verdict.data
            for run in runs
        )
        for one in verdict.runs
    )
    if mine == verdict.seeds:
        return f"by runs that are kept in {FILE}"
    some = f"{mine} of them" if mine else "none"
    by = "" if verdict.program is None else f" by drill-search {verdict.program}"
    return f"by {counted(verdict.seeds, 'run')}{by} that it came with; {some} is kept in {FILE}"


def unmet(step: Step) -> tuple[str, ...]:
    """What of a step's own target its network and training do not keep, beside the accuracy."""
    target, n_params = step.target, count(step.model).n_params
    found = []
    if n_params > target.max_params:
        found.append(f"{n_params:,} parameters, of at most {target.max_params:,}")
    if step.training.epochs > target.epochs:
        found.append(f"{step.training.epochs} epochs, of at most {target.epochs}")
    return tuple(found)


def meets_target(step: Step) -> bool | None:
    """Whether a step's verdict holds its target: accuracy with every seed, parameters, epochs; else None."""
    verdict = step.verdict
    if verdict is None:
        return None
    return verdict.holding(step.target.accuracy) == verdict.seeds and not unmet(step)
