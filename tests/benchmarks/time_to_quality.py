"""How long a search takes to a quality: plain Optuna, as a user would write it, against drill-search.

Both sides search the same space (every dimension of the drill space) under the same budget on the same
machine, one after the other, for the same wall time, imports and reading the data included. Both train on
the same 5/6 of the training images, validate on the same 1/6, and call the mean validation accuracy of the last
three epochs the value of a trial.

- Plain: `study.optimize` with Optuna's TPE sampler and median pruner as they are by default, dimensions by
  `trial.suggest_*`; an oversized network is pruned at the start; training is the notebook's loop
  (`notebook.py`) with all cores, and reports each epoch. The trial that runs at the end is cut.
- drill-search: the command with its defaults, stopped by Ctrl-C at the end. Its default hand steps come first;
  `--baselines none` compares without them. What counts is when trials are complete, by the study.

Prints the best value so far of both every `--every` minutes, the trials of each kind, and when drill-search
reached plain Optuna's final best. A side is saved in `--out` when it ends; the same command then goes on with
the other side.

    python tests/benchmarks/time_to_quality.py --minutes 20 --out FILE.json [--budget 10000] [--epochs 15]
        [--baselines none] [--seed 0] [--loader-workers 0] [--every 2] [--plot FILE.png]
"""

import argparse
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import notebook
import optuna
import torch
from bench import (
    add_shared_options,
    find_mnist,
    fresh_environment,
    in_fresh_process,
    one_sentence,
    versions,
    write_json,
)
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from drill_models.count import count
from drill_models.data import validation_data
from drill_models.errors import DrillError
from drill_models.resolve import Resolved
from drill_models.result import last_three_mean
from search.storage.storage import open_storage
from search.storage.url import parse
from search.study.trials import tally
from spaces.drill import DrillSpace
from spaces.skeletons import load_skeletons

Side = dict[str, Any]
"""`curve`: (seconds since the start, best value so far, what it was); `trials`: how many of each kind."""

STUDY = "time-to-quality"
PATIENCE = 120
"""Seconds that drill-search has to end after Ctrl-C."""


def plain(
    resolved: Resolved, *, budget: int, epochs: int, seed: int, loader_workers: int, started: float, seconds: float
) -> Side:
    """Plain Optuna until the time is up; `started` is when its process was asked for, by `time.time`."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    data = validation_data(resolved)
    space = DrillSpace(load_skeletons())
    counts = {"proposed": 0, "oversized": 0, "complete": 0, "pruned": 0, "failed": 0, "cut": 0}
    curve: list[tuple[float, float, str]] = []

    def time_is_up() -> bool:
        return time.time() - started >= seconds

    def objective(trial: optuna.Trial) -> float:
        if time_is_up():
            raise notebook.TimeIsUp
        counts["proposed"] += 1
        point = {name: suggest(trial, name, distribution) for name, distribution in space.distributions.items()}
        recipe = space.decode(point, epochs=epochs)
        if count(recipe.model).n_params > budget:
            counts["oversized"] += 1
            raise optuna.TrialPruned
        torch.manual_seed(seed + trial.number)
        reached: list[float] = []
        runs = notebook.accuracies(
            recipe, data.train, data.held_out, num_workers=loader_workers, should_stop=time_is_up
        )
        try:
            for epoch, right in enumerate(runs, start=1):
                reached.append(right)
                trial.report(right, epoch)
                if epoch < epochs and trial.should_prune():
                    counts["pruned"] += 1
                    raise optuna.TrialPruned
        except notebook.TimeIsUp:
            counts["cut"] += 1
            raise
        except RuntimeError:
            counts["failed"] += 1
            raise
        counts["complete"] += 1
        return last_three_mean(reached)

    def ended(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        now = time.time() - started
        if trial.state == TrialState.COMPLETE and trial.value is not None and now <= seconds:
            better(curve, now, trial.value, f"trial {trial.number}")

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    try:
        study.optimize(objective, timeout=seconds, callbacks=[ended], catch=(RuntimeError,))
    except notebook.TimeIsUp:
        pass
    return {"curve": curve, "trials": counts, "seconds": time.time() - started}


def suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    """One dimension, asked for as a user writes it."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(name, choices)
        case IntDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_int(name, low, high, step=step, log=log)
        case FloatDistribution(low=start, high=end, step=grid, log=log):
            return trial.suggest_float(name, start, end, step=grid, log=log)
    raise TypeError(f"unknown distribution {distribution!r}")


def better(curve: list[tuple[float, float, str]], seconds: float, value: float, what: str) -> None:
    """Adds a point to a curve where it is higher than all before."""
    if not curve or value > curve[-1][1]:
        curve.append((seconds, value, what))


def drill(
    resolved: Resolved, *, budget: int, epochs: int, seed: int, baselines: Sequence[str], seconds: float
) -> Side:
    """drill-search as a user starts it, ended by Ctrl-C when the time is up."""
    with tempfile.TemporaryDirectory() as folder:
        storage = f"sqlite:///{folder}/study.db"
        words = [sys.executable, "-m", "search", "--budget", budget, "--epochs", epochs, "--seed", seed]
        words += ["--trials", 10**6, "--storage", storage, "--study", STUDY, "--dataset", resolved.facts.name]
        words += ["--data", resolved.root.absolute(), "--offline"]
        for name in baselines:
            words += ["--baselines", name]
        if list(baselines) == ["none"]:
            words.append("--no-starts")  # no head start at all
        log = Path(folder) / "log.txt"
        started = time.time()
        with log.open("w") as said, fresh_environment(None):
            process = subprocess.Popen(
                [str(word) for word in words],
                cwd=folder,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the main process only, through us
            )
        try:
            code = process.wait(timeout=max(0.0, started + seconds - time.time()))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            code = process.wait(timeout=PATIENCE)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if code not in (0, 130):
            raise DrillError(f"drill-search ended with exit code {code}:\n{log.read_text()[-2000:]}")
        side = read(storage, started, seconds)
        return side | {"seconds": time.time() - started, "command": [str(word) for word in words[1:]]}


def read(storage: str, started: float, seconds: float) -> Side:
    """What the study says of the time until the end."""
    opened = open_storage(parse(storage), create=False)
    study = optuna.load_study(study_name=STUDY, storage=opened)
    zero = datetime.datetime.fromtimestamp(started)
    curve: list[tuple[float, float, str]] = []
    complete = [trial for trial in study.get_trials(states=(TrialState.COMPLETE,)) if trial.datetime_complete]
    for trial in sorted(complete, key=lambda trial: trial.datetime_complete or zero):
        assert trial.datetime_complete is not None
        now = (trial.datetime_complete - zero).total_seconds()
        feasible = all(value <= 0 for value in trial.constraints.values())
        if feasible and trial.value is not None and now <= seconds:
            better(curve, now, trial.value, trial.user_attrs.get("baseline", f"trial {trial.number}"))
    counts = tally(study)
    opened.engine.dispose()
    return {
        "curve": curve,
        "trials": {
            "proposed": counts.trained + counts.interrupted,
            "oversized": 0,
            "complete": counts.complete,
            "pruned": counts.pruned,
            "failed": counts.failed,
            "cut": counts.interrupted,
            "hand steps over the budget": counts.over_budget,
        },
    }


def at(curve: Sequence[Sequence[Any]], seconds: float) -> float | None:
    """The best value at a time."""
    values = [float(value) for when, value, _ in curve if when <= seconds]
    return values[-1] if values else None


def reached(curve: Sequence[Sequence[Any]], value: float) -> float | None:
    """When a curve came to a value."""
    return next((float(when) for when, best, _ in curve if best >= value), None)


def show(settings: dict[str, Any], theirs: Side, ours: Side, every: float) -> dict[str, Any]:
    """Prints both curves and the comparison, which it returns."""

    def cell(value: float | None) -> str:
        return f"{value:13.3%}" if value is not None else f"{'none':>13}"

    print("\nbest value so far\nminutes  plain Optuna  drill-search")
    minutes, limit = every, float(settings["minutes"])
    while minutes < limit + every:
        now = min(minutes, limit)
        print(f"{now:7.1f} {cell(at(theirs['curve'], 60 * now))} {cell(at(ours['curve'], 60 * now))}")
        minutes += every
    for name, side in (("plain Optuna", theirs), ("drill-search", ours)):
        print(f"{name}: " + ", ".join(f"{n} {kind}" for kind, n in side["trials"].items()))
        for when, value, what in side["curve"][-1:]:
            print(f"{name}: best {value:.3%}, {what}, after {when / 60:.1f} minutes")
    if not theirs["curve"]:
        print("plain Optuna completed no network that fits, so there is nothing to reach")
        return {}
    when, best, _ = theirs["curve"][-1]
    ours_at = reached(ours["curve"], best)
    if ours_at is None:
        print(f"drill-search did not reach plain Optuna's {best:.3%}")
        return {"plain_best": best, "plain_seconds": when, "drill_seconds": None}
    print(
        f"drill-search reached plain Optuna's final best of {best:.3%} after {ours_at / 60:.1f} minutes; plain "
        f"Optuna took {when / 60:.1f} to it, {when / ours_at:.1f} times as long; the whole {limit:g} minutes are "
        f"{60 * limit / ours_at:.1f} times as long"
    )
    return {"plain_best": best, "plain_seconds": when, "drill_seconds": ours_at, "ratio": when / ours_at}


def plot(path: Path, theirs: Side, ours: Side, minutes: float) -> None:
    """Both curves as steps."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for name, side in (("plain Optuna", theirs), ("drill-search", ours)):
        points = [(when / 60, 100 * value) for when, value, _ in side["curve"]]
        if points:
            points.append((minutes, points[-1][1]))
            axes.step(*zip(*points, strict=True), where="post", label=name)
    axes.set(xlabel="minutes", ylabel="best validation accuracy (%)", xlim=(0, minutes))
    if axes.lines:  # on a slow machine neither may have completed a network
        axes.legend()
    figure.savefig(path, dpi=150, bbox_inches="tight")


def earlier(path: Path | None, settings: dict[str, Any]) -> dict[str, Any]:
    """What a call before has left in the file.

    Raises:
        DrillError: It is of other settings.
    """
    if path is None or not path.exists():
        return {"settings": settings, "versions": versions()}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if found["settings"] != settings:
        raise DrillError(f"{path} was measured with {found['settings']}, now {settings}; name another --out")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20, help="of each side")
    parser.add_argument("--budget", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0, help="of both sides")
    parser.add_argument("--baselines", nargs="+", default=[], help="for drill-search; default: its own")
    parser.add_argument("--loader-workers", type=int, default=0, help="of the notebook's DataLoader")
    parser.add_argument("--every", type=float, default=2, help="minutes between rows of the table")
    parser.add_argument("--plot", type=Path, help="picture to write, such as FILE.png")
    add_shared_options(parser)
    arguments = parser.parse_args()
    with one_sentence():
        resolved = find_mnist(arguments.data)
        shared = {"budget": arguments.budget, "epochs": arguments.epochs, "seed": arguments.seed}
        settings = {
            **shared,
            "minutes": arguments.minutes,
            "baselines": arguments.baselines,
            "loader_workers": arguments.loader_workers,
            "dataset": resolved.facts.name,
        }
        content = earlier(arguments.out, settings)
        seconds = 60 * arguments.minutes
        if "drill" not in content:
            print(f"drill-search, {arguments.minutes:g} minutes", flush=True)
            content["drill"] = drill(resolved, **shared, baselines=arguments.baselines, seconds=seconds)
            write_json(arguments.out, content)
        if "plain" not in content:
            print(f"plain Optuna, {arguments.minutes:g} minutes", flush=True)
            loader_workers = arguments.loader_workers
            started = time.time()
            content["plain"] = in_fresh_process(
                None, plain, resolved, **shared, loader_workers=loader_workers, started=started, seconds=seconds
            )
            write_json(arguments.out, content)
    content["comparison"] = show(settings, content["plain"], content["drill"], arguments.every)
    write_json(arguments.out, content)
    if arguments.plot is not None:
        plot(arguments.plot, content["plain"], content["drill"], arguments.minutes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
