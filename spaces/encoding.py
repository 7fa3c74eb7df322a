"""From a recipe back to the point of the drill space that it is."""

from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from drill_models.step import ConvBlock, GapHead, ModelConfig
from drill_models.train_config import (
    SGD,
    Adam,
    AdamW,
    ExponentialSchedule,
    OneCycleSchedule,
    PlateauSchedule,
    StepSchedule,
    TrainConfig,
)
from spaces.skeletons import (
    NormPlace,
    Skeleton,
    SkeletonConv,
)
from spaces.space import Point


def widths_of(skeleton: Skeleton, model: ModelConfig) -> Point | None:
    """The widths that give a model's channels, or None where the blocks are not this skeleton's."""
    if len(skeleton.blocks) != len(model.blocks):
        return None
    widths: Point = {}
    for open_block, block in zip(skeleton.blocks, model.blocks, strict=True):
        if isinstance(open_block, SkeletonConv) != isinstance(block, ConvBlock):
            return None
        if isinstance(open_block, SkeletonConv) and isinstance(block, ConvBlock):
            if (open_block.kernel, open_block.padding) != (block.kernel, block.padding):
                return None
            widths.setdefault(open_block.width, block.channels)
    return widths


def model_dimensions(model: ModelConfig) -> Point:
    """Where batch norm stands, and which head and dropout a model has."""
    place: NormPlace = "none"
    for block in model.blocks:
        if isinstance(block, ConvBlock) and "batch_norm" in block.then and "relu" in block.then:
            first = block.then.index("batch_norm") < block.then.index("relu")
            place = "before_relu" if first else "after_relu"
            break
    dimensions: Point = {
        "batch_norm": place,
        "head": "gap" if isinstance(model.head, GapHead) else "full_conv",
    }
    if model.dropout is not None:
        dimensions |= {"dropout": model.dropout.per, "dropout_rate": model.dropout.rate}
    return dimensions


def training_dimensions(training: TrainConfig) -> Point:
    """The dimensions that a training uses."""
    dimensions: Point = {
        "batch_size": training.batch_size,
        "label_smoothing": training.label_smoothing,
        "ema_decay": training.ema_decay,
        "weight_decay": training.optimizer.weight_decay,
    }
    match training.optimizer:
        case SGD(lr=lr, momentum=momentum, nesterov=nesterov):
            kind = "nesterov" if nesterov else "sgd"
            dimensions |= {"optimizer": kind, "sgd_lr": lr, "momentum": momentum}
        case Adam(lr=lr):
            dimensions |= {"optimizer": "adam", "adam_lr": lr}
        case AdamW(lr=lr):
            dimensions |= {"optimizer": "adamw", "adam_lr": lr}
    dimensions["schedule"] = training.schedule.kind
    match training.schedule:
        case StepSchedule(every=every, gamma=gamma):
            dimensions |= {"step_every": every, "step_gamma": gamma}
        case ExponentialSchedule(gamma=gamma):
            dimensions["decay"] = gamma
        case OneCycleSchedule(warmup=warmup):
            dimensions["warmup"] = warmup
        case PlateauSchedule(factor=factor):
            dimensions["step_gamma"] = factor
    if training.augment is not None:
        dimensions |= {
            "rotation": round(training.augment.rotation),
            "translation": training.augment.translation,
            "scale": training.augment.scale,
            "shear": round(training.augment.shear),
            "interpolation": training.augment.interpolation,
        }
    return dimensions


def holds(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a dimension has a value."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return value in choices
        case IntDistribution(low=low, high=high):
            return bool(low <= value <= high)
        case FloatDistribution(low=low, high=high, step=step):
            on_grid = step is None or abs((value - low) / step - round((value - low) / step)) < 1e-6
            return bool(low - 1e-12 <= value <= high + 1e-12) and on_grid
    raise TypeError(f"unknown distribution {type(distribution).__name__}")


def differences(wanted: Any, got: Any, key: str = "") -> list[str]:
    """Dotted keys in which two dumps of a recipe differ."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        keys = dict.fromkeys([*wanted, *got])
        return [d for k in keys for d in differences(wanted.get(k), got.get(k), f"{key}.{k}" if key else str(k))]
    if isinstance(wanted, tuple) and isinstance(got, tuple) and len(wanted) == len(got) and key.endswith("blocks"):
        return [
            d for i, (w, g) in enumerate(zip(wanted, got, strict=True)) for d in differences(w, g, f"{key}[{i}]")
        ]
    return [] if wanted == got else [key]
