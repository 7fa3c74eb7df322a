"""How a network is trained, as frozen values: optimiser, schedule, augmentation and the rest.

Units are those of `drill_models.step`, of whose file this is a part.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from drill_models.part import Part

LearningRate = Annotated[float, Field(gt=0, le=100)]
WeightDecay = Annotated[float, Field(ge=0, le=1)]


class SGD(Part):
    """Stochastic gradient descent; `lr` is the highest rate where the schedule is `onecycle`."""

    kind: Literal["sgd"]
    lr: LearningRate
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: WeightDecay = 0.0

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0, got 0")
        return self


class Adam(Part):
    """Adam with betas (0.9, 0.999); weight decay is added to the gradient."""

    kind: Literal["adam"]
    lr: LearningRate
    weight_decay: WeightDecay = 0.0


class AdamW(Part):
    """Adam with betas (0.9, 0.999) and decoupled weight decay."""

    kind: Literal["adamw"]
    lr: LearningRate
    weight_decay: WeightDecay = 0.0


Optimizer = Annotated[SGD | Adam | AdamW, Field(discriminator="kind")]

Gamma = Annotated[float, Field(gt=0, le=1, description="Factor on the learning rate.")]


class NoSchedule(Part):
    """A constant learning rate."""

    kind: Literal["none"]


class StepSchedule(Part):
    """The rate times `gamma` after every `every` epochs."""

    kind: Literal["step"]
    every: int = Field(ge=1, le=1000, description="Epochs.")
    gamma: Gamma


class ExponentialSchedule(Part):
    """The rate times `gamma` after each epoch."""

    kind: Literal["exponential"]
    gamma: Gamma


class CosineSchedule(Part):
    """From the rate down to 0 along half a cosine, stepped after each batch."""

    kind: Literal["cosine"]


class OneCycleSchedule(Part):
    """PyTorch's OneCycleLR, stepped after each batch; the optimiser's `lr` is its peak.

    Momentum (or Adam's beta1) goes from 0.95 to 0.85 and back while the rate goes up and down, as by
    PyTorch's default, unless `cycle_momentum` is false.
    """

    kind: Literal["onecycle"]
    warmup: float = Field(default=0.3, gt=0, lt=1, description="Fraction of all batches that go up.")
    div_factor: float = Field(default=25.0, ge=1, le=1e6)
    final_div_factor: float = Field(default=1e4, ge=1, le=1e9)
    cycle_momentum: bool = True


class PlateauSchedule(Part):
    """The rate times `factor` once the training loss has not fallen for more than `patience` epochs.

    It watches the training loss, so that neither validation nor test images steer the training.
    """

    kind: Literal["plateau"]
    factor: float = Field(gt=0, lt=1, description="Factor on the learning rate.")
    patience: int = Field(ge=0, le=1000, description="Epochs.")


Schedule = Annotated[
    NoSchedule | StepSchedule | ExponentialSchedule | CosineSchedule | OneCycleSchedule | PlateauSchedule,
    Field(discriminator="kind"),
]


class Augment(Part):
    """A random affine change of each training image, anew in each epoch.

    Angle, shift, size and slant are drawn uniformly from +-rotation degrees, +-translation pixels (each axis),
    1 +- scale and +-shear degrees. Corners that come from outside the image get the grey level `fill`.
    """

    rotation: float = Field(default=0.0, ge=0, le=180, description="Degrees.")
    translation: float = Field(default=0.0, ge=0, le=14, description="Pixels.")
    scale: float = Field(default=0.0, ge=0, le=0.5, description="Fraction of the size.")
    shear: float = Field(default=0.0, ge=0, le=45, description="Degrees by which upright lines slant.")
    interpolation: Literal["nearest", "bilinear"] = "bilinear"
    fill: int = Field(default=0, ge=0, le=255, description="Grey level, 0 to 255.")

    @property
    def changes(self) -> bool:
        """Whether any image comes out other than it went in."""
        return bool(self.rotation or self.translation or self.scale or self.shear)


class TrainConfig(Part):
    """How a network is trained: cross-entropy, batches shuffled anew each epoch, last short batch kept."""

    epochs: int = Field(default=15, ge=1, le=1000)
    batch_size: int = Field(default=128, ge=2, le=10_000)
    optimizer: Optimizer
    schedule: Schedule
    augment: Augment | None = None
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    ema_decay: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Of the exponential moving average of weights that is measured and kept; 0 is none.",
    )
