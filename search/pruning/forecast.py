"""Where a learning curve may end at best, by how far curves like it have fallen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

FLOOR = 1e-4
"""Errors are compared as logarithms; less than this is not told apart."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A run as far as it has come.

    Attributes:
        kind: What decides the form of the curve: the kind of learning-rate schedule.
        epochs: That the run has, or would have if it were not stopped.
        accuracies: Held-out accuracy after each epoch so far, fractions.
    """

    kind: str
    epochs: int
    accuracies: Sequence[float]


@dataclass(frozen=True)
class Finished:
    """A curve that ran to its end, and the value that it ended with (a fraction)."""

    curve: Curve
    value: float


def log_error(accuracy: float) -> float:
    """Logarithm of an accuracy's error, so that 99.4 and 99.7 % are as far apart as 97 and 98.5 %."""
    return math.log(max(1 - accuracy, FLOOR))


def fall(finished: Finished, fraction: float) -> float:
    """What is added to the logarithm of a curve's least error after so much of its training, to its end."""
    return log_error(finished.value) - _least_error(finished.curve, fraction)


def best_end(running: Curve, finished: Sequence[Finished], *, min_alike: int) -> float:
    """Logarithm of the final error of a running curve that falls as far as the best of its like from here on.

    Its like are the finished curves of its kind, or where there are fewer than `min_alike`, all. They are looked
    at after the same fraction of training: a curve with a high learning rate is far from its end, and falls far.

    Args:
        running: With at least one epoch.
        finished: At least one.
        min_alike: See above.
    """
    fraction = len(running.accuracies) / running.epochs
    alike = [one for one in finished if one.curve.kind == running.kind]
    known = alike if len(alike) >= min_alike else finished
    # The one or two that are known may have got worse: that a curve must is not to be learnt from them.
    return _least_error(running, fraction) + min(0.0, *(fall(one, fraction) for one in known))


def _least_error(curve: Curve, fraction: float) -> float:
    return log_error(max(curve.accuracies[: max(1, round(fraction * curve.epochs))]))
