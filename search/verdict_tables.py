"""Tables and sentences of verdicts."""

import math
import statistics
from collections.abc import Sequence

from rich.table import Table

from drill_models.count import count
from drill_models.result import Verdict
from drill_models.step import Step
from search.confirm import Confirmed
from search.confirmed import ConfirmedRun
from search.tables import new_table, percent
from search.verdict import Comparison


def verdict_table(steps: Sequence[Step]) -> Table:
    """One row a step that has a verdict."""
    table = new_table(
        "step", "parameters", "seeds", "mean", "std", "95 %", "min", "max", "last 3 min", "last 5 min",
        title="Verdicts: test accuracy after training from scratch on all training images (last epoch)",
    )  # fmt: skip
    for step in steps:
        verdict = verdict_of(step)
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


def verdict_of(step: Step) -> Verdict:
    """The verdict of a step that has one."""
    assert step.result is not None
    assert step.result.verdict is not None
    return step.result.verdict


def verdict_line(step: Step) -> str:
    """Whether a step's target holds, in a sentence."""
    verdict, target = verdict_of(step), step.target.accuracy
    held = sum(run.accuracies[-1] >= target for run in verdict.runs)
    if held < verdict.seeds:
        how = f"in the last epoch of {held} of {verdict.seeds} seeds"
    else:
        every = f"in all {verdict.seeds} seeds" if verdict.seeds > 1 else "with the one seed"
        how = f"{every} in the last epoch, but not in each of the last three"
        for lowest, epochs in ((verdict.last5_min, "five"), (verdict.last3_min, "three")):
            if lowest >= target:
                how = f"{every} throughout the last {epochs} epochs"
                break
    return f"{step.name}: the target of {percent(target)} holds {how}"


def comparison_line(first: Step, second: Step, found: Comparison) -> str:
    """How two steps differ, in a sentence."""
    word = "more than noise" if found.more_than_noise else "no more than noise"
    return (
        f"{second.name} less {first.name}: {100 * found.difference:+.3f} points (95 %: {100 * found.low:+.3f} to "
        f"{100 * found.high:+.3f}, p = {found.p:.2g}), {word}, paired over seeds and test images"
    )


def replay_table(confirmed: Sequence[Confirmed]) -> Table:
    """What hand steps reported beside what they do again."""
    spread = pooled_std([[max(run.accuracies) for run in each.runs] for each in confirmed if not each.diverged])
    table = new_table(
        "hand step", "parameters", "reported*", "best epoch*", "last epoch", "last 5 min", "seeds", "claim",
        title="Hand steps: reported test accuracy, and replayed (mean over seeds)",
    )  # fmt: skip
    table.caption = (
        "* the best of all epochs, chosen on the test set, as the authors report it; the claim is judged by that: "
        f"replays vary from seed to seed by {100 * spread:.3f} points (standard deviation, pooled)"
    )
    table.caption_justify = "left"
    for each in confirmed:
        table.add_row(*_replay(each, spread))
    return table


def _replay(each: Confirmed, spread: float) -> list[str]:
    step = each.step
    reported = None if step.result is None or step.result.reported is None else step.result.reported.test_accuracy
    head = [step.name, f"{count(step.model).n_params:,}", percent(reported)]
    if each.diverged:
        return [*head, "-", "-", "-", str(len(each.runs)), "diverged"]
    verdict = verdict_of(step)
    best = statistics.mean(max(run.accuracies) for run in each.runs)
    return [
        *head,
        percent(best),
        percent(verdict.mean),
        percent(verdict.last5_min),
        str(verdict.seeds),
        "-" if reported is None else claim(reported, each.runs, spread),
    ]


def claim(reported: float, runs: Sequence[ConfirmedRun], spread: float) -> str:
    """Whether a reported best epoch is what a replay gives, but for noise.

    One more run's best epoch lies within two standard deviations of the replays' mean, 95 times in 100; the
    deviation is the replays' own or that of all steps together, whichever is larger, because three seeds say
    little of their own, and the mean of n of them has an error of its own.
    """
    best = [max(run.accuracies) for run in runs]
    own = statistics.stdev(best) if len(best) > 1 else 0.0
    margin = 2 * max(own, spread) * math.sqrt(1 + 1 / len(best))
    off = reported - statistics.mean(best)
    if abs(off) <= margin:
        return "holds"
    return f"{100 * abs(off):.2f} points too {'high' if off > 0 else 'low'}"


def pooled_std(groups: Sequence[Sequence[float]]) -> float:
    """Standard deviation within groups, over all that have two values or more; 0 where none has."""
    several = [group for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in several)
    if not freedom:
        return 0.0
    return math.sqrt(sum((len(group) - 1) * statistics.variance(group) for group in several) / freedom)
