"""Dropout whose random numbers are cheap on a CPU.

PyTorch draws one 64-bit number an element, on one thread: a third of a training step of the hand steps.
Here a mask takes 16 random bits an element, from SFC64. The rate is thereby rounded to 1/65,536, which
is less than a hundredth of the smallest rate in use (0.01).
"""

import numpy as np
import torch
from torch import Tensor, nn

_LEVELS = 2**16


class MaskDropout(nn.Module):
    """Dropout of elements, or of whole channels, as `nn.Dropout` and `nn.Dropout2d` define it.

    On the CPU the masks come from an own generator, seeded from torch's global one at construction; on
    other devices PyTorch's functions are used.
    """

    def __init__(self, rate: float, *, channels: bool = False) -> None:
        super().__init__()
        self.rate = rate
        self.channels = channels
        seed = int(torch.randint(2**62, (), device="cpu"))
        self._bits = np.random.Generator(np.random.SFC64(seed))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W); in evaluation mode, the input itself."""
        if not self.training:
            return x
        if x.device.type != "cpu":
            drop = nn.functional.dropout2d if self.channels else nn.functional.dropout
            return drop(x, self.rate)
        n = x.shape[0] * x.shape[1] if self.channels else x.numel()
        words = self._bits.integers(0, 2**64, size=-(-n // 4), dtype=np.uint64)
        draws = torch.from_numpy(words.view(np.int16)[:n])
        kept = draws >= round(self.rate * _LEVELS) - _LEVELS // 2
        shape = (*x.shape[:2], 1, 1) if self.channels else x.shape
        return x * kept.view(shape).to(x.dtype).mul_(1 / (1 - self.rate))

    def extra_repr(self) -> str:
        """The rate and kind, as they show when a network is printed."""
        return f"rate={self.rate}, per={'channel' if self.channels else 'element'}"
