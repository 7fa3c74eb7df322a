"""Runs batches of one network with its compiled program."""

import ctypes
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from drill_models.backend import EngineName
from drill_models.datasets import IMAGE_SIZE
from drill_models.native.arena import lay_out
from drill_models.native.compile import Processor, compiled, processor
from drill_models.native.plan import Plan, make_plan
from drill_models.native.program import Writer
from drill_models.step import ModelConfig


class NativeNetwork:
    """A network that trains in its own compiled kernels, on one thread.

    Attributes:
        plan: Its layers.
        dropout_keys: (layers, blocks): what the last batch's masks were drawn from.
    """

    engine: EngineName = "native"

    def __init__(
        self, model: ModelConfig, net: nn.Module, *, max_batch: int, seed: int, target: Processor | None = None
    ) -> None:
        """Compiles the network.

        Args:
            model: The network.
            net: Built from it; its parameters and running statistics are the start.
            max_batch: Images in the largest batch.
            seed: Of dropout's masks.
            target: What to compile for; what `processor` returns, unless given.

        Raises:
            Unsupported: The kernels do not cover the network.
        """
        self.plan: Plan = make_plan(model)
        self._net = net
        target = target or processor()
        self._lanes = target.lanes
        self._blocks = -(-max_batch // self._lanes)
        registers = target.registers
        self.arena = lay_out(self.plan, self._blocks, lanes=self._lanes, registers=registers)
        writer = Writer(self.plan, self.arena, lanes=self._lanes, registers=registers)
        self._compiled = compiled(writer.write(), target)
        arguments = [*[ctypes.c_void_p] * 5, ctypes.c_int64, ctypes.c_float]
        self._functions = {
            name: self._compiled.function(name, arguments)
            for name in ("train_forward", "train_backward", "evaluate")
        }
        self._memory = aligned(self.arena.size * self._lanes)
        self._parameters = nn.Parameter(torch.cat([p.detach().flatten() for p in net.parameters()]))
        if len(self._parameters) != self.plan.n_params:
            raise TypeError(f"planned {self.plan.n_params} parameters, built {len(self._parameters)}")
        self._parameters.grad = torch.zeros_like(self._parameters)
        norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
        parts = [part for m in norms for part in (m.running_mean, m.running_var) if part is not None]
        self._running = torch.cat(parts) if parts else torch.zeros(1)
        self._draws = np.random.Generator(np.random.SFC64(seed))
        self.dropout_keys = np.zeros(0, np.uint32)
        self._n = 0

    # --- what a training loop calls

    def parameters(self) -> list[nn.Parameter]:
        """All of them as one flat tensor, in the order of the PyTorch network's own."""
        return [self._parameters]

    def statistics(self) -> list[Tensor]:
        """Batch norm's running means and variances, as one flat tensor."""
        return [self._running]

    @torch.no_grad()
    def train_batch(self, images: Tensor, labels: Tensor, *, label_smoothing: float) -> tuple[Tensor, Tensor]:
        """One pass forward and back."""
        scores = self.forward(images)
        loss = F.cross_entropy(scores, labels, label_smoothing=label_smoothing)
        # Slope of the mean cross-entropy: softmax less target, over the number of images.
        slope = scores.softmax(1)
        slope -= label_smoothing / scores.shape[1]
        slope[torch.arange(len(labels)), labels] -= 1 - label_smoothing
        self.backward(slope.div_(len(labels)))
        return loss, (scores.argmax(1) == labels).sum()

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1, 28, 28) normalised floats -> (N, logits), in training mode; remembers what `backward` needs."""
        self._enter(images)
        self._view(self.arena.sums)[:] = 0
        self.dropout_keys = self._draws.integers(
            0, 2**32, size=(len(self.plan.layers), self._used), dtype=np.uint32
        )
        self._call("train_forward")
        self._features = self._read_features()
        return self._classify(self._features)

    def backward(self, slope: Tensor) -> None:
        """From the loss's slope, (N, logits), to the parameters' `grad`."""
        grad, head = self._parameters.grad, self.plan.head
        assert grad is not None
        if self.plan.classifier != "none":
            weights = self._head_weights()
            n = weights.numel()
            torch.mm(slope.T, self._features, out=grad[head : head + n].view_as(weights))
            if self.plan.classifier == "linear":
                grad[head + n :] = slope.sum(0)
            slope = slope @ weights
        self._write_feature_slope(slope)
        self._call("train_backward")

    @torch.no_grad()
    def scores(self, images: Tensor) -> Tensor:
        """(N, 1, 28, 28) normalised floats -> (N, logits), in evaluation mode."""
        parts = []
        for part in torch.split(images, self._blocks * self._lanes):
            self._enter(part)
            self._call("evaluate")
            parts.append(self._classify(self._read_features()))
        return torch.cat(parts)

    def module(self) -> nn.Module:
        """The PyTorch network that this one began as, with the parameters and statistics of now."""
        with torch.no_grad():
            nn.utils.vector_to_parameters(self._parameters.detach().clone(), self._net.parameters())
            at = 0
            for module in self._net.modules():
                if isinstance(module, nn.BatchNorm2d):
                    for part in (module.running_mean, module.running_var):
                        assert part is not None
                        part.copy_(self._running[at : at + len(part)])
                        at += len(part)
        return self._net

    # --- in and out of the arena

    def _view(self, vectors: slice) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return self._memory[vectors.start * self._lanes : vectors.stop * self._lanes]

    def _blocks_of(self, start: int, size: int) -> Tensor:
        """(blocks, size, lanes): a buffer, as far as it is in use."""
        flat = self._view(slice(start, start + size * self._used))
        return torch.from_numpy(flat).view(self._used, size, self._lanes)

    def _enter(self, images: Tensor) -> None:
        n = len(images)
        if n > self._blocks * self._lanes:
            raise ValueError(f"a batch of {n} images, in a network for {self._blocks * self._lanes}")
        self._used = -(-n // self._lanes)
        if n != self._n:
            self._n = n
            lanes = self._view(slice(self.arena.lanes.start, self.arena.lanes.start + self._blocks))
            lanes[:] = np.arange(len(lanes)) < n
        first = self.plan.layers[0]
        pad = first.pad
        buffer = self._blocks_of(self.arena.inputs[0].start, first.padded**2)
        inside = buffer.view(self._used, first.padded, first.padded, self._lanes)
        inside = inside[:, pad : pad + IMAGE_SIZE, pad : pad + IMAGE_SIZE]
        pixels = images.view(n, IMAGE_SIZE, IMAGE_SIZE)
        whole = n // self._lanes
        cut = whole * self._lanes
        inside[:whole] = pixels[:cut].view(whole, self._lanes, IMAGE_SIZE, IMAGE_SIZE).permute(0, 2, 3, 1)
        if whole < self._used:
            inside[whole] = 0
            inside[whole, ..., : n - cut] = pixels[cut:].permute(1, 2, 0)

    def _read_features(self) -> Tensor:
        buffer = self._blocks_of(self.arena.features.start, self.plan.features)
        return buffer.permute(0, 2, 1).reshape(-1, self.plan.features)[: self._n]

    def _write_feature_slope(self, slope: Tensor) -> None:
        buffer = self._blocks_of(self.arena.feature_slope.start, self.plan.features)
        padded = F.pad(slope, (0, 0, 0, self._used * self._lanes - self._n))
        buffer[:] = padded.view(self._used, self._lanes, -1).permute(0, 2, 1)

    def _head_weights(self) -> Tensor:
        n = self.plan.num_classes * self.plan.features
        return self._parameters.detach()[self.plan.head : self.plan.head + n].view(-1, self.plan.features)

    def _classify(self, features: Tensor) -> Tensor:
        match self.plan.classifier:
            case "none":
                return features.clone()
            case "conv1x1":
                return features @ self._head_weights().T
            case "linear":
                return features @ self._head_weights().T + self._parameters.detach()[-self.plan.num_classes :]
        raise TypeError(f"unknown classifier {self.plan.classifier!r}")

    def _call(self, name: Literal["train_forward", "train_backward", "evaluate"]) -> None:
        grad = self._parameters.grad
        assert grad is not None
        self._functions[name](
            self._memory.ctypes.data,
            self._parameters.data_ptr(),
            self._running.data_ptr(),
            grad.data_ptr(),
            self.dropout_keys.ctypes.data,
            self._used,
            float(self._n),
        )


def aligned(n: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """n zeros that begin at a multiple of 64 bytes."""
    whole = np.zeros(n + 16, np.float32)
    skip = (-whole.ctypes.data % 64) // 4
    return whole[skip : skip + n]
