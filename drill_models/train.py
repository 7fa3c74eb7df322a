"""The epoch loop: trains one recipe and yields one record an epoch. No study in sight."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import lr_scheduler

from drill_models.augment import augment_batch
from drill_models.average import MovingAverage
from drill_models.backend import Backend
from drill_models.data import Images, ResidentData
from drill_models.errors import Interrupted
from drill_models.networks import Network, make_network
from drill_models.result import EpochRecord
from drill_models.step import Recipe
from drill_models.train_config import (
    SGD,
    Adam,
    AdamW,
    CosineSchedule,
    ExponentialSchedule,
    NoSchedule,
    OneCycleSchedule,
    Optimizer,
    PlateauSchedule,
    Schedule,
    StepSchedule,
)

EVAL_BATCH = 1000
"""Images a batch in evaluation."""


DEFAULT_BACKEND = Backend()


class Diverged(Exception):
    """The training loss is no longer a finite number."""


def train(
    recipe: Recipe,
    data: ResidentData,
    *,
    seed: int,
    backend: Backend = DEFAULT_BACKEND,
    should_stop: Callable[[], bool] = lambda: False,
    keep: Callable[[Network], None] = lambda network: None,
) -> Iterator[EpochRecord]:
    """Trains from scratch and yields a record after each epoch.

    The same recipe, data, seed, engine, thread count, versions and kind of processor, or of GPU, give the same
    bits again.

    Args:
        recipe: Network and training settings.
        data: Training and held-out images; held-out images are only looked at, after each epoch.
        seed: Decides weights, order of images, augmentation and dropout.
        backend: What trains; `data` may lie on another device and is moved.
        should_stop: Asked before each batch.
        keep: Given the trained network once, after the last epoch.

    Raises:
        Interrupted: `should_stop` said yes.
        Diverged: The loss became infinite or NaN.
    """
    device = backend.device
    data = data.to(device)
    torch.manual_seed(seed)
    draws = torch.Generator().manual_seed(seed)
    config = recipe.training
    batches = _batches(torch.arange(len(data.train)), config.batch_size)
    network = make_network(
        recipe.model, backend, batch=config.batch_size, max_batch=max(map(len, batches)), seed=seed
    )
    optimizer = _optimizer(config.optimizer, network.parameters())
    average = None
    if config.ema_decay:
        average = MovingAverage([*network.parameters(), *network.statistics()], config.ema_decay)
    per_batch, per_epoch = _schedules(config.schedule, config.optimizer, optimizer, config.epochs, len(batches))
    for epoch in range(1, config.epochs + 1):
        started = time.perf_counter()
        order = torch.randperm(len(data.train), generator=draws).to(device)
        total, right = torch.zeros((), device=device), torch.zeros((), device=device)
        for chosen in _batches(order, config.batch_size):
            if should_stop():
                raise Interrupted
            images, labels = data.train.pixels[chosen].float(), data.train.labels[chosen]
            if config.augment is not None:
                images = augment_batch(images, config.augment, draws)
            loss, hits = network.train_batch(
                data.normalise(images), labels, label_smoothing=config.label_smoothing
            )
            optimizer.step()
            if per_batch is not None:
                per_batch.step()
            if average is not None:
                average.update()
            total += loss * len(labels)
            right += hits
        train_loss = float(total) / len(order)
        if not math.isfinite(train_loss):
            raise Diverged(f"training loss is {train_loss} in epoch {epoch}")
        lr = float(optimizer.param_groups[0]["lr"])
        _after_epoch(per_epoch, train_loss)
        if average is not None:
            average.swap()
        val_loss, val_accuracy = evaluate(network, data.held_out, data)
        if average is not None and epoch < config.epochs:
            average.swap()
        # Rounded, so that what is stored, shown and compared is the same short number.
        yield EpochRecord(
            epoch=epoch,
            lr=float(f"{lr:.6g}"),
            train_loss=round(train_loss, 6),
            train_accuracy=round(float(right) / len(order), 6),
            val_loss=round(val_loss, 6),
            val_accuracy=round(val_accuracy, 6),
            seconds=round(time.perf_counter() - started, 3),
        )
    keep(network)


def _batches(order: Tensor, size: int) -> list[Tensor]:
    """Batches of `size`, the last short one kept; a single image, which batch norm refuses, joins the others."""
    batches = list(torch.split(order, size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def evaluate(network: Network, images: Images, data: ResidentData) -> tuple[float, float]:
    """Mean cross-entropy (without label smoothing) and accuracy of a network, in evaluation mode."""
    total, right = 0.0, 0
    for scores, labels in _scored(network, images, data):
        total += float(F.cross_entropy(scores, labels, reduction="sum"))
        right += int((scores.argmax(1) == labels).sum())
    return total / len(images), right / len(images)


def mistakes(network: Network, images: Images, data: ResidentData) -> tuple[int, ...]:
    """Positions of the images that a network gives another label than theirs, in evaluation mode."""
    wrong = [scores.argmax(1) != labels for scores, labels in _scored(network, images, data)]
    return tuple(torch.cat(wrong).nonzero().flatten().tolist())


def _scored(network: Network, images: Images, data: ResidentData) -> Iterator[tuple[Tensor, Tensor]]:
    """Scores and labels, batch by batch."""
    for at in range(0, len(images), EVAL_BATCH):
        scores = network.scores(data.normalise(images.pixels[at : at + EVAL_BATCH].float()))
        yield scores, images.labels[at : at + EVAL_BATCH]


def _optimizer(config: Optimizer, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    fused = parameters[0].is_cuda  # one kernel for all parameters, where launching kernels is what takes time
    match config:
        case SGD():
            return torch.optim.SGD(
                parameters,
                lr=config.lr,
                momentum=config.momentum,
                nesterov=config.nesterov,
                weight_decay=config.weight_decay,
                fused=fused,
            )
        case Adam():
            return torch.optim.Adam(parameters, lr=config.lr, weight_decay=config.weight_decay, fused=fused)
        case AdamW():
            return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay, fused=fused)
    raise TypeError(f"unknown optimiser {type(config).__name__}")


@dataclass(frozen=True)
class _PerEpoch:
    """A scheduler that steps once an epoch, after training it."""

    scheduler: lr_scheduler.LRScheduler
    watches_loss: bool = False


def _schedules(
    schedule: Schedule, config: Optimizer, optimizer: torch.optim.Optimizer, epochs: int, steps: int
) -> tuple[lr_scheduler.LRScheduler | None, _PerEpoch | None]:
    """The scheduler to step after each batch, and the one to step after each epoch."""
    match schedule:
        case NoSchedule():
            return None, None
        case StepSchedule():
            return None, _PerEpoch(lr_scheduler.StepLR(optimizer, schedule.every, schedule.gamma))
        case ExponentialSchedule():
            return None, _PerEpoch(lr_scheduler.ExponentialLR(optimizer, schedule.gamma))
        case CosineSchedule():
            return lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * steps), None
        case OneCycleSchedule():
            # PyTorch divides by the warm-up's length less one batch.
            total = epochs * steps
            warmup = schedule.warmup if schedule.warmup * total != 1 else 1.5 / total
            # Without momentum there is nothing to cycle, and PyTorch would refuse.
            cycle = schedule.cycle_momentum and not (isinstance(config, SGD) and config.momentum == 0)
            one_cycle = lr_scheduler.OneCycleLR(
                optimizer,
                max_lr=config.lr,
                total_steps=total,
                pct_start=warmup,
                div_factor=schedule.div_factor,
                final_div_factor=schedule.final_div_factor,
                cycle_momentum=cycle,
            )
            return one_cycle, None
        case PlateauSchedule():
            plateau = lr_scheduler.ReduceLROnPlateau(optimizer, factor=schedule.factor, patience=schedule.patience)
            return None, _PerEpoch(plateau, watches_loss=True)
    raise TypeError(f"unknown schedule {type(schedule).__name__}")


def _after_epoch(per_epoch: _PerEpoch | None, train_loss: float) -> None:
    if per_epoch is None:
        return
    if per_epoch.watches_loss:
        per_epoch.scheduler.step(train_loss)  # type: ignore[arg-type]
    else:
        per_epoch.scheduler.step()
