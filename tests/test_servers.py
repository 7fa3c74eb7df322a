"""Several main processes on one study, in a real PostgreSQL that is sometimes gone."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage, _cached_storage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from drill_models.data import ResidentData
from drill_models.errors import Interrupted, StudyError
from search.config import SearchConfig
from search.context import RunContext
from search.schema import attributes as attrs
from search.storage import advisory_locks as server_locks_module
from search.storage import url as storage_url
from search.storage.advisory_locks import LockLost, ServerLocks, server_locks
from search.storage.retry import METHODS, Patience
from search.storage.storage import closed_after, open_storage, sole_owner, storage_errors
from search.storage.url import connect_args, parse
from search.study import coordination as peers
from search.study.coordination import OnlyProcess, ServerPeers, open_peers
from search.study.manage import delete_study
from search.study.study import open_study, settings_of
from search.study.trials import tally
from spaces.skeletons import load_skeletons
from tests.jobs import BUDGET, Log, run_here, small_job
from tests.postgres import Postgres, open_engine
from tests.postgres import running as running_server
from tests.programs import ROOT, running

SHORT = ("--epochs", "1", "--budget", "1000", "--workers", "1", "--dataset", "mnist-5k", "--study", "shared")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server that is not to be stopped."""
    with running_server(tmp_path_factory.mktemp("servers") / "postgres") as server:
        yield server


@contextmanager
def _opened(url: str) -> Iterator[RDBStorage]:
    storage = open_storage(parse(url), create=True)
    with closed_after(storage):
        yield storage


def _trials(url: str) -> list[FrozenTrial]:
    storage = RDBStorage(url)
    try:
        return optuna.load_study(study_name="shared", storage=storage).trials
    finally:
        storage.engine.dispose()


def _is_start(trial: FrozenTrial) -> bool:
    return attrs.START in trial.user_attrs and attrs.INTERRUPTED not in trial.user_attrs


def _check(url: str, total: int, interrupted: range) -> list[FrozenTrial]:
    """Exactly so many trained, hand steps once, nothing left running or queued, nothing trained twice at once."""
    trials = _trials(url)
    again = [t for t in trials if attrs.INTERRUPTED in t.user_attrs]
    assert len(again) in interrupted
    assert {t.state for t in again} <= {TrialState.FAIL}
    assert {t.state for t in trials} <= {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    # One that is killed between a trial's last epoch and its end leaves a whole curve, which counts for nothing.
    trained = [
        t for t in trials if t not in again and (t.state == TrialState.COMPLETE or attrs.CURVE in t.user_attrs)
    ]
    assert len(trained) == total
    hand = Counter(
        t.user_attrs[attrs.BASELINE] for t in trials if attrs.BASELINE in t.user_attrs and t not in again
    )
    assert set(hand.values()) == {1}
    points = Counter(json.dumps(t.params, sort_keys=True) for t in trained)
    assert set(points.values()) == {1}
    return trials


@pytest.mark.slow
def test_four_processes_share_a_total_though_one_is_killed(server: Postgres, tmp_path: Path) -> None:
    url, total = server.database("four"), 16
    # One hand step that is trained, and one over the budget, that is only recorded.
    hand = ("--baselines", "b-cyclic/5", "--baselines", "a-runs/2")
    words = ("--storage", url, "--trials", str(total), *hand, "--finalists", "2", *SHORT, "--budget", "7000")
    folders = [tmp_path / name for name in "abcd"]
    with ExitStack() as stack:
        processes = []
        for folder in folders:
            folder.mkdir()
            processes.append(stack.enter_context(running(folder, *words)))
        _wait_until(url, processes, complete=4)
        processes[1].send_signal(signal.SIGKILL)
        outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, -signal.SIGKILL, 0, 0], outputs
    trials = _check(url, total, range(2))
    assert len({t.user_attrs[attrs.OWNER] for t in trials if t.state == TrialState.COMPLETE}) > 1
    assert {t.user_attrs.get(attrs.BASELINE) for t in trials if t.state == TrialState.COMPLETE} >= {"b-cyclic 5"}
    starts = Counter(t.user_attrs[attrs.START] for t in trials if _is_start(t))
    assert set(starts.values()) == {1}
    steps = {(folder / "studies" / "shared.yaml").read_text() for folder in (folders[0], folders[2], folders[3])}
    assert len(steps) == 1  # everyone exports the same best


@pytest.mark.slow
def test_a_server_that_goes_away_costs_nothing(tmp_path: Path) -> None:
    with running_server(tmp_path / "postgres") as server:
        url, total = server.database("gone"), 14
        words = ("--storage", url, "--trials", str(total), "--no-starts", "--finalists", "0", *SHORT)
        folder = tmp_path / "folder"
        folder.mkdir()
        with running(folder, *words, "--baselines", "a-runs/2") as process:
            for complete in (2, 5):
                _wait_until(url, [process], complete=complete)
                server.stop()
                time.sleep(float(os.environ.get("DRILL_TEST_GONE", "3")))
                server.start()
            out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert "the database answers again" in out + err
        assert "Traceback" not in err
        _check(url, total, range(3))  # a point that was being proposed is given back, and proposed again


@pytest.mark.slow
def test_a_killed_process_goes_on_where_it_was(server: Postgres, tmp_path: Path) -> None:
    """As with SQLite, but that a process on a server must first be seen to be gone."""
    url, total = server.database("again"), 8
    words = ("--storage", url, "--trials", str(total), "--no-starts", "--finalists", "0", *SHORT)
    chance = random.Random(1)
    for _ in range(2):
        with running(tmp_path, *words, "--baselines", "a-runs/2") as process:
            _wait_until(url, [process], complete=0)
            time.sleep(chance.uniform(0, 1.5))
            process.kill()
            process.wait()
    with running(tmp_path, *words, "--baselines", "a-runs/2") as process:
        _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    _check(url, total, range(3))


@pytest.mark.slow
def test_one_killed_after_a_trials_last_epoch_counts_it_once(server: Postgres, tmp_path: Path) -> None:
    url, total = server.database("late"), 6
    words = ("--storage", url, "--trials", str(total), "--no-starts", "--finalists", "0", *SHORT)
    with running(tmp_path, *words, "--baselines", "a-runs/2") as process:
        _wait_for_a_curve(url, process)
        process.kill()
        process.wait()
    (late,) = [t for t in _trials(url) if t.state == TrialState.RUNNING and attrs.CURVE in t.user_attrs]
    with running(tmp_path, *words, "--baselines", "a-runs/2") as process:
        _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    trials = _check(url, total, range(1, 2))
    assert attrs.INTERRUPTED in trials[late.number].user_attrs
    retries = [t for t in trials if t.user_attrs.get(attrs.RETRY_OF) == late.number]
    assert [t.user_attrs[attrs.SEED] for t in retries] == [late.user_attrs[attrs.SEED]]


def _wait_for_a_curve(url: str, process: "subprocess.Popen[str]") -> None:
    """Until a trial has its curve, and has not ended."""
    found = text(
        "SELECT count(*) FROM trials JOIN trial_user_attributes a USING (trial_id) "
        f"WHERE state = 'RUNNING' AND a.key = '{attrs.CURVE}'"
    )
    deadline = time.monotonic() + 120
    with open_engine(url) as engine:
        while time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()
            with suppress(ProgrammingError), engine.connect() as connection:  # there are no tables at first
                if connection.execute(found).scalar_one():
                    return
    raise AssertionError("no trial was seen with its curve")


def _wait_until(url: str, processes: "list[subprocess.Popen[str]]", complete: int) -> None:
    """Until a trial beyond so many complete ones runs."""
    deadline = time.monotonic() + 120
    with open_engine(url) as engine:
        while time.monotonic() < deadline:
            for process in processes:
                assert process.poll() is None, process.communicate()
            states = Counter[str]()
            with suppress(ProgrammingError, OperationalError), engine.connect() as connection:  # no tables so far
                states.update(connection.execute(text("SELECT state FROM trials")).scalars())
            if states["COMPLETE"] >= complete and states["RUNNING"]:
                return
            time.sleep(0.05)
    raise AssertionError("no trial was seen running")


def test_ctrl_c_is_heard_while_another_process_has_its_turn(server: Postgres) -> None:
    url, asked = parse(server.url), iter([False] * 5)
    with (
        open_peers(url, "turns", Patience(seconds=0)) as one,
        one.turn(),
        open_peers(url, "turns", Patience(RunContext(lambda: next(asked, True)))) as other,
        pytest.raises(Interrupted),
        other.turn(),
    ):
        pass
    assert next(asked, None) is None  # it did wait


@pytest.mark.alone
@pytest.mark.slow
def test_a_soak_in_small(tmp_path: Path) -> None:
    words = [
        "--minutes",
        "0.3",
        "--every",
        "8",
        "--held",
        "2",
        "--epochs",
        "2",
        "--folder",
        str(tmp_path / "soak"),
    ]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.soak", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "all checks hold" in ended.stdout
    assert (tmp_path / "soak" / "soak.jsonl").read_text().splitlines()


def _locks(url: str, patience: Patience | None = None) -> ServerLocks:
    return server_locks(parse(url), {}, patience or Patience(seconds=0))


def test_a_lock_is_one_processs(server: Postgres) -> None:
    with closing(_locks(server.url)) as one, closing(_locks(server.url)) as other:
        waits: list[str] = []
        with one.held("x") as has, other.held("y") as has_too:
            assert has
            assert has_too
            assert one.taken(["x", "y", "z"]) == {"x", "y"}
            with other.held("x", should_stop=lambda: bool(waits), waits=lambda: waits.append("waits")) as late:
                assert not late
        assert waits == ["waits"]
        with other.held("x") as has:
            assert has


def test_a_lock_that_was_lost_is_said(server: Postgres) -> None:
    with (
        closing(_locks(server.url)) as locks,
        pytest.raises(LockLost, match="gone for a moment"),
        locks.held("lost"),
    ):
        _cut_everybody_off(server)


def test_a_process_that_is_held_loses_its_locks(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by Ctrl-Z: its connections stay open, and are silent."""
    monkeypatch.setattr(server_locks_module, "SILENCE", 1)
    with closing(_locks(server.url)) as pinging, closing(_locks(server.url)) as held:
        with pinging.held("pinged"):
            lost = held.held("held")
            assert lost.__enter__()
            for _ in range(10):
                time.sleep(0.3)
                pinging.ping()
            with closing(_locks(server.url)) as other, other.held("held", at_once=True) as has:
                assert has
                assert other.taken(["pinged", "held"]) == {"pinged", "held"}
            with pytest.raises(LockLost):
                lost.__exit__(None, None, None)


def test_a_process_that_is_held_in_mid_transaction_lets_the_others_go_on(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by Ctrl-Z while it creates a trial: the study's row is locked."""
    monkeypatch.setattr(storage_url, "SILENCE", 1)
    url = server.database("midway")
    with _opened(url) as storage:
        study = optuna.create_study(storage=storage, study_name="midway")
        engine = create_engine(url, connect_args=connect_args(parse(url)))
        held = engine.connect()
        held.execute(text("SELECT * FROM studies FOR UPDATE"))
        began = time.monotonic()
        assert study.ask().number == 0
        assert 0.3 < time.monotonic() - began < 20
        held.invalidate()
        held.close()
        engine.dispose()


@pytest.mark.slow
def test_a_process_that_is_held_gives_its_trials_to_another(server: Postgres, tmp_path: Path) -> None:
    """Ctrl-Z for a minute, to whole processes."""
    url, total = server.database("stopped"), 5
    words = ("--storage", url, "--trials", str(total), "--no-starts", "--finalists", "0", *SHORT)
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    with running(folders[0], *words, "--baselines", "none") as held:
        _wait_until(url, [held], complete=1)
        held.send_signal(signal.SIGSTOP)
        with running(folders[1], *words, "--baselines", "none") as other:
            _, err = other.communicate(timeout=400)
            assert other.returncode == 0, err
        # The other one took its trial, or there was none in this moment.
        trials = _trials(url)
        assert all(t.state.is_finished() for t in trials)
        held.send_signal(signal.SIGCONT)
        _, err = held.communicate(timeout=200)
        assert held.returncode == 0, err
        assert "Traceback" not in err
    trained = [t for t in _trials(url) if attrs.INTERRUPTED not in t.user_attrs]
    assert len(trained) == total
    assert all(t.state == TrialState.COMPLETE or attrs.CURVE in t.user_attrs for t in trained)


def _cut_everybody_off(server: Postgres) -> None:
    with open_engine(server.url) as engine, engine.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
        )


def test_only_a_process_that_is_gone_for_a_while_is_dead(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "GRACE", 0.5)
    monkeypatch.setattr(peers, "PULSE", 0.1)
    url = server.database("dead")
    with _opened(url) as storage:
        study = optuna.create_study(storage=storage, study_name="dead")
        with open_peers(parse(url), "dead", Patience(seconds=0)) as one:
            with closing(_locks(url)) as locks, ServerPeers(locks, "dead") as other:
                trial = study.ask()
                trial.set_user_attr(attrs.OWNER, other.mark)
                unmarked = study.ask()
                assert one.requeue_dead(study) == [unmarked.number]  # its process died before it could mark it
                time.sleep(0.7)
                assert one.requeue_dead(study) == []
            assert one.requeue_dead(study) == []  # perhaps it only lost its connection
            time.sleep(0.7)
            assert one.requeue_dead(study) == [trial.number]
        counts = tally(study)
        assert (counts.interrupted, counts.running) == (2, 0)


def test_a_process_that_is_cut_off_is_back_soon(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "PULSE", 0.1)
    with closing(_locks(server.url)) as locks, ServerPeers(locks, "cut") as one:
        sign = f"cut/lives/{one.mark}"
        assert locks.taken([sign]) == {sign}
        _cut_everybody_off(server)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and not locks.taken([sign]):
            time.sleep(0.05)
        assert locks.taken([sign]) == {sign}


def test_several_threads_make_one_studys_tables(server: Postgres) -> None:
    url = server.database("tables")
    errors: list[BaseException] = []

    def make() -> None:
        try:
            with _opened(url):
                pass
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_patience_waits_for_a_server_and_for_nothing_else() -> None:
    said: list[str] = []
    gone = OperationalError("", {}, Exception("gone"))
    answers: list[OperationalError | int] = [gone, gone, 7]

    def action() -> int:
        answer = answers.pop(0)
        if isinstance(answer, int):
            return answer
        raise answer

    assert Patience(RunContext(notify=said.append)).with_(action) == 7
    assert [line.split(";")[0] for line in said] == [
        "the database does not answer (Exception)",
        "the database answers again",
    ]

    def wrong() -> int:
        raise ProgrammingError("", {}, Exception("no such table"))

    with pytest.raises(ProgrammingError):
        Patience(RunContext(notify=said.append)).with_(wrong)
    answers = [gone]
    with pytest.raises(Interrupted):
        Patience(RunContext(lambda: True)).with_(action)


@pytest.mark.slow
def test_a_server_that_goes_away_while_a_search_begins(tmp_path: Path) -> None:
    said: list[str] = []
    with running_server(tmp_path / "postgres") as server:
        url = parse(server.database("begins"))
        server.stop()
        back = threading.Timer(2.0, server.start)
        back.start()
        storage = open_storage(url, create=True, patience=Patience(RunContext(notify=said.append)))
        back.join()
        assert storage.get_all_studies() == []
        storage.engine.dispose()
    assert said[-1] == "the database answers again"


def test_trials_are_read_though_the_server_breaks_off(server: Postgres) -> None:
    """Optuna asks again in the session whose connection broke, which then says something else."""
    said: list[str] = []
    storage = open_storage(
        parse(server.database("breaks")), create=True, patience=Patience(RunContext(notify=said.append))
    )
    study = optuna.create_study(storage=storage)
    study.ask().suggest_float("x", 0, 1)
    broken = [2]

    def break_off(connection: object, cursor: Any, statement: str, *more: object) -> None:
        if "FROM trials" in statement and broken[0]:
            broken[0] -= 1
            cursor.connection.close()

    event.listen(storage.engine, "before_cursor_execute", break_off)
    assert len(study.get_trials()) == 1
    assert broken == [0]
    assert said[-1] == "the database answers again"
    storage.engine.dispose()


def test_a_trial_that_a_peer_took_while_it_was_asked_is_given_up(
    few_digits: ResidentData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the server is gone in mid-turn, and another process has the next turn."""
    job, others = small_job(trials=2), OnlyProcess()
    ask, taken = job.study.ask, [False]

    def ask_and_lose(*words: Any) -> optuna.Trial:
        trial = ask(*words)
        if not taken[0]:
            taken[0] = True
            assert others.requeue_dead(job.study) == [trial.number]
        return trial

    monkeypatch.setattr(job.study, "ask", ask_and_lose)
    assert run_here(job, few_digits, Log(), lambda: False)
    counts = tally(job.study)
    assert (counts.trained, counts.interrupted, counts.running, counts.waiting) == (2, 1, 0, 0)


def test_what_was_queued_twice_is_trained_once(server: Postgres) -> None:
    url = server.database("twice")
    with _opened(url) as storage, open_peers(parse(url), "twice", Patience(seconds=0)) as one:
        study = optuna.create_study(storage=storage, study_name="twice")
        for attributes in (
            {attrs.BASELINE: "a"},
            {attrs.BASELINE: "a"},
            {attrs.BASELINE: "b"},
            {attrs.START: "a"},
            {attrs.START: "a"},
            {attrs.RETRY_OF: 7},
            {attrs.RETRY_OF: 7},
        ):
            study.enqueue_trial({"x": 0.5}, user_attrs=attributes)
        one.requeue_dead(study)
        assert [t.number for t in study.get_trials(states=(TrialState.WAITING,))] == [0, 2, 3, 5]
        lost = study.ask()  # of a dead process: its point is queued again, which is no double
        assert one.requeue_dead(study) == [lost.number]
        one.requeue_dead(study)
        waiting = study.get_trials(states=(TrialState.WAITING,))
        assert [t.user_attrs.get(attrs.RETRY_OF) for t in waiting] == [None, None, 7, 0]
        # One that another process ended before it saw its point is queued in the next turn, once.
        ended = study.ask()
        for name, value in ((attrs.OWNER, "other"), (attrs.N_PARAMS, 9), (attrs.INTERRUPTED, True)):
            ended.set_user_attr(name, value)
        study.tell(ended, state=TrialState.FAIL)
        for _ in range(2):
            one.requeue_dead(study)
            waiting = study.get_trials(states=(TrialState.WAITING,))
            assert [t.user_attrs.get(attrs.RETRY_OF) for t in waiting].count(ended.number) == 1


def test_a_study_that_is_searched_is_not_deleted(server: Postgres) -> None:
    url = server.database("deleted")
    with _opened(url) as storage:
        settings = settings_of(SearchConfig(budget=BUDGET, skeletons=load_skeletons()), "mnist")
        study = open_study(
            storage, "kept", settings, load_skeletons(), sampler=RandomSampler(), pruner=NopPruner()
        )
        with open_peers(parse(url), "kept", Patience(seconds=0)) as one:
            study.ask().set_user_attr(attrs.OWNER, one.mark)
            with pytest.raises(StudyError, match="a search works on study kept"):
                delete_study(parse(url), "kept")
        with open_peers(parse(url), "kept", Patience(seconds=0)) as one:
            one.requeue_dead(study)  # nothing runs any more
            with (
                one.alone("finals", lambda: False, lambda: None),
                pytest.raises(StudyError, match="a search works on study kept"),
            ):
                delete_study(parse(url), "kept")
        delete_study(parse(url), "kept")
        with pytest.raises(StudyError, match="somebody deleted it"), storage_errors(parse(url)):
            study.ask()


def test_parameters_whose_answer_was_lost_are_written_once(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    url = parse(server.database("answers"))
    storage = open_storage(url, create=True, patience=Patience())
    study = optuna.create_study(storage=storage)
    space: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1), "n": IntDistribution(1, 9)}
    study.ask(space)
    writes: list[str] = []
    lost: list[str] = []
    commit = storage.engine.dialect.do_commit

    def see(connection: object, cursor: object, statement: str, *more: object) -> None:
        if statement.startswith("INSERT INTO trial_params"):
            writes.append(statement)

    def commit_without_answer(connection: Any) -> None:
        commit(connection)
        if writes and not lost:
            lost.append(writes[0])
            connection.driver_connection.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    event.listen(storage.engine, "before_cursor_execute", see)
    monkeypatch.setattr(storage.engine.dialect, "do_commit", commit_without_answer)
    with storage.params_together():
        trial = study.ask(space)
    assert (len(lost), len(writes)) == (1, 2)  # tried again
    assert storage.get_trial(trial._trial_id).params == trial.params
    storage.remove_session()
    storage.engine.dispose()
    again = open_storage(url, create=False)
    with closed_after(again):
        stored = optuna.load_study(study_name=study.study_name, storage=again)
        assert [each.params.keys() for each in stored.get_trials()] == [space.keys()] * 2


def test_everything_that_the_cache_asks_of_a_storage_is_patient() -> None:
    import inspect
    import re

    source = inspect.getsource(_cached_storage)
    asked = set(re.findall(r"_backend\.(\w+)\(", source))
    heartbeat = {
        "record_heartbeat",
        "_get_stale_trial_ids",
        "get_heartbeat_interval",
        "get_heartbeat_stale_trial_callback",
    }
    assert asked - heartbeat - set(METHODS) <= {"remove_session", "get_all_trials"}


def test_other_databases_are_refused() -> None:
    with pytest.raises(StudyError, match="SQLite, PostgreSQL or MySQL"):
        server_locks(parse("mssql+pyodbc://x/y"), {}, Patience())


def test_sqlite_is_one_processs(tmp_path: Path) -> None:
    url = parse(f"sqlite:///{tmp_path}/x.db")
    with (
        open_peers(url, "s", Patience()),
        pytest.raises(StudyError, match="another process"),
        sole_owner(url, "s"),
    ):
        pass
