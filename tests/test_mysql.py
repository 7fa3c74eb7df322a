"""MySQL or MariaDB, where there is one to try: DRILL_TEST_MYSQL is the URL of an empty database.

DRILL_TEST_MYSQL=mysql+pymysql://root@127.0.0.1:3306/drills pytest --no-cov tests/test_mysql.py
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from search.schema import attributes as attrs
from search.storage import advisory_locks as server_locks
from search.storage.retry import Patience
from search.storage.url import connect_args, parse
from search.study.trials import is_interrupted, point_of
from tests.programs import running

URL = os.environ.get("DRILL_TEST_MYSQL", "")

pytestmark = pytest.mark.skipif(not URL, reason="DRILL_TEST_MYSQL names no database")


@pytest.fixture
def url() -> Iterator[str]:
    """A database that is empty, before and after; one that holds anything is left alone."""
    address = make_url(URL)
    server = create_engine(address.set(database=""))

    def empty() -> None:
        with server.begin() as connection:
            connection.execute(text(f"DROP DATABASE IF EXISTS `{address.database}`"))
            connection.execute(text(f"CREATE DATABASE `{address.database}`"))

    with server.connect() as connection:
        words = text("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = :name")
        assert not connection.execute(words, {"name": address.database}).scalar_one(), (
            "DRILL_TEST_MYSQL is not empty"
        )
    empty()
    yield URL
    empty()
    server.dispose()


def _locks(url: str) -> server_locks.ServerLocks:
    return server_locks.server_locks(parse(url), connect_args(parse(url)), Patience(seconds=0))


def test_a_lock_is_one_processs_until_it_is_silent(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(_locks(url)) as one, closing(_locks(url)) as other:
        with one.held("x") as has, other.held("x", at_once=True) as too:
            assert has
            assert not too
            assert other.taken(["x", "y"]) == {"x"}
        assert other.taken(["x"]) == set()
    monkeypatch.setattr(server_locks, "SILENCE", 1)
    with closing(_locks(url)) as held, closing(_locks(url)) as other:
        lost = held.held("x")
        assert lost.__enter__()
        time.sleep(3)
        with other.held("x", at_once=True) as has:
            assert has
        with pytest.raises(server_locks.LockLost):
            lost.__exit__(None, None, None)


def _trials(url: str) -> list[FrozenTrial]:
    storage = optuna.storages.RDBStorage(url)
    try:
        names = optuna.get_all_study_names(storage)
        return optuna.load_study(study_name="shared", storage=storage).trials if "shared" in names else []
    finally:
        storage.engine.dispose()


@pytest.mark.slow
def test_processes_share_a_total_though_one_is_killed(url: str, tmp_path: Path) -> None:
    words = ["--storage", url, "--study", "shared", "--dataset", "mnist-5k", "--budget", "1000", "--epochs", "1"]
    words += ["--workers", "1", "--trials", "9", "--finalists", "0", "--baselines", "a-runs/2", "--no-starts"]
    with ExitStack() as stack:
        processes = []
        for name in "abc":
            (tmp_path / name).mkdir()
            processes.append(stack.enter_context(running(tmp_path / name, *words)))
        deadline = time.monotonic() + 120
        while sum(t.state == TrialState.COMPLETE for t in _trials(url)) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        processes[0].send_signal(signal.SIGKILL)
        outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [-signal.SIGKILL, 0, 0], outputs
    trials = _trials(url)
    trained = [t for t in trials if t.state == TrialState.COMPLETE]
    assert len(trained) == 9
    assert all(t.state.is_finished() for t in trials)
    assert set(Counter(str(sorted(point_of(t).items())) for t in trained).values()) == {1}
    hand = [t for t in trials if t.user_attrs.get(attrs.BASELINE) and not is_interrupted(t)]
    assert len(hand) == 1
