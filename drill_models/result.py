"""The result of a step: what was published, what was run. Accuracies are fractions, times are seconds."""

import math
import statistics
from typing import Literal, Self

from pydantic import Field, model_validator

from drill_models.backend import DeviceName, EngineName, PrecisionName
from drill_models.part import Accuracy, Part, Text


class EpochRecord(Part):
    """One epoch: means over the training images as they were trained, and over the held-out images."""

    epoch: int = Field(ge=1)
    lr: float = Field(ge=0, description="Learning rate at the epoch's end.")
    train_loss: float
    train_accuracy: Accuracy
    val_loss: float
    val_accuracy: Accuracy
    seconds: float = Field(ge=0)


class Reported(Part):
    """What a published step says of itself, kept as it is even where its own curve differs."""

    n_params: Text | None = Field(default=None, description="The count in the author's words.")
    train_accuracy: Accuracy
    test_accuracy: Accuracy
    test_curve: tuple[Accuracy, ...] = Field(
        default=(), max_length=1000, description="Test accuracy after each epoch."
    )


class Caveat(Part):
    """Why a figure is not what it seems."""

    kind: Literal["selected-on-test", "scheduler-never-stepped", "misreported", "reconstructed", "small-data"]
    text: Text


class Run(Part):
    """One training run: where it ran, and its curve."""

    held_out: Literal["validation", "test"] = Field(description="What val_loss and val_accuracy were measured on.")
    seed: int = Field(ge=0, le=2**63 - 1)
    device: DeviceName
    threads: int = Field(ge=1)
    torch: Text = Field(description="Version of PyTorch.")
    program: Text | None = Field(default=None, description="Version of drill-search.")
    engine: EngineName = Field(
        default="torch", description="Own kernels on one thread of the CPU, or PyTorch's layers."
    )
    precision: PrecisionName = Field(default="fp32", description="Of multiplications.")
    gpu: Text | None = Field(default=None, description="Its kind, of a run on one.")
    value: Accuracy = Field(description="Mean held-out accuracy of the last three epochs.")
    best_epoch: int = Field(ge=1)
    seconds: float = Field(ge=0)
    epochs: tuple[EpochRecord, ...] = Field(min_length=1, max_length=1000)


def last_three_mean(accuracies: tuple[float, ...] | list[float]) -> float:
    """Mean of the last three accuracies, or of all where there are fewer: a search's value of a run."""
    last = accuracies[-3:]
    return sum(last) / len(last)


class VerdictRun(Part):
    """One training run of a verdict."""

    seed: int = Field(ge=0, le=2**63 - 1)
    accuracies: tuple[Accuracy, ...] = Field(
        min_length=1, max_length=1000, description="On the test set, after each epoch."
    )


class Verdict(Part):
    """What training from scratch on all training images says, with several seeds, on the test set.

    Nothing was chosen by these figures, and no epoch is left out: `mean`, `std`, `min` and `max` are those
    of the last epoch over the seeds; `last3_min` and `last5_min` are the lowest of all seeds' last three
    and last five epochs.
    """

    recipe: str = Field(pattern="^[0-9a-f]{64}$", description="Digest of what was trained: `Step.digest`.")
    mean: Accuracy
    std: float | None = Field(default=None, ge=0, description="Of a sample; absent with one seed.")
    min: Accuracy
    max: Accuracy
    last3_min: Accuracy
    last5_min: Accuracy
    low: Accuracy | None = Field(default=None, description="95 % interval of the mean (Student's t).")
    high: Accuracy | None = None
    seeds: int = Field(ge=1, description="How many.")
    device: DeviceName
    engine: EngineName
    precision: PrecisionName
    torch: Text = Field(description="Version of PyTorch.")
    program: Text | None = Field(default=None, description="Version of drill-search.")
    data: Text | None = Field(default=None, description="Fingerprint of the data set's files.")
    runs: tuple[VerdictRun, ...] = Field(min_length=1, max_length=1000)

    def holding(self, target: float) -> int:
        """Seeds that have at least the target accuracy in the last epoch; a target holds where all have."""
        return sum(run.accuracies[-1] >= target for run in self.runs)

    @model_validator(mode="after")
    def _follows_from_runs(self) -> Self:
        last = [run.accuracies[-1] for run in self.runs]
        if len({run.seed for run in self.runs}) < len(self.runs):
            raise ValueError("runs must have a seed each, and one stands twice")
        if len({len(run.accuracies) for run in self.runs}) > 1:
            raise ValueError("runs must have as many epochs each")
        figures = {
            "seeds": len(self.runs),
            "mean": statistics.mean(last),
            "min": min(last),
            "max": max(last),
            "last3_min": min(min(run.accuracies[-3:]) for run in self.runs),
            "last5_min": min(min(run.accuracies[-5:]) for run in self.runs),
        }
        if len(last) > 1:
            figures["std"] = statistics.stdev(last)
        for name, value in figures.items():
            if abs((getattr(self, name) or 0) - value) > 1e-6:
                raise ValueError(f"{name} must be {value:g}, as its runs say, got {getattr(self, name)}")
        for name, wanted in zip(("low", "high"), interval_of(last), strict=True):
            got = getattr(self, name)
            if (got is None) != (wanted is None) or abs((got or 0) - (wanted or 0)) > 1e-5:
                raise ValueError(f"{name} must be {wanted}, as its runs say, got {got}")
        return self


CONFIDENCE = 0.95


def interval_of(accuracies: list[float]) -> tuple[float | None, float | None]:
    """The 95 % interval of the mean of a sample, by Student's t, within 0 and 1; None of a single one."""
    if len(accuracies) < 2:
        return None, None
    from scipy.special import stdtrit  # not for those that read no verdict: it takes a while to import

    n, mean = len(accuracies), statistics.mean(accuracies)
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * statistics.stdev(accuracies) / math.sqrt(n)
    return max(0.0, mean - half), min(1.0, mean + half)


class Result(Part):
    """What is known of a step: its parameter count, what was published, what was run, what several seeds say."""

    n_params: int = Field(ge=0)
    reported: Reported | None = None
    caveats: tuple[Caveat, ...] = ()
    run: Run | None = None
    verdict: Verdict | None = None
