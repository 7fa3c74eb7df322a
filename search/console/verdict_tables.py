"""Tables and sentences of verdicts."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from scipy.special import stdtrit

from drill_models.count import count
from drill_models.result import Verdict
from drill_models.step import Step
from search.console.tables import new_table, percent
from search.evaluation.confirm import Confirmed
from search.evaluation.statistics import Comparison
from search.evaluation.verdict_trust import unmet
from search.pruning.forecast import log_error
from search.text import counted


def verdict_table(steps: Sequence[Step]) -> Table:
    """One row a step that has a verdict."""
    table = new_table(
        "step", "parameters", "seeds", "mean", "std", "95 %", "min", "max", "lowest of 3*", "lowest of 5*",
        title="Verdicts: test accuracy after training from scratch on all training images (last epoch)",
        spare=("95 %", "parameters", "std", "lowest of 3*", "max"),
    )  # fmt: skip
    table.notes = (
        ("* of the last three or five epochs of every seed", ("lowest of 3*", "lowest of 5*")),
        ("std: points, over seeds", ("std",)),
        ("95 %: confidence interval of the mean", ("95 %",)),
    )
    for step in steps:
        verdict = _verdict(step)
        table.add_row(
            step.name,
            f"{count(step.model).n_params:,}",
            str(verdict.seeds),
            percent(verdict.mean),
            "-" if verdict.std is None else f"{100 * verdict.std:.3f}",
            "-" if verdict.low is None else f"{percent(verdict.low)} to {percent(verdict.high)}",
            percent(verdict.min),
            percent(verdict.max),
            percent(verdict.last3_min),
            percent(verdict.last5_min),
        )
    return table


def verdict_line(step: Step) -> str:
    """Whether a step's target holds, in a sentence."""
    verdict, target = _verdict(step), step.target.accuracy
    epochs = len(verdict.runs[0].accuracies)
    held = verdict.holding(target)
    if held < verdict.seeds:
        how = f"in the last epoch of {held} of {counted(verdict.seeds, 'seed')}"
    else:
        every = f"in all {verdict.seeds} seeds" if verdict.seeds > 1 else "with the one seed"
        how = f"{every} in the last epoch, but not in each of the last three"
        for lowest, last in ((verdict.last5_min, min(5, epochs)), (verdict.last3_min, min(3, epochs))):
            if lowest >= target:
                how = f"{every} throughout the last {counted(last, 'epoch')}"
                break
    of = f"mean of {verdict.seeds} seeds" if verdict.seeds > 1 else "one seed"
    missed = unmet(step)
    over = f"; but the target as a whole does not hold: {', '.join(missed)}" if missed else ""
    return (
        f"{step.name}: {percent(verdict.mean)} on the test images of {step.dataset} ({of}); the target of "
        f"{percent(target)} holds {how}{over}"
    )


def comparison_line(first: Step, second: Step, found: Comparison) -> str:
    """How two steps differ, in a sentence."""
    word = "more than noise" if found.more_than_noise else "no more than noise"
    return (
        f"{second.name} less {first.name}: {100 * found.difference:+.3f} points (95 %: {100 * found.low:+.3f} to "
        f"{100 * found.high:+.3f}, p = {found.p:.2g}), {word}, paired over seeds and test images"
    )


def replay_claims(confirmed: Sequence[Confirmed]) -> list[str]:
    """Of each hand step, whether what it reported holds."""
    # Steps of one recipe share their runs.
    groups = {each.step.digest: each.runs for each in confirmed if not each.diverged}
    spread = pooled([[max(run.accuracies) for run in runs] for runs in groups.values()])
    claims = []
    for each in confirmed:
        reported = _reported(each.step)
        if each.diverged:
            claims.append("diverged")
        else:
            best = [max(run.accuracies) for run in each.runs]
            claims.append("-" if reported is None else claim(reported, best, spread))
    return claims


def _reported(step: Step) -> float | None:
    return None if step.result is None or step.result.reported is None else step.result.reported.test_accuracy


def replay_table(confirmed: Sequence[Confirmed], claims: Sequence[str]) -> Table:
    """What hand steps reported beside what they do again; `claims` of `replay_claims`."""
    table = new_table(
        "hand step", "parameters", "reported*", "best epoch*", "last epoch", "lowest of 5", "seeds", "claim",
        title="Hand steps: reported test accuracy, and replayed (mean over seeds)",
        spare=("parameters", "seeds", "lowest of 5"),
    )  # fmt: skip
    table.caption = (
        "* the best of all epochs, which the test set itself chose: so authors report it, and so a claim is "
        "compared with the replays; it holds where one more replay may well give it (95 %). Lowest of 5: of the "
        "last five epochs"
    )
    table.caption_justify = "left"
    for each, said in zip(confirmed, claims, strict=True):
        table.add_row(*_replay(each), said)
    return table


@dataclass(frozen=True)
class Spread:
    """How far replays of one step differ from seed to seed.

    Attributes:
        std: Standard deviation of the error's logarithm, which is about the same for good steps and for weak ones.
        freedom: Its degrees of freedom.
    """

    std: float
    freedom: int


def pooled(groups: Sequence[Sequence[float]]) -> Spread:
    """The deviation within groups of accuracies, over all that have two or more."""
    several = [[log_error(accuracy) for accuracy in group] for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in several)
    squares = sum((len(group) - 1) * statistics.variance(group) for group in several)
    return Spread(math.sqrt(squares / freedom) if freedom else 0.0, freedom)


def _replay(each: Confirmed) -> list[str]:
    step = each.step
    reported = _reported(step)
    head = [step.name, f"{count(step.model).n_params:,}", percent(reported)]
    if each.diverged:
        return [*head, "-", "-", "-", str(len(each.runs))]
    verdict = _verdict(step)
    best = [max(run.accuracies) for run in each.runs]
    return [
        *head,
        percent(statistics.mean(best)),
        percent(verdict.mean),
        percent(verdict.last5_min),
        str(verdict.seeds),
    ]


def claim(reported: float, best: Sequence[float], spread: Spread) -> str:
    """Whether a reported best epoch is what replays give, but for noise: within a 95 % prediction interval.

    Three replays of one step say little of how far replays differ, so that is asked of all steps together.

    Args:
        reported: By the author.
        best: The best epoch of each replay.
        spread: How far replays of a step differ.
    """
    if not spread.freedom:
        return "needs 2 seeds"
    margin = float(stdtrit(spread.freedom, 0.975)) * spread.std * math.sqrt(1 + 1 / len(best))
    errors = [log_error(accuracy) for accuracy in best]
    if abs(log_error(reported) - statistics.mean(errors)) <= margin:
        return "holds"
    off = reported - statistics.mean(best)
    return f"{100 * abs(off):.2f} points too {'high' if off > 0 else 'low'}"


def _verdict(step: Step) -> Verdict:
    assert step.verdict is not None
    return step.verdict
