"""The drill space: skeleton x widths x norm x head x dropout x augmentation x optimiser x schedule.

All 23 hand steps are points of it, exactly. Dimensions that a point does not use (the rate of a dropout
that is off, the momentum of Adam) are there all the same: Optuna samples jointly only over dimensions
that every trial has.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from drill_models.errors import StepError
from drill_models.step import Dropout, ModelConfig, Recipe
from drill_models.train_config import (
    SGD,
    Adam,
    AdamW,
    Augment,
    CosineSchedule,
    ExponentialSchedule,
    NoSchedule,
    OneCycleSchedule,
    Optimizer,
    PlateauSchedule,
    Schedule,
    StepSchedule,
    TrainConfig,
)
from spaces.budget import Budget
from spaces.encoding import differences, holds, model_dimensions, training_dimensions, widths_of
from spaces.shrink import shrink
from spaces.skeletons import (
    MAX_WIDTH,
    MIN_WIDTH,
    WIDTH_NAMES,
    Skeleton,
    assemble,
    smallest_model,
)
from spaces.space import Point

NAME = "drill2"
"""Name and version of the space; the number goes up when a dimension or a skeleton changes."""

PLATEAU_PATIENCE = 1
"""Epochs without a lower training loss before a plateau schedule lowers the rate."""

_DIMENSIONS: dict[str, BaseDistribution] = {
    **{name: IntDistribution(MIN_WIDTH, MAX_WIDTH, log=True) for name in WIDTH_NAMES},
    "batch_norm": CategoricalDistribution(("none", "before_relu", "after_relu")),
    "head": CategoricalDistribution(("gap", "full_conv")),
    "dropout": CategoricalDistribution(("none", "element", "channel")),
    "dropout_rate": FloatDistribution(0.01, 0.25, step=0.01),
    "rotation": IntDistribution(0, 20),
    "translation": FloatDistribution(0.0, 3.0, step=0.5),
    "scale": FloatDistribution(0.0, 0.15, step=0.01),
    "shear": IntDistribution(0, 20),
    "interpolation": CategoricalDistribution(("nearest", "bilinear")),
    "batch_size": CategoricalDistribution((32, 64, 128, 256)),
    "optimizer": CategoricalDistribution(("sgd", "nesterov", "adam", "adamw")),
    "sgd_lr": FloatDistribution(0.001, 0.5, log=True),
    "momentum": FloatDistribution(0.8, 0.98, step=0.01),
    "adam_lr": FloatDistribution(0.0001, 0.03, log=True),
    "weight_decay": CategoricalDistribution((0.0, 1e-5, 1e-4, 5e-4, 1e-3)),
    "label_smoothing": FloatDistribution(0.0, 0.15, step=0.01),
    "ema_decay": CategoricalDistribution((0.0, 0.99, 0.999)),
    "schedule": CategoricalDistribution(("none", "step", "exponential", "cosine", "onecycle", "plateau")),
    "step_every": IntDistribution(1, 15),
    "step_gamma": FloatDistribution(0.05, 0.95, step=0.05),
    "decay": FloatDistribution(0.7, 0.99, step=0.01),
    "warmup": FloatDistribution(0.1, 0.5, step=0.05),
}

_UNUSED: Point = {
    **dict.fromkeys(WIDTH_NAMES, 16),
    "dropout": "none",
    "dropout_rate": 0.05,
    "rotation": 0,
    "translation": 0.0,
    "scale": 0.0,
    "shear": 0,
    "interpolation": "bilinear",
    "sgd_lr": 0.01,
    "momentum": 0.9,
    "adam_lr": 0.001,
    "step_every": 5,
    "step_gamma": 0.1,
    "decay": 0.9,
    "warmup": 0.3,
}
"""What `encode` puts where a recipe does not use a dimension."""

_FILL = {"nearest": 1, "bilinear": 0}
"""Grey level of the corners: as the published steps have it with nearest neighbour, black otherwise."""


class DrillSpace:
    """The drill space over given skeletons, for a data set's number of classes."""

    def __init__(self, skeletons: Sequence[Skeleton], *, num_classes: int = 10) -> None:
        """
        Args:
            skeletons: What the dimension `skeleton` chooses from.
            num_classes: Of the data set; decoded networks end in so many scores.
        """
        self._skeletons = {skeleton.name: skeleton for skeleton in skeletons}
        self.num_classes = num_classes
        self.distributions: Mapping[str, BaseDistribution] = {
            "skeleton": CategoricalDistribution(tuple(self._skeletons)),
            **_DIMENSIONS,
        }

    @property
    def name(self) -> str:
        """Name and version."""
        return NAME

    @property
    def skeletons(self) -> tuple[Skeleton, ...]:
        """What the dimension `skeleton` chooses from."""
        return tuple(self._skeletons.values())

    def model(self, point: Mapping[str, Any]) -> ModelConfig:
        """The network of a point."""
        return self._model(point, self.num_classes)

    def decode(self, point: Mapping[str, Any], *, epochs: int) -> Recipe:
        """The recipe of a point, trained for so many epochs."""
        return Recipe(model=self.model(point), training=_training(point, epochs))

    def shrink(self, point: Mapping[str, Any], budget: Budget) -> Point:
        """See `spaces.shrink.shrink`."""
        return shrink(dict(point), budget, self.skeletons, self.num_classes, self.model)

    def least_params(self, budget: Budget) -> int:
        """Parameters of the smallest network that keeps a budget; some network of the space must."""
        excesses = (budget.excess(smallest_model(each, self.num_classes)) for each in self.skeletons)
        return budget.max_params + min(each["n_params"] for each in excesses if max(each.values()) <= 0)

    def encode(self, recipe: Recipe) -> Point:
        """The point of a recipe, whatever its number of classes and epochs.

        Raises:
            StepError: The space does not contain the recipe; says what differs.
        """
        near: list[tuple[str, list[str]]] = []
        for skeleton in self._skeletons.values():
            widths = widths_of(skeleton, recipe.model)
            if widths is None:
                continue
            point = {
                **_UNUSED,
                "skeleton": skeleton.name,
                **widths,
                **model_dimensions(recipe.model),
                **training_dimensions(recipe.training),
            }
            decoded = Recipe(
                model=self._model(point, recipe.model.num_classes),
                training=_training(point, recipe.training.epochs),
            )
            wrong = differences(recipe.model_dump(), decoded.model_dump())
            wrong += [name for name, d in self.distributions.items() if not holds(d, point[name])]
            if not wrong:
                return point
            near.append((skeleton.name, wrong))
        if not near:
            raise StepError("no skeleton of the space has these blocks")
        name, wrong = min(near, key=lambda pair: len(pair[1]))
        raise StepError(f"the space lacks this step; nearest is skeleton {name}, other in {', '.join(wrong)}")

    def assert_contains(self, recipe: Recipe) -> None:
        """Raises `StepError`, with what differs, where the space does not contain a recipe."""
        self.encode(recipe)

    def _model(self, point: Mapping[str, Any], num_classes: int) -> ModelConfig:
        kind = point["dropout"]
        return assemble(
            self._skeletons[point["skeleton"]],
            point,
            batch_norm=point["batch_norm"],
            head=point["head"],
            dropout=None if kind == "none" else Dropout(rate=round(point["dropout_rate"], 2), per=kind),
            num_classes=num_classes,
        )


# --- point -> training -----------------------------------------------------------------------


def _rate(value: float) -> float:
    """Three digits are what a learning rate needs and what a step file shows."""
    return float(f"{value:.3g}")


def _training(point: Mapping[str, Any], epochs: int) -> TrainConfig:
    return TrainConfig(
        epochs=epochs,
        batch_size=point["batch_size"],
        optimizer=_optimizer(point),
        schedule=_schedule(point),
        augment=_augment(point),
        label_smoothing=round(point["label_smoothing"], 2),
        ema_decay=point["ema_decay"],
    )


def _optimizer(point: Mapping[str, Any]) -> Optimizer:
    decay = point["weight_decay"]
    match point["optimizer"]:
        case "sgd" | "nesterov" as kind:
            return SGD(
                kind="sgd",
                lr=_rate(point["sgd_lr"]),
                momentum=round(point["momentum"], 2),
                nesterov=kind == "nesterov",
                weight_decay=decay,
            )
        case "adam":
            return Adam(kind="adam", lr=_rate(point["adam_lr"]), weight_decay=decay)
        case "adamw":
            return AdamW(kind="adamw", lr=_rate(point["adam_lr"]), weight_decay=decay)
    raise ValueError(f"unknown optimizer {point['optimizer']!r}")


def _schedule(point: Mapping[str, Any]) -> Schedule:
    match point["schedule"]:
        case "none":
            return NoSchedule(kind="none")
        case "step":
            return StepSchedule(kind="step", every=point["step_every"], gamma=round(point["step_gamma"], 2))
        case "exponential":
            return ExponentialSchedule(kind="exponential", gamma=round(point["decay"], 2))
        case "cosine":
            return CosineSchedule(kind="cosine")
        case "onecycle":
            return OneCycleSchedule(kind="onecycle", warmup=round(point["warmup"], 2))
        case "plateau":
            return PlateauSchedule(kind="plateau", factor=round(point["step_gamma"], 2), patience=PLATEAU_PATIENCE)
    raise ValueError(f"unknown schedule {point['schedule']!r}")


def _augment(point: Mapping[str, Any]) -> Augment | None:
    how = point["interpolation"]
    augment = Augment(
        rotation=float(point["rotation"]),
        translation=round(point["translation"], 1),
        scale=round(point["scale"], 2),
        shear=float(point["shear"]),
        interpolation=how,
        fill=_FILL[how],
    )
    return augment if augment.changes else None
