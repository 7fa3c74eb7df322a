"""Where a learning curve will end, by what curves like it did."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FLOOR, CEILING = 1e-4, 10.0
"""Errors and losses are compared as logarithms, no less than the first and no more than the second."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A run as far as it has come.

    Attributes:
        kind: What decides the form of the curve: the kind of learning-rate schedule.
        n_params: Of its network.
        epochs: That the run has, or would have if it were not stopped.
        accuracies: Held-out accuracy after each epoch so far, fractions.
        train_losses: Mean training loss of each epoch so far.
    """

    kind: str
    n_params: int
    epochs: int
    accuracies: Sequence[float]
    train_losses: Sequence[float]


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

    The state is the logarithm of the least error so far, of the epoch's training loss and of the network's
    parameters. Early in training the loss says more than the accuracy, which a high learning rate makes jump. The
    regression is linear, with a ridge; curves of another kind weigh less.

    Attributes:
        unlike: Weight of a curve of another kind; of the same kind it is 1.
        ridge: Penalty on the slopes of standardised states, in finished curves.
        prior: So many residuals of size `spread` are assumed beside those that are there.
        spread: Typical standard deviation of a forecast, in logarithms of the error.
    """

    unlike: float = 0.2
    ridge: float = 1.0
    prior: float = 2.0
    spread: float = 0.3

    def forecast(self, running: Curve, finished: Sequence[Finished]) -> Forecast:
        """The final error of a running curve; `finished` must not be empty.

        A curve that lies far from all others is forecast by the same line, no less sure: what is far worse than
        all that ever ended well need not be waited for.
        """
        fraction = len(running.accuracies) / running.epochs
        x = np.array([_state(other.curve, fraction) for other in finished])
        y = np.array([log_error(other.value) for other in finished])
        weight = np.array([1.0 if other.curve.kind == running.kind else self.unlike for other in finished])
        total = float(weight.sum())
        middle, mean = weight @ x / total, float(weight @ y / total)
        scale = np.sqrt(weight @ (x - middle) ** 2 / total) + 1e-9
        z = (x - middle) / scale
        inner = (z.T * weight) @ z + self.ridge * np.eye(z.shape[1])
        slopes = np.linalg.solve(inner, (z.T * weight) @ (y - mean))
        residuals = float(weight @ (y - mean - z @ slopes) ** 2)
        variance = (residuals + self.prior * self.spread**2) / (total + self.prior)
        here = (np.array(_state(running, fraction)) - middle) / scale
        return Forecast(mean + float(here @ slopes), math.sqrt(variance * (1 + 1 / total)))


def _state(curve: Curve, fraction: float) -> list[float]:
    """Of a curve after so much of its training."""
    epoch = max(1, round(fraction * curve.epochs))
    best = max(curve.accuracies[:epoch])
    return [log_error(best), _log_loss(curve.train_losses[epoch - 1]), math.log(curve.n_params)]
