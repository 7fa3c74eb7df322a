"""What takes long in the main process can be interrupted, or is quick."""

import os
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.storages._rdb import models
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from drill_models.errors import Interrupted
from search.commands.interrupt import leave_at_once
from search.console.eta import TimeLeft
from search.context import GIVEN_UP, RunContext
from search.engine.trial_loop import run_trials
from search.sampling.budget import BudgetSampler
from search.sampling.interruptible import InterruptibleSampler, in_a_thread
from search.storage import bulk_delete
from search.storage.storage import open_storage
from search.storage.url import parse
from search.study.manage import delete_study
from search.study.study import StudySettings
from search.study.trials import is_interrupted
from spaces.budgeted import BudgetedSpace
from tests.jobs import BUDGET, Instant, Log, small_job
from tests.spaces_for_tests import SPACE


class Endless(RandomSampler):
    """Computes until the test is over."""

    def __init__(self) -> None:
        super().__init__(seed=0)
        self.begun, self.over = threading.Event(), threading.Event()

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self.begun.set()
        self.over.wait()
        return {}


def test_a_proposal_is_interrupted() -> None:
    """Its trial has no point, so it is not run again."""
    base = Endless()
    sampler = BudgetSampler(InterruptibleSampler(base, base.begun.is_set), BudgetedSpace(SPACE, BUDGET))
    study = optuna.create_study(sampler=sampler, direction="maximize")
    try:
        assert not run_trials(small_job(trials=2, study=study), Instant(lambda task: 0.5), Log(), RunContext())
    finally:
        base.over.set()
    assert [(trial.state, is_interrupted(trial)) for trial in study.trials] == [(TrialState.FAIL, True)]


def test_a_thread_hands_on_what_it_found() -> None:
    assert in_a_thread(lambda: 7, lambda: False) == 7

    def wrong() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        in_a_thread(wrong, lambda: False)
    over = threading.Event()
    with pytest.raises(Interrupted):
        in_a_thread(over.wait, lambda: True)
    over.set()


def test_a_process_with_a_thread_that_was_given_up_ends_with_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's threads would be torn down under it otherwise, which aborts."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    for thread in threading.enumerate():
        if thread.name == GIVEN_UP:  # of the tests before, which let it end
            thread.join()
    leave_at_once(0)
    over = threading.Event()
    with pytest.raises(Interrupted):
        in_a_thread(over.wait, lambda: True)
    leave_at_once(130)
    over.set()
    assert codes == [130]


def test_proposals_are_in_the_time_left() -> None:
    time = TimeLeft()
    time.started(0, 1)
    time.epoch(0, 2.0)
    time.ended(0, complete=True)
    assert time.seconds(3, 0, 1) == pytest.approx(6.0)
    time.proposed(60.0)
    assert time.seconds(3, 0, 1) == pytest.approx(186.0)
    assert time.seconds(3, 0, 3) == pytest.approx(182.0)  # one proposal after the other


SETTINGS = StudySettings(
    dataset="mnist-5k", max_params=1_000, max_macs=None, max_activations=None, epochs=1, space="other", target=0.9
)


def test_a_long_study_is_deleted_by_a_few_statements(tmp_path: Path) -> None:
    url = parse(f"sqlite:///{tmp_path}/s.db")
    storage = open_storage(url, create=True)
    for name in ("mine", "other"):
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
        study.set_user_attr("settings", asdict(SETTINGS))
        for value in range(3):
            trial = study.ask()
            trial.suggest_float("x", 0, 1)
            trial.report(0.1, 1)
            trial.set_user_attr("a", value)
            storage.set_trial_system_attr(trial._trial_id, "s", value)
            study.tell(trial, value)
    storage.engine.dispose()
    statements: list[str] = []

    def count(*args: Any) -> None:
        statements.append(args[2])

    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "before_cursor_execute", count)
    try:
        delete_study(url, "mine")
    finally:
        sqlalchemy.event.remove(sqlalchemy.engine.Engine, "before_cursor_execute", count)
    of_trials = [statement for statement in statements if statement.startswith("DELETE FROM trial")]
    assert len(of_trials) <= 2 + len(bulk_delete.OF_TRIALS)
    with storage.engine.connect() as connection:
        for table in (*bulk_delete.OF_TRIALS, models.TrialModel):
            rows = connection.execute(sqlalchemy.select(sqlalchemy.func.count()).select_from(table)).scalar()
            assert rows == (0 if table is models.TrialHeartbeatModel else 3)
    storage.engine.dispose()
    assert len(optuna.load_study(study_name="other", storage=open_storage(url, create=False)).trials) == 3


def test_every_table_of_a_trial_is_known() -> None:
    """Optuna may add one."""
    tables = {mapper.class_ for mapper in models.BaseModel.registry.mappers if "trial_id" in mapper.columns}
    assert tables - {models.TrialModel} == set(bulk_delete.OF_TRIALS)
