"""A long search in PostgreSQL with several processes, in which something is broken every minute.

    python -m tests.soak --minutes 120 --folder soak

Two main processes with two workers each search one study. Every minute one thing is done to them, drawn at
random: a worker or a main process is killed, a main process is stopped as by Ctrl-C or held for half a minute,
the server is restarted, or gone for half a minute. A main process that ended is started again.

When the time is over, the search is brought to a total a little above what it has, and the study is checked:
exactly that total, nothing lost, nothing twice, nothing left over, and some networks trained again to the bit.
Each fault is a line in FOLDER/soak.jsonl; the summary is printed. The exit code is 1 where a check fails.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from drill_models.data import validation_data
from drill_models.datasets import dataset_facts
from drill_models.resolve import Resolved
from drill_models.result import last_three_mean
from drill_models.run import run
from search.schema import attributes as attrs
from search.study.study import read_settings, read_space
from search.study.trials import accuracy_of, curve, is_interrupted, name_of, point_of, recipe_of
from tests.postgres import Postgres, ended_trials
from tests.programs import command, environment, workers_of

MAINS, WORKERS, STUDY = 2, 2, "soak"
MORE = 4
"""Trials beyond what is there, to which the search is brought in the end."""
AGAIN = 5
"""Complete trials that are trained again and compared to the bit."""


class Soak:
    """The processes of a search, and what is done to them.

    Args:
        folder: Of everything; empty or not there.
        seed: Of the faults.
        epochs: Of a trial.
        held: Seconds for which the server is gone or a process is held.
    """

    def __init__(self, folder: Path, seed: int, epochs: int, held: float) -> None:
        self._held = held
        folder.mkdir(parents=True)
        self._folder = folder
        self._chance = random.Random(seed)
        self._server = Postgres(folder / "postgres")
        self.url = self._server.database("soak")
        self._epochs = epochs
        self._mains: list[subprocess.Popen[str] | None] = [None] * MAINS
        self.ends: Counter[int] = Counter()

    def keep_running(self, trials: int) -> None:
        """Starts each main process that does not run."""
        words = ["--storage", self.url, "--study", STUDY, "--dataset", "mnist-5k", "--budget", "7000", "-q"]
        words += ["--epochs", str(self._epochs), "--workers", str(WORKERS), "--trials", str(trials)]
        # One hand step that is trained, and one over the budget, that is only recorded.
        words += ["--finalists", "0", "--baselines", "b-cyclic/5", "--baselines", "a-runs/2"]
        for i, process in enumerate(self._mains):
            if process is not None and process.poll() is not None:
                self.ends[process.returncode] += 1
                process = None
            if process is None:
                folder = self._folder / f"main-{i}"
                folder.mkdir(exist_ok=True)
                with (folder / "log").open("a") as log:
                    self._mains[i] = subprocess.Popen(
                        command(words), cwd=folder, env=environment(folder), stdout=log, stderr=log, text=True
                    )

    def wait_for_workers(self) -> None:
        """Until every main process has workers: what is done to one that just starts is another test's."""
        self.keep_running(10**6)
        while not all(process is not None and workers_of(process.pid) for process in self._mains):
            self.keep_running(10**6)
            time.sleep(0.2)

    def wait(self, seconds: float) -> bool:
        """Waits until every main process has ended by itself; says whether they did in time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if all(process is None or process.poll() is not None for process in self._mains):
                return True
            time.sleep(0.5)
        return False

    def stop(self) -> None:
        """Ends all, as by Ctrl-C."""
        for process in self._mains:
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in self._mains:
            if process is not None:
                process.wait(120)

    def complaints(self) -> list[str]:
        """Processes that ended otherwise than they may, and tracebacks in their logs; call it in the end."""
        codes = self.ends + Counter(process.returncode for process in self._mains if process is not None)
        found = [f"{n} processes ended with {code}" for code, n in codes.items() if code not in (0, -9, 130)]
        logs = [path for path in sorted(self._folder.glob("main-*/log")) if "Traceback" in path.read_text()]
        return found + [f"a traceback in {path}" for path in logs]

    def close(self) -> None:
        """Ends all at once."""
        for process in self._mains:
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        self._server.stop()

    def break_something(self) -> str:
        """Does one thing; returns what."""
        kinds: list[Callable[[], None]] = [
            self._kill_a_worker,
            self._kill_a_worker,
            self._kill_a_main,
            self._interrupt_a_main,
            self._hold_a_main,
            self._restart_the_server,
            self._take_the_server_away,
        ]
        chosen = self._chance.choice(kinds)
        chosen()
        return chosen.__name__.strip("_").replace("_", " ")

    def _one(self) -> "subprocess.Popen[str]":
        alive = [process for process in self._mains if process is not None and process.poll() is None]
        return self._chance.choice(alive)

    def _kill_a_worker(self) -> None:
        workers = workers_of(self._one().pid)
        if workers:
            os.kill(self._chance.choice(workers), signal.SIGKILL)

    def _kill_a_main(self) -> None:
        self._one().kill()

    def _interrupt_a_main(self) -> None:
        self._one().send_signal(signal.SIGINT)

    def _hold_a_main(self) -> None:
        process = self._one()
        process.send_signal(signal.SIGSTOP)
        time.sleep(self._held)
        process.send_signal(signal.SIGCONT)

    def _restart_the_server(self) -> None:
        self._server.stop()
        self._server.start()

    def _take_the_server_away(self) -> None:
        self._server.stop()
        time.sleep(self._held)
        self._server.start()


def trials_there(url: str) -> list[FrozenTrial]:
    """All trials."""
    storage = RDBStorage(url)
    try:
        return optuna.load_study(study_name=STUDY, storage=storage).trials
    finally:
        storage.engine.dispose()


def check(url: str, total: int) -> list[str]:
    """What is wrong with a study that ended."""
    storage = RDBStorage(url)
    study = optuna.load_study(study_name=STUDY, storage=storage)
    trials, settings, space = study.trials, read_settings(study), read_space(study)
    wrong = []
    interrupted = {t.number: t for t in trials if is_interrupted(t)}
    trained = [t for t in trials if t.number not in interrupted and attrs.OVER_BUDGET not in t.user_attrs]
    if len(trained) != total:
        wrong.append(f"{len(trained)} networks were trained, not {total}")
    if left := [t.number for t in trials if not t.state.is_finished()]:
        wrong.append(f"left over: {left}")
    if failed := [t.number for t in trained if t.state == TrialState.FAIL]:
        wrong.append(f"failed: {failed}")
    retried = Counter(t.user_attrs[attrs.RETRY_OF] for t in trials if attrs.RETRY_OF in t.user_attrs)
    if twice := [number for number, times in retried.items() if times > 1]:
        wrong.append(f"queued twice: {twice}")
    if lost := [n for n, t in interrupted.items() if attrs.N_PARAMS in t.user_attrs and n not in retried]:
        wrong.append(f"interrupted and not queued again: {lost}")
    for number in retried:
        retry = next(t for t in trials if t.user_attrs.get(attrs.RETRY_OF) == number)
        if retry.params != point_of(trials[number]):  # queued ones may have been given back half asked for
            wrong.append(f"trial {retry.number} is another point than {number}, which it is to be again")
    first = Counter(name for t in trials if t.number not in interrupted and (name := name_of(t)))
    if set(first.values()) != {1} or not {"b-cyclic 5", "a-runs 2"} <= first.keys():
        wrong.append(f"hand steps and starting points: {dict(first)}")
    points = Counter(json.dumps(t.params, sort_keys=True) for t in trained)
    if repeated := sum(times - 1 for times in points.values()):
        wrong.append(f"{repeated} points were trained twice")
    for t in trained:
        if t.user_attrs[attrs.N_PARAMS] > settings.max_params:
            wrong.append(f"trial {t.number} is over the budget")
        if t.state == TrialState.COMPLETE:
            epochs = [record.val_accuracy for record in curve(t)]
            if len(epochs) != t.user_attrs[attrs.EPOCHS] or abs(accuracy_of(t) - last_three_mean(epochs)) > 1e-9:
                wrong.append(f"trial {t.number}: its value is not its curve's")
    data = validation_data(Resolved(dataset_facts("mnist-5k"), Path()))
    complete = [t for t in trained if t.state == TrialState.COMPLETE]
    for t in random.Random(0).sample(complete, min(AGAIN, len(complete))):
        recipe = recipe_of(t, space, t.user_attrs[attrs.EPOCHS])
        again = run(recipe, data, full=False, seed=t.user_attrs[attrs.SEED])
        if [r.val_accuracy for r in again.epochs] != [r.val_accuracy for r in curve(t)]:
            wrong.append(f"trial {t.number} trains otherwise than its curve says")
    storage.engine.dispose()
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--every", type=float, default=60, help="seconds from one fault to the next")
    parser.add_argument(
        "--held", type=float, default=30, help="seconds for which the server or a process is held up"
    )
    parser.add_argument("--epochs", type=int, default=10, help="of a trial")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True, help="new; for logs and the database")
    arguments = parser.parse_args()
    soak = Soak(arguments.folder.absolute(), arguments.seed, arguments.epochs, arguments.held)
    try:
        return _soak(soak, arguments)
    finally:
        soak.close()


def _soak(soak: Soak, arguments: argparse.Namespace) -> int:
    soak.wait_for_workers()
    while ended_trials(soak.url) < 1:
        time.sleep(0.5)
    began, end = time.monotonic(), time.monotonic() + 60 * arguments.minutes
    recovered: dict[str, list[float]] = defaultdict(list)
    with (arguments.folder / "soak.jsonl").open("a") as log:
        while time.monotonic() < end:
            soak.wait_for_workers()
            before, at = ended_trials(soak.url), time.monotonic()
            what = soak.break_something()
            soak.keep_running(10**6)
            while ended_trials(soak.url) <= before:
                soak.keep_running(10**6)
                time.sleep(0.2)
            recovered[what].append(time.monotonic() - at)
            line = {
                "minute": round((at - began) / 60, 1),
                "fault": what,
                "seconds": round(time.monotonic() - at, 1),
            }
            print(json.dumps({**line, "ended": ended_trials(soak.url)}), file=log, flush=True)
            while time.monotonic() < min(at + arguments.every, end):
                soak.keep_running(10**6)
                time.sleep(0.5)
    soak.wait_for_workers()
    soak.stop()
    there = ended_trials(soak.url)
    soak.keep_running(there + MORE)
    in_time = soak.wait(600)
    wrong = check(soak.url, there + MORE) if in_time else ["the search did not come to its end in ten minutes"]
    wrong += soak.complaints()
    states = Counter(trial.state.name for trial in trials_there(soak.url))
    print(f"{(time.monotonic() - began) / 60:.0f} minutes, {sum(map(len, recovered.values()))} faults")
    for what, seconds in sorted(recovered.items()):
        print(
            f"  {what}: {len(seconds)}; until the next trial ended: median {statistics.median(seconds):.0f} s, "
            f"at most {max(seconds):.0f} s"
        )
    print(f"{there + MORE} networks to be trained; trials: {dict(states)}; processes ended with {dict(soak.ends)}")
    print("all checks hold" if not wrong else "WRONG: " + "; ".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
