"""Finished runs on all training images, kept in a file, so that a verdict goes on where it was interrupted."""

from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from drill_models.backend import DeviceName, EngineName, Environment, PrecisionName
from drill_models.json_lines import append_line, read_lines
from drill_models.part import Part, Text
from drill_models.result import EpochRecord
from drill_models.step import Step

FILE = Path("studies/confirmed.jsonl")


class RunKey(Part):
    """What a run's figures depend on, but for its seed."""

    recipe: str = Field(pattern="^[0-9a-f]{64}$", description="`Step.digest`: a changed step is another one.")
    device: DeviceName
    engine: EngineName
    precision: PrecisionName
    torch: Text
    version: Text = Field(description="Of this package.")
    data: Text | None = Field(default=None, description="Fingerprint of the data set's files.")


class ConfirmedRun(Part):
    """One run from scratch on all training images, measured on the test set after each epoch."""

    key: RunKey
    seed: int = Field(ge=0, le=2**63 - 1)
    epochs: tuple[EpochRecord, ...]
    mistakes: tuple[int, ...] = Field(description="Positions of the test images that the last epoch gets wrong.")
    diverged: Text | None = None

    @model_validator(mode="after")
    def _follows_from_epochs(self) -> Self:
        if [record.epoch for record in self.epochs] != list(range(1, len(self.epochs) + 1)):
            raise ValueError("epochs must be numbered from 1")
        if len(set(self.mistakes)) < len(self.mistakes) or any(place < 0 for place in self.mistakes):
            raise ValueError("mistakes must be different places")
        if self.diverged is None and not self.epochs:
            raise ValueError("a run that has an end has epochs")
        return self

    def fits(self, epochs: int, n_images: int) -> bool:
        """Whether it is a whole run of so many epochs, and its last accuracy is what its mistakes leave."""
        if self.diverged is not None:
            return True
        if len(self.epochs) != epochs or max(self.mistakes, default=0) >= n_images:
            return False
        return abs(self.accuracies[-1] - (1 - len(self.mistakes) / n_images)) < 0.5 / n_images

    @property
    def accuracies(self) -> tuple[float, ...]:
        """On the test set, after each epoch."""
        return tuple(record.val_accuracy for record in self.epochs)


def key_of(step: Step, where: Environment, data: str | None = None) -> RunKey:
    """The key of a step's runs in a place, on data of that fingerprint."""
    return RunKey(
        recipe=step.digest,
        device=where.device,
        engine=where.engine,
        precision=where.precision,
        torch=where.torch,
        version=version("drill-search"),
        data=data,
    )


class ConfirmedRuns:
    """The runs of a file, one a line; a line that was cut off while it was written is left out."""

    def __init__(self, file: Path = FILE) -> None:
        """
        Raises:
            DrillError: The file cannot be read.
        """
        self._file = file
        self._runs: dict[tuple[RunKey, int], ConfirmedRun] = {}
        for run in _readable(read_lines(file)):
            self._runs[run.key, run.seed] = run

    def find(self, key: RunKey, seed: int) -> ConfirmedRun | None:
        """The run that is there already, or None."""
        return self._runs.get((key, seed))

    def all_of(self, digest: str) -> list[ConfirmedRun]:
        """All runs of a recipe that have an end."""
        return [run for run in self._runs.values() if run.key.recipe == digest and run.diverged is None]

    def of_recipe(self, digest: str) -> list[ConfirmedRun]:
        """The runs of a recipe that have an end, whatever they ran on, one a seed."""
        by_seed = {run.seed: run for run in self.all_of(digest)}
        return list(by_seed.values())

    def add(self, run: ConfirmedRun) -> None:
        """Keeps a run; it is on disk before this returns.

        Raises:
            DrillError: The file cannot be written.
        """
        self._runs[run.key, run.seed] = run
        append_line(self._file, run.model_dump_json())


def _readable(lines: Sequence[str]) -> Iterable[ConfirmedRun]:
    for line in lines:
        try:
            yield ConfirmedRun.model_validate_json(line)
        except (ValidationError, RecursionError, OverflowError):
            continue
