"""A SQLite file that another program locks is waited for; one that is removed or exchanged is saved."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial

from drill_models.errors import Interrupted, StudyError
from drill_models.step_io import load_step
from search.context import RunContext
from search.engine.run_search import search as session
from search.export.rescue import step_6_saved
from search.storage.batched import TogetherStorage
from search.storage.retry import Patience
from search.storage.sqlite_file import DatabaseRemoved, FileStorage
from search.storage.storage import open_storage, quick_writes, reach, storage_errors
from search.storage.url import DEFAULT_STORAGE, parse
from tests.command_line import Run
from tests.test_session import CONFIG, Told, _opened


class Lock:
    """Another program's lock on a file."""

    def __init__(self, file: Path, kind: str) -> None:
        self._connection = sqlite3.connect(file, isolation_level=None)
        self._connection.execute(f"BEGIN {kind}")

    def release(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.execute("ROLLBACK")
        self._connection.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An empty database of Optuna's."""
    storage = open_storage(parse(f"sqlite:///{tmp_path}/s.db"), create=True)
    storage.engine.dispose()
    return tmp_path / "s.db"


def _patient(file: Path, lock: Lock | None, said: list[str]) -> TogetherStorage:
    """A storage that waits; the lock is released as soon as somebody says that it is waited for."""

    def say(line: str) -> None:
        said.append(line)
        if lock is not None:
            lock.release()

    return open_storage(parse(f"sqlite:///{file}"), create=True, patience=Patience(RunContext(notify=say)))


def test_a_lock_is_waited_for(file: Path) -> None:
    said: list[str] = []
    storage = _patient(file, None, said)
    study = optuna.create_study(storage=storage)
    lock = Lock(file, "IMMEDIATE")
    assert isinstance(storage, FileStorage)
    storage.patience.context = RunContext(notify=lambda line: (said.append(line), lock.release())[0])  # type: ignore[func-returns-value]
    study.set_user_attr("x", 1)
    storage.engine.dispose()
    assert len(said) == 2
    assert "locked" in said[0]
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT value_json FROM study_user_attributes").fetchall() == [("1",)]


def test_a_lock_is_waited_for_when_a_study_is_opened(file: Path) -> None:
    said: list[str] = []
    storage = _patient(file, Lock(file, "EXCLUSIVE"), said)
    assert storage.get_all_studies() == []
    storage.engine.dispose()
    assert "locked" in said[0]


def test_early_checks_leave_a_locked_file_to_whoever_waits(file: Path) -> None:
    url = parse(f"sqlite:///{file}?timeout=0")
    lock = Lock(file, "EXCLUSIVE")
    assert not reach(url, pass_locked=True)
    with pytest.raises(StudyError, match="locked"):
        reach(url)
    lock.release()
    assert reach(url, pass_locked=True)


def test_a_wait_for_a_lock_can_be_interrupted(file: Path) -> None:
    storage = open_storage(
        parse(f"sqlite:///{file}?timeout=0"), create=True, patience=Patience(RunContext(should_stop=lambda: True))
    )
    lock = Lock(file, "IMMEDIATE")
    with pytest.raises(Interrupted):
        optuna.create_study(storage=storage)
    lock.release()
    storage.engine.dispose()


def test_a_missing_table_is_not_waited_for(file: Path) -> None:
    said: list[str] = []
    storage = _patient(file, None, said)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DROP TABLE studies")
    with pytest.raises(StudyError), storage_errors(parse(f"sqlite:///{file}")):
        storage.get_all_studies()
    storage.engine.dispose()
    assert said == []


@pytest.fixture
def opened(file: Path) -> Iterator[optuna.Study]:
    """A study with one trial, as a search has it open."""
    url = parse(f"sqlite:///{file}")
    storage = _patient(file, None, [])
    with quick_writes(storage, url):
        study = optuna.create_study(storage=storage, study_name="x")
        study.tell(study.ask(), 0.5)
        yield study


def _trials(file: Path) -> list[FrozenTrial]:
    storage = open_storage(parse(f"sqlite:///{file}"), create=False)
    try:
        return optuna.load_study(study_name="x", storage=storage).trials
    finally:
        storage.remove_session()
        storage.engine.dispose()


@pytest.mark.parametrize("all_files", [False, True])
def test_a_removed_file_is_noticed_and_back(opened: optuna.Study, file: Path, all_files: bool) -> None:
    file.unlink()
    if all_files:
        for other in file.parent.glob("s.db-*"):
            other.unlink()
    with pytest.raises(DatabaseRemoved) as ended:
        opened.ask()
    assert ended.value.saved == file
    assert [trial.value for trial in _trials(file)] == [0.5]
    with pytest.raises(DatabaseRemoved):  # nothing is written any more
        opened.ask()
    assert len(_trials(file)) == 1


def test_a_removed_folder_is_made_anew(opened: optuna.Study, file: Path) -> None:
    shutil.rmtree(file.parent)
    with pytest.raises(DatabaseRemoved):
        opened.set_user_attr("x", 1)
    assert len(_trials(file)) == 1


def test_an_exchanged_file_is_left_alone(opened: optuna.Study, file: Path) -> None:
    other = file.with_name("other.db")
    other.write_bytes(b"somebody's file")
    other.replace(file)
    with pytest.raises(DatabaseRemoved) as ended:
        opened.ask()
    assert file.read_bytes() == b"somebody's file"
    assert ended.value.saved not in (None, file)
    assert ended.value.saved is not None
    assert len(_trials(ended.value.saved)) == 1


def test_a_copy_in_its_place_is_gone_on_with(opened: optuna.Study, file: Path) -> None:
    """As from a folder whose files are numbered anew, or a program that writes copies."""
    copy = file.with_name("copy.db")
    with closing(sqlite3.connect(file)) as old, closing(sqlite3.connect(copy)) as new:
        old.backup(new)
    copy.replace(file)
    opened.tell(opened.ask(), 0.7)
    assert [trial.value for trial in _trials(file)] == [0.5, 0.7]


def test_a_search_whose_database_is_removed_names_step_6(run: Run) -> None:
    class Removes(Told):
        def ended(self, trial: FrozenTrial) -> None:
            super().ended(trial)
            if trial.number == 1:
                Path("studies/drill-search.db").unlink()

    display = Removes()
    with (
        pytest.raises(DatabaseRemoved) as ended,
        step_6_saved(CONFIG, lambda: _opened(display).study.study_name),
    ):
        session(CONFIG, display, lambda: False)
    (file,) = Path("studies").glob("*.yaml")
    assert str(file) in str(ended.value)
    assert load_step(file).result is not None
    assert [line for line in display.lines if line.startswith("start")] == ["start 0", "start 1"]
    again = Told()
    outcome = session(CONFIG, again, lambda: False)
    assert outcome.finished
    assert [line for line in again.lines if line.startswith("start")] == ["start 2", "start 3"]
    assert reach(parse(DEFAULT_STORAGE))
