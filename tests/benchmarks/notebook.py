"""The training loop as drill notebooks have it, to compare with: PIL images, a DataLoader, plain layers.

Images go through torchvision's own MNIST class and transforms one by one, the network is made of PyTorch's
layers, the loss and the right answers of each batch are read back for the progress bar (which itself is left
out). Threads and allocator are PyTorch's defaults. Nothing of `drill_models` but the description of a step
is used.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from drill_models.backend import DeviceName
from drill_models.data import Images
from drill_models.step import (
    ConvBlock,
    Dropout,
    FullConvHead,
    GapHead,
    ModelConfig,
    Operation,
    Recipe,
    feature_shapes,
)
from drill_models.train_config import (
    SGD,
    Adam,
    AdamW,
    Augment,
    CosineSchedule,
    ExponentialSchedule,
    OneCycleSchedule,
    PlateauSchedule,
    StepSchedule,
    TrainConfig,
)

MEAN, STD = 0.1307, 0.3081
SIDE = 28


class TimeIsUp(Exception):
    """The loop was asked to stop."""


class Digits(datasets.MNIST):  # type: ignore[misc]
    """torchvision's MNIST over images that are already read: what it does with each is its own code."""

    def __init__(self, images: Images, transform: transforms.Compose) -> None:
        datasets.VisionDataset.__init__(self, ".", transform=transform)
        self.data = images.pixels.squeeze(1)
        self.targets = images.labels


class Net(nn.Module):
    """A step's network, layer by layer."""

    def __init__(self, model: ModelConfig) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        self.identity: list[bool] = []
        channels = 1
        for block in model.blocks:
            self.identity.append(isinstance(block, ConvBlock) and block.residual)
            if isinstance(block, ConvBlock):
                blocks.append(_block(block, channels, model.dropout))
                channels = block.channels
            else:
                blocks.append(nn.MaxPool2d(block.size))
        self.blocks = nn.ModuleList(blocks)
        self.head = _head(model, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 28, 28) -> (N, logits)."""
        for block, identity in zip(self.blocks, self.identity, strict=True):
            x = x + block(x) if identity else block(x)
        scores: Tensor = self.head(x)
        return scores.view(len(scores), -1)


def loader(
    images: Images,
    *,
    augment: Augment | None,
    batch_size: int,
    shuffle: bool,
    num_workers: int,
    pin_memory: bool = False,
) -> "DataLoader[Any]":
    """A DataLoader over PIL images, as notebooks make it; they pin memory where there is a GPU."""
    steps = [*_transforms(augment), transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))]
    data = Digits(images, transforms.Compose(steps))
    return DataLoader(data, batch_size=batch_size, shuffle=shuffle, num_workers=num_workers, pin_memory=pin_memory)


def optimizer_of(config: TrainConfig, net: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of a step."""
    match config.optimizer:
        case SGD(lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=decay):
            return torch.optim.SGD(
                net.parameters(), lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=decay
            )
        case Adam(lr=lr, weight_decay=decay):
            return torch.optim.Adam(net.parameters(), lr=lr, weight_decay=decay)
        case AdamW(lr=lr, weight_decay=decay):
            return torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=decay)
    raise TypeError(f"unknown optimiser {config.optimizer!r}")


def schedulers(
    config: TrainConfig, optimizer: torch.optim.Optimizer, batches: int
) -> tuple[Callable[[], None], Callable[[float], None]]:
    """What to call after each batch, and after each epoch with its training loss."""
    schedule = config.schedule
    total = config.epochs * batches
    per_batch: lr_scheduler.LRScheduler | None = None
    per_epoch: lr_scheduler.LRScheduler | None = None
    match schedule:
        case OneCycleSchedule():
            per_batch = lr_scheduler.OneCycleLR(
                optimizer,
                max_lr=config.optimizer.lr,
                total_steps=total,
                # PyTorch divides by the warm-up's length less one batch.
                pct_start=schedule.warmup if schedule.warmup * total != 1 else 1.5 / total,
                div_factor=schedule.div_factor,
                final_div_factor=schedule.final_div_factor,
                cycle_momentum=schedule.cycle_momentum,
            )
        case CosineSchedule():
            per_batch = lr_scheduler.CosineAnnealingLR(optimizer, T_max=total)
        case StepSchedule():
            per_epoch = lr_scheduler.StepLR(optimizer, schedule.every, schedule.gamma)
        case ExponentialSchedule():
            per_epoch = lr_scheduler.ExponentialLR(optimizer, schedule.gamma)
        case PlateauSchedule():
            plateau = lr_scheduler.ReduceLROnPlateau(optimizer, factor=schedule.factor, patience=schedule.patience)
            return lambda: None, lambda loss: plateau.step(loss)

    def after_batch() -> None:
        if per_batch is not None:
            per_batch.step()

    def after_epoch(loss: float) -> None:
        if per_epoch is not None:
            per_epoch.step()

    return after_batch, after_epoch


def train_epoch(
    net: nn.Module,
    batches: "DataLoader[Any]",
    optimizer: torch.optim.Optimizer,
    *,
    label_smoothing: float,
    after_batch: Callable[[], None] = lambda: None,
    should_stop: Callable[[], bool] = lambda: False,
    limit: int | None = None,
    device: DeviceName = "cpu",
) -> tuple[float, float]:
    """One epoch, or its first `limit` batches; returns mean loss and accuracy, as the progress bar shows them.

    `device` is the network's.

    Raises:
        TimeIsUp: `should_stop` said yes.
    """
    net.train()
    correct = processed = 0
    total = 0.0
    for images, labels in itertools.islice(batches, limit):
        if should_stop():
            raise TimeIsUp
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        scores = net(images)
        loss = F.cross_entropy(scores, labels, label_smoothing=label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        after_batch()
        answers = scores.argmax(dim=1, keepdim=True)
        correct += answers.eq(labels.view_as(answers)).sum().item()
        processed += len(labels)
        total += loss.item() * len(labels)
    return total / processed, correct / processed


@torch.no_grad()
def accuracy(net: nn.Module, batches: "DataLoader[Any]") -> float:
    """Accuracy in evaluation mode; the loss is added up as well, as notebooks do."""
    net.eval()
    correct = processed = 0
    total = 0.0
    for images, labels in batches:
        scores = net(images)
        total += F.cross_entropy(scores, labels, reduction="sum").item()
        answers = scores.argmax(dim=1, keepdim=True)
        correct += answers.eq(labels.view_as(answers)).sum().item()
        processed += len(labels)
    return correct / processed


def accuracies(
    recipe: Recipe, train: Images, held_out: Images, *, num_workers: int, should_stop: Callable[[], bool]
) -> Iterator[float]:
    """Trains a recipe and yields the accuracy on the held-out images after each epoch.

    Raises:
        TimeIsUp: `should_stop` said yes.
    """
    config = recipe.training
    net = Net(recipe.model)
    size = config.batch_size
    batches = loader(train, augment=config.augment, batch_size=size, shuffle=True, num_workers=num_workers)
    checks = loader(held_out, augment=None, batch_size=size, shuffle=False, num_workers=num_workers)
    optimizer = optimizer_of(config, net)
    after_batch, after_epoch = schedulers(config, optimizer, len(batches))
    for _ in range(config.epochs):
        loss, _ = train_epoch(
            net,
            batches,
            optimizer,
            label_smoothing=config.label_smoothing,
            after_batch=after_batch,
            should_stop=should_stop,
        )
        after_epoch(loss)
        yield accuracy(net, checks)


def _transforms(augment: Augment | None) -> list[object]:
    if augment is None:
        return []
    how = transforms.InterpolationMode(augment.interpolation)
    angle = augment.rotation
    if not augment.translation and not augment.scale:
        return [transforms.RandomRotation((-angle, angle), interpolation=how, fill=(augment.fill,))]
    share = augment.translation / SIDE
    return [
        transforms.RandomAffine(
            (-angle, angle),
            translate=(share, share),
            scale=(1 - augment.scale, 1 + augment.scale),
            interpolation=how,
            fill=(augment.fill,),
        )
    ]


def _block(block: ConvBlock, channels: int, dropout: Dropout | None) -> nn.Sequential:
    kernel, padding = block.kernel, block.padding
    layers: list[nn.Module]
    if block.separable:
        layers = [
            nn.Conv2d(channels, channels, kernel, padding=padding, groups=channels, bias=False),
            nn.Conv2d(channels, block.channels, 1, bias=False),
        ]
    else:
        layers = [nn.Conv2d(channels, block.channels, kernel, padding=padding, bias=False)]
    return nn.Sequential(*layers, *(_operation(name, block.channels, dropout) for name in block.then))


def _operation(name: Operation, channels: int, dropout: Dropout | None) -> nn.Module:
    match name:
        case "batch_norm":
            return nn.BatchNorm2d(channels)
        case "relu":
            return nn.ReLU()
        case "dropout":
            assert dropout is not None
            return nn.Dropout2d(dropout.rate) if dropout.per == "channel" else nn.Dropout(dropout.rate)
    raise TypeError(f"unknown operation {name!r}")


def _head(model: ModelConfig, channels: int) -> nn.Module:
    size = feature_shapes(model)[-1][1]
    match model.head:
        case FullConvHead():
            return nn.Conv2d(channels, model.num_classes, size, bias=False)
        case GapHead(classifier="conv1x1"):
            return nn.Sequential(nn.AvgPool2d(size), nn.Conv2d(channels, model.num_classes, 1, bias=False))
        case GapHead(classifier="linear"):
            return nn.Sequential(nn.AvgPool2d(size), nn.Flatten(), nn.Linear(channels, model.num_classes))
        case GapHead(classifier="none"):
            return nn.AvgPool2d(size)
    raise TypeError(f"unknown head {model.head!r}")
