"""Trackers that people use already: each trial is a run of MLflow or TensorBoard, by their own means."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState

from drill_models.backend import Environment
from drill_models.result import EpochRecord
from search.export.step import trial_yaml
from search.names import TrackerName
from search.schema import attributes as attrs
from search.storage.artifacts import STEP_FILE
from search.study.study import read_settings, read_space
from search.study.trials import accuracy_of, curve
from search.text import file_name, without_passwords

TENSORBOARD_FOLDER = Path("studies/tensorboard")
FIGURES = ("val_accuracy", "val_loss", "train_accuracy", "train_loss", "lr")
"""Of an epoch, by their names in code."""


class Tracker(Protocol):
    """What is told of each trial."""

    def started(self, trial: FrozenTrial) -> None:
        """It begins to train."""

    def epoch(self, number: int, record: EpochRecord) -> None:
        """It finished an epoch."""

    def ended(self, trial: FrozenTrial, step: str | None) -> None:
        """It ended; `step` is it as YAML, if it trained."""

    def close(self) -> None:
        """Nothing more comes."""


class MLflow:
    """A run of MLflow a trial, in the experiment of the study's name; where, MLFLOW_TRACKING_URI says."""

    def __init__(self, study: optuna.Study) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient()
        found = self._client.get_experiment_by_name(study.study_name)
        self._experiment = (
            self._client.create_experiment(study.study_name) if found is None else found.experiment_id
        )
        self._runs: dict[int, str] = {}

    def started(self, trial: FrozenTrial) -> None:
        run = self._client.create_run(self._experiment, run_name=f"trial {trial.number}")
        self._runs[trial.number] = run.info.run_id
        about = {attrs.N_PARAMS: trial.user_attrs[attrs.N_PARAMS], attrs.SEED: trial.user_attrs[attrs.SEED]}
        for name, value in (trial.params | about).items():
            self._client.log_param(run.info.run_id, name, value)
        for kind in (attrs.BASELINE, attrs.START):
            if kind in trial.user_attrs:
                self._client.set_tag(run.info.run_id, kind, trial.user_attrs[kind])

    def epoch(self, number: int, record: EpochRecord) -> None:
        for name in FIGURES:
            self._client.log_metric(self._runs[number], name, getattr(record, name), step=record.epoch)

    def ended(self, trial: FrozenTrial, step: str | None) -> None:
        run = self._runs.pop(trial.number, None)
        if run is None:
            return
        if trial.state == TrialState.COMPLETE:
            self._client.log_metric(run, "value", accuracy_of(trial))
        if step is not None:
            self._client.log_text(run, step, STEP_FILE)
        self._client.set_tag(run, "state", trial.state.name.lower())
        self._client.set_terminated(run, "FAILED" if trial.state == TrialState.FAIL else "FINISHED")

    def close(self) -> None:
        for run in self._runs.values():
            self._client.set_terminated(run, "KILLED")


class TensorBoard:
    """A folder of event files a trial, below studies/tensorboard."""

    def __init__(self, study: optuna.Study) -> None:
        self._folder = TENSORBOARD_FOLDER / file_name(study.study_name)
        self._writers: dict[int, Any] = {}

    def started(self, trial: FrozenTrial) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writers[trial.number] = SummaryWriter(self._folder / f"trial-{trial.number}")

    def epoch(self, number: int, record: EpochRecord) -> None:
        for name in FIGURES:
            self._writers[number].add_scalar(name.replace("_", "/", 1), getattr(record, name), record.epoch)

    def ended(self, trial: FrozenTrial, step: str | None) -> None:
        writer = self._writers.pop(trial.number, None)
        if writer is None:
            return
        if step is not None:
            indented = "\n".join(f"    {line}" for line in step.splitlines())
            writer.add_text(STEP_FILE, indented)
        writer.close()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


class Trackers:
    """All trackers of a search. One that fails is left out from then on, and the search goes on.

    Args:
        names: Which.
        study: What is tracked.
        say: Told when one fails.
    """

    def __init__(self, names: Sequence[TrackerName], study: optuna.Study, say: Callable[[str], None]) -> None:
        self._say = say
        self._study = study
        self._settings, self._space = read_settings(study), read_space(study)
        self._all: dict[str, Tracker] = {}
        for name in names:
            try:
                self._all[name] = MLflow(study) if name == "mlflow" else TensorBoard(study)
            except Exception as error:  # of a library, a server or a network
                self._failed(name, error)

    def started(self, trial: FrozenTrial) -> None:
        """A trial begins to train."""
        self._tell(lambda tracker: tracker.started(trial))

    def epoch(self, number: int, record: EpochRecord) -> None:
        """It finished an epoch."""
        self._tell(lambda tracker: tracker.epoch(number, record))

    def ended(self, trial: FrozenTrial) -> None:
        """It ended."""
        step = self._step(trial) if self._all else None
        self._tell(lambda tracker: tracker.ended(trial, step))

    def close(self) -> None:
        """Nothing more comes."""
        self._tell(lambda tracker: tracker.close())

    def _step(self, trial: FrozenTrial) -> str | None:
        records = curve(trial)
        if not records:
            return None
        where = Environment(**trial.user_attrs[attrs.ENVIRONMENT])
        return trial_yaml(self._study.study_name, trial, records, where, self._settings, self._space)

    def _tell(self, tell: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._all.items()):
            try:
                tell(tracker)
            except Exception as error:  # of a library, a server or a network
                del self._all[name]
                self._failed(name, error)

    def _failed(self, name: str, error: Exception) -> None:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        self._say(f"tracker {name} failed and is left out: {without_passwords(reason)}")
