"""An exponential moving average of a network's weights, which is measured and kept in their place."""

from collections.abc import Sequence

import torch
from torch import Tensor


class MovingAverage:
    """Averages tensors that training changes in place: parameters, and batch norm's running statistics.

    After update t (from 1) the average is `d * average + (1 - d) * values` with
    `d = min(decay, (1 + t) / (10 + t))`, so that the random start is soon forgotten.
    Source: TensorFlow's `ExponentialMovingAverage` with `num_updates`.
    """

    def __init__(self, values: Sequence[Tensor], decay: float) -> None:
        """
        Args:
            values: Floats, of any shapes; read at each update.
            decay: From 0 to below 1.
        """
        self._values = [value.detach() for value in values]
        self._averages = [value.clone() for value in self._values]
        self._decay = decay
        self._updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Takes the values of now in."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        torch._foreach_lerp_(self._averages, self._values, 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges values and averages; a second call takes it back."""
        for value, average in zip(self._values, self._averages, strict=True):
            kept = value.clone()
            value.copy_(average)
            average.copy_(kept)
