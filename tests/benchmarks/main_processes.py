"""Several main processes on one PostgreSQL against one: short trials, of which a given total is trained.

    python -m tests.benchmarks.main_processes --trials 200 --processes 1 4 --turns 2 --out main_processes.json

Starts a PostgreSQL of its own. For each number of processes, in turns: that many `drill-search` on an empty
database, one worker each, until the total is there; where there are several, one is killed (`kill -9`) after a
third of it. Then the study is checked: exactly the total, hand steps once, no point twice, nothing left over.
Prints for each turn the wall time, trials a second, the ratio to the first, and who trained how many. A time
begins when the first trial runs, so that the program's start does not count.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from drill_models.files import write_text
from search.schema import attributes as attrs
from search.study.trials import is_interrupted, name_of, tally
from tests.postgres import Postgres, ended_trials
from tests.programs import running

STUDY = "shared"


def one_turn(server: Postgres, name: str, processes: int, trials: int, epochs: int) -> dict[str, Any]:
    """Runs one search with so many main processes; returns its figures."""
    url = server.database(name)
    words = ["--storage", url, "--study", STUDY, "--dataset", "mnist-5k", "--budget", "7000", "-q"]
    words += ["--trials", str(trials), "--epochs", str(epochs), "--workers", "1", "--finalists", "0"]
    words += ["--pruner", "none", "--baselines", "b-cyclic/5", "--baselines", "a-runs/2"]
    killed = False
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        mains = []
        for i in range(processes):
            (Path(folder) / str(i)).mkdir()
            mains.append(stack.enter_context(running(Path(folder) / str(i), *words)))
        began, ended = 0.0, 0
        while ended < trials and any(process.poll() is None for process in mains):
            ended = max(0, ended_trials(url))
            began = began or (time.monotonic() if ended else 0.0)
            if processes > 1 and not killed and ended >= trials // 3:
                mains.pop().kill()
                killed = True
            if any(process.poll() for process in mains):
                raise SystemExit(f"a main process failed: {[p.communicate() for p in mains if p.poll()]}")
            time.sleep(0.05)
        seconds = time.monotonic() - began
        for process in mains:
            said = process.communicate(timeout=120)
            if process.returncode:
                raise SystemExit(f"a main process ended with {process.returncode}: {said}")
    return {"processes": processes, "killed": int(killed), "seconds": seconds, **checked(url, trials)}


def checked(url: str, total: int) -> dict[str, Any]:
    """What the study holds in the end.

    Raises:
        SystemExit: It is not what was asked for.
    """
    storage = RDBStorage(url)
    study = optuna.load_study(study_name=STUDY, storage=storage)
    trials, counts = study.trials, tally(study)
    storage.engine.dispose()
    ended = [t for t in trials if t.state.is_finished() and not is_interrupted(t)]
    kept = [t for t in ended if attrs.OVER_BUDGET not in t.user_attrs]
    points = Counter(str(sorted(t.params.items())) for t in kept)
    first = Counter(name for t in trials if not is_interrupted(t) and (name := name_of(t)))
    wrong = []
    if counts.trained != total:
        wrong.append(f"{counts.trained} trials instead of {total}")
    if counts.failed:
        wrong.append("a trial failed")
    if any(t.state == TrialState.PRUNED and attrs.REASON not in t.user_attrs for t in kept):
        wrong.append("a trial was stopped early without a reason")
    if max(points.values(), default=0) > 1:
        wrong.append("a point was trained twice")
    if set(first.values()) != {1} or not {"b-cyclic 5", "a-runs 2"} <= first.keys():
        wrong.append(f"hand steps and starting points are not there once: {dict(first)}")
    if counts.waiting or counts.running:
        wrong.append("a trial is left over")
    others = [
        (t.number, t.state.name, t.user_attrs.get(attrs.REASON)) for t in trials if t.state != TrialState.COMPLETE
    ]
    if wrong:
        raise SystemExit(f"{'; '.join(wrong)}; not complete: {others}")
    who = Counter(t.user_attrs[attrs.OWNER] for t in kept)
    return {
        "trained": counts.trained,
        "stopped_for_their_loss": counts.pruned,
        "run_again": counts.interrupted,
        "by_process": sorted(who.values()),
        "not_complete": others,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = Postgres(Path(folder) / "postgres")
        try:
            for turn in range(arguments.turns):
                for processes in arguments.processes:
                    name = f"turn{turn}_{processes}"
                    row = one_turn(server, name, processes, arguments.trials, arguments.epochs)
                    first = next((r for r in rows if r["turn"] == turn), row)
                    rows.append({"turn": turn, **row})
                    print(
                        f"turn {turn}: {processes} main processes, {row['killed']} killed: {row['trained']} "
                        f"trials in {row['seconds']:.1f} s, {row['trained'] / row['seconds']:.2f} a second, "
                        f"{first['seconds'] / row['seconds']:.2f} times the first; {row['run_again']} run again, "
                        f"{row['stopped_for_their_loss']} stopped for their loss; "
                        f"by process {row['by_process']}",
                        flush=True,
                    )
        finally:
            server.stop()
    if arguments.out is not None:
        write_text(arguments.out, json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
