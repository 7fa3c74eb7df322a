"""What several seeds say: a verdict on one step, and whether two steps differ by more than noise."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit  # Student's t; scipy.stats takes a second to import

from drill_models.result import CONFIDENCE, Verdict, VerdictRun, interval_of
from search.evaluation.run_cache import ConfirmedRun


def make_verdict(runs: Sequence[ConfirmedRun]) -> Verdict:
    """The verdict of runs that came to their end, of one step, with different seeds."""
    last = [run.accuracies[-1] for run in runs]
    mean = statistics.mean(last)
    std = statistics.stdev(last) if len(last) > 1 else None
    low, high = interval_of(last)
    key = runs[0].key
    return Verdict(
        recipe=key.recipe,
        mean=round(mean, 6),
        std=None if std is None else round(std, 6),
        min=min(last),
        max=max(last),
        last3_min=min(min(run.accuracies[-3:]) for run in runs),
        last5_min=min(min(run.accuracies[-5:]) for run in runs),
        low=None if low is None else round(low, 6),
        high=None if high is None else round(high, 6),
        seeds=len(runs),
        device=key.device,
        engine=key.engine,
        precision=key.precision,
        torch=key.torch,
        program=key.version,
        data=key.data,
        runs=tuple(VerdictRun(seed=run.seed, accuracies=run.accuracies) for run in runs),
    )


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How the second of two steps differs from the first.

    Attributes:
        difference: Of the mean test accuracies of the last epoch, second less first.
        low: Of its 95 % interval.
        high: Likewise.
        p: Probability of a difference as large where there is none.
    """

    difference: float
    low: float
    high: float
    p: float

    @property
    def more_than_noise(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.p < 1 - CONFIDENCE


def compare(first: Sequence[ConfirmedRun], second: Sequence[ConfirmedRun], n_images: int) -> Comparison:
    """A paired test over seeds and test images: both would be others another time.

    Seeds and images are crossed random effects. With d(s, i) the difference on image i in seed s (1, 0 or -1),
    the variance of the mean of all d is that between images' means plus that between seeds' means, each over
    its number, less the interaction's, which is counted in both; degrees of freedom by Satterthwaite.
    Source: the analysis of crossed random factors, e.g. H. H. Clark (1973), "The language-as-fixed-effect
    fallacy", whose quasi-F this is, as t.

    Args:
        first: Runs of one step.
        second: Runs of another, with the same seeds.
        n_images: In the test set.

    Raises:
        ValueError: There are fewer than two seeds, or not the same.
    """
    theirs = {run.seed: run for run in second}
    if len(first) < 2 or {run.seed for run in first} != theirs.keys():
        raise ValueError("a comparison needs the same seeds of both steps, two at least")
    d = np.stack([_wrong(run, n_images) - _wrong(theirs[run.seed], n_images) for run in first])
    n_seeds = len(d)
    mean = float(d.mean())
    by_image, by_seed = d.mean(0), d.mean(1)
    within = d - by_image - by_seed[:, None] + mean
    df_image, df_seed = n_images - 1, n_seeds - 1
    of_image = float(by_image.var(ddof=1)) / n_images
    of_seed = float(by_seed.var(ddof=1)) / n_seeds
    of_both = float((within**2).sum()) / (df_image * df_seed) / (n_images * n_seeds)
    # Taken away no more than leaves each of the two its share: a small sample's variance can come out too small.
    variance = max(of_image + of_seed - of_both, of_image, of_seed)
    if variance == 0:
        return Comparison(difference=mean, low=mean, high=mean, p=1.0 if mean == 0 else 0.0)
    df = variance**2 / (of_image**2 / df_image + of_seed**2 / df_seed + of_both**2 / (df_image * df_seed))
    error = math.sqrt(variance)
    half = float(stdtrit(df, (1 + CONFIDENCE) / 2)) * error
    p = 2 * float(stdtr(df, -abs(mean) / error))
    return Comparison(difference=mean, low=mean - half, high=mean + half, p=p)


def _wrong(run: ConfirmedRun, n_images: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    wrong = np.zeros(n_images)
    wrong[list(run.mistakes)] = 1
    return wrong
