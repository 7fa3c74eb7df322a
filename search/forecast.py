"""Where a learning curve will end, by what curves like it did."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

FLOOR, CEILING = 1e-4, 10.0
"""Errors and losses are compared as logarithms, no less than the first and no more than the second."""


@dataclass(frozen=True)
class Curve:
    """A run's held-out figures.

    Attributes:
        kind: What decides the form of the curve: the kind of learning-rate schedule.
        epochs: That the run has, or would have if it were not stopped.
        accuracies: After each epoch so far, fractions.
        losses: Likewise, mean cross-entropy.
    """

    kind: str
    epochs: int
    accuracies: Sequence[float]
    losses: Sequence[float]


@dataclass(frozen=True)
class Finished:
    """A curve that ran to its end, and the value that it ended with (a fraction)."""

    curve: Curve
    value: float


@dataclass(frozen=True)
class Forecast:
    """The logarithm of a run's final error: mean and standard deviation."""

    mean: float
    std: float


def log_error(accuracy: float) -> float:
    """Logarithm of an accuracy's error, so that 99.4 and 99.7 % are as far apart as 97 and 98.5 %."""
    return math.log(max(1 - accuracy, FLOOR))


def _log_loss(loss: float) -> float:
    return math.log(min(max(loss, FLOOR), CEILING) if math.isfinite(loss) else CEILING)


@dataclass(frozen=True, kw_only=True)
class Forecaster:
    """Regresses the logarithm of final errors on the state of the curves at the same fraction of training.

    The state is the mean of the logarithms of error and loss, each over the last `window` epochs: the accuracy
    alone jumps too much. What is regressed is the fall from the present error to the final one, by weighted ridge
    regression; curves of another kind weigh less.

    Attributes:
        unlike: Weight of a curve of another kind; of the same kind it is 1.
        window: Epochs that the state is taken over.
        prior: So many curves of typical spread are assumed beside those that are there.
        spread: Typical standard deviation of a forecast, in logarithms of the error.
    """

    unlike: float = 0.2
    window: int = 2
    prior: float = 2.0
    spread: float = 0.3

    def forecast(self, running: Curve, finished: Sequence[Finished]) -> Forecast:
        """The final error of a running curve; `finished` must not be empty."""
        fraction = len(running.accuracies) / running.epochs
        x = self._state(running, len(running.accuracies))
        xs, ys, weights = [], [], []
        for other in finished:
            at = max(1, round(fraction * other.curve.epochs))
            xs.append(self._state(other.curve, at))
            ys.append(log_error(other.value))
            weights.append(1.0 if other.curve.kind == running.kind else self.unlike)
        total = sum(weights)
        mean_x = sum(w * a for w, a in zip(weights, xs, strict=True)) / total
        mean_y = sum(w * b for w, b in zip(weights, ys, strict=True)) / total
        ridge = self.prior * self.spread**2
        sxx = ridge + sum(w * (a - mean_x) ** 2 for w, a in zip(weights, xs, strict=True))
        sxy = ridge / 2 + sum(w * (a - mean_x) * (b - mean_y) for w, a, b in zip(weights, xs, ys, strict=True))
        slope = sxy / sxx
        squares = sum(
            w * (b - mean_y - slope * (a - mean_x)) ** 2 for w, a, b in zip(weights, xs, ys, strict=True)
        )
        variance = (squares + ridge) / (total + self.prior)
        far = (x - mean_x) ** 2 / sxx
        return Forecast(mean_y + slope * (x - mean_x), math.sqrt(variance * (1 + 1 / total + far)))

    def _state(self, curve: Curve, epoch: int) -> float:
        """Of a curve after so many epochs."""
        first = max(0, epoch - self.window)
        parts = [log_error(accuracy) for accuracy in curve.accuracies[first:epoch]]
        parts += [_log_loss(loss) for loss in curve.losses[first:epoch]]
        return sum(parts) / len(parts)
