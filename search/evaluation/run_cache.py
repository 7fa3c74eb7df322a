"""Finished runs on all training images, kept in a file, so that a verdict goes on where it was interrupted."""

from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from pydantic import Field, ValidationError

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


class ConfirmedRun(Part):
    """One run from scratch on all training images, measured on the test set after each epoch."""

    key: RunKey
    seed: int
    epochs: tuple[EpochRecord, ...]
    mistakes: tuple[int, ...] = Field(description="Positions of the test images that the last epoch gets wrong.")
    diverged: Text | None = None

    @property
    def accuracies(self) -> tuple[float, ...]:
        """On the test set, after each epoch."""
        return tuple(record.val_accuracy for record in self.epochs)


def key_of(step: Step, where: Environment) -> RunKey:
    """The key of a step's runs in a place."""
    return RunKey(
        recipe=step.digest,
        device=where.device,
        engine=where.engine,
        precision=where.precision,
        torch=where.torch,
        version=version("drill-search"),
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

    def of_recipe(self, digest: str) -> list[ConfirmedRun]:
        """The runs of a recipe that have an end, whatever they ran on, one a seed."""
        by_seed = {
            run.seed: run for run in self._runs.values() if run.key.recipe == digest and run.diverged is None
        }
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
        except ValidationError:
            continue
