"""Keeps what optuna-dashboard shows of a study up to date: files of trials, notes, figures."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import optuna
from optuna_dashboard import save_plotly_graph_object
from sqlalchemy.engine import URL

from drill_models.backend import Environment
from drill_models.errors import DrillError
from drill_models.hand_steps import all_steps
from drill_models.result import EpochRecord
from drill_models.step import Step
from drill_models.step_io import SCHEMA_FILE, dump_step
from search.export.step import trial_yaml
from search.report.notes import put_notes, study_note, trial_note, without_note
from search.storage.artifacts import CURVE_PICTURE, STEP_FILE, WEIGHTS, Artifacts, artifact_folder
from search.study.study import read_settings, read_space
from search.text import counted

SHARE = 0.01
"""Of a search's time that notes and figures may take; they lag behind where they would take more."""


class Publisher:
    """Publishes one study, from the process that searches it.

    Args:
        study: What is published.
        url: Its storage.
        say: Told once if files cannot be written; the search goes on.
        unless_another: Of several processes, one at a time writes notes and figures; the others leave it to that.
    """

    def __init__(
        self,
        study: optuna.Study,
        url: URL,
        say: Callable[[str], None],
        unless_another: Callable[[str], AbstractContextManager[bool]] = lambda what: nullcontext(True),
    ) -> None:
        self._unless_another = unless_another
        self._study = study
        self._space = read_space(study)
        self._settings = read_settings(study)
        self._artifacts = Artifacts(artifact_folder(url))
        self._say = say
        self._failed = False
        self._noted: set[int] = set()
        self._hand: dict[str, Step] = {step.name: step for step in all_steps()}
        self._next = 0.0

    def keep(
        self, trial: optuna.Trial, records: Sequence[EpochRecord], where: Environment, weights: bytes | None
    ) -> None:
        """Keeps the files of a trial that is about to end: its step, its curve, its weights."""
        from search.report.charts import curve_chart, png

        step = trial_yaml(self._study.study_name, trial, records, where, self._settings, self._space)
        files = {
            STEP_FILE: step.encode(),
            CURVE_PICTURE: png(curve_chart(records, self._settings.target)),
        }
        if weights is not None:
            files[WEIGHTS] = weights
        try:
            for name, content in files.items():
                self._artifacts.keep(trial, name, content)
        except OSError as error:
            if not self._failed:
                self._say(f"files of trials are not kept: {self._artifacts.folder}: {error.strerror}")
            self._failed = True

    def refresh(self, *, now: bool = False, again: Collection[int] = ()) -> None:
        """Writes the notes that are missing, the study's note and the figures.

        Args:
            now: Else not too often.
            again: Numbers of trials of which there is something new, so that their notes are written anew.
        """
        started = time.monotonic()
        if not now and started < self._next:
            return
        with self._unless_another("notes") as mine:
            if mine:
                self._write(again)
        ended = time.monotonic()
        self._next = ended + (ended - started) / SHARE

    def _write(self, again: Collection[int]) -> None:
        from search.report.figures import FIGURES

        finished = [trial for trial in self._study.get_trials(deepcopy=False) if trial.state.is_finished()]
        unseen = [trial for trial in finished if trial.number not in self._noted]
        due = {*again, *(trial.number for trial in without_note(self._study, unseen))}
        new = [trial for trial in finished if trial.number in due]
        notes = [(trial, trial_note(self._study, trial, self._space, self._hand)) for trial in new]
        put_notes(self._study, [(None, study_note(self._study)), *notes])
        self._noted |= {trial.number for trial in finished}
        for name, draw in FIGURES.items():
            save_plotly_graph_object(self._study, draw(self._study), graph_object_id=name)


def publish(study: optuna.Study, url: URL, again: Collection[int] = ()) -> None:
    """Writes the notes and figures of a study as it is now; `again` as of `Publisher.refresh`."""
    Publisher(study, url, lambda line: None).refresh(now=True, again=again)


def publish_verdicts(study: optuna.Study, url: URL, steps: Mapping[int, Step], say: Callable[[str], None]) -> None:
    """Puts verdicts into the notes, and steps with their verdict among the study's files: ended trials take none.

    Args:
        study: Of the trials.
        url: Its storage.
        steps: By the trial's number, with a verdict each.
        say: Told if the files cannot be written.
    """
    artifacts = Artifacts(artifact_folder(url))
    try:
        for number, step in steps.items():
            assert step.verdict is not None
            seeds = counted(step.verdict.seeds, "seed").replace(" ", "-")
            name, content = f"trial-{number}-verdict-{seeds}.yaml", dump_step(step, SCHEMA_FILE).encode()
            if artifacts.find(study, study, name) != content:
                artifacts.keep(study, name, content)
    except (OSError, DrillError) as error:
        why = f"{artifacts.folder}: {error.strerror}" if isinstance(error, OSError) else error
        say(f"verdicts are not among the study's files: {why}")
    publish(study, url, again=steps.keys())
