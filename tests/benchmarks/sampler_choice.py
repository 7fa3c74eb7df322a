"""Which sampler should be the default: real training on the embedded digits, small enough for a laptop.

Every sampler searches the drill space under 3,000 parameters for 40 trials of 2 epochs on 3,334 digits, from
several seeds, without hand steps and without a pruner. Prints the best validation accuracy after 10, 20 and 40
trials (mean and standard error over the seeds), and the time that proposals took. Two epochs favour what
learns fast; it is a proxy.

    python tests/benchmarks/sampler_choice.py [--seeds 3] [--trials 40] [--samplers tpe random ...]
"""

import argparse
import statistics
import time
from pathlib import Path

import optuna

from drill_models.data import validation_data
from drill_models.datasets import dataset_facts
from drill_models.device import keep_freed_memory
from drill_models.resolve import Resolved
from drill_models.train import Diverged, train
from search.names import SAMPLER_NAMES
from search.sampler import BudgetSampler, base_sampler, max_draws
from spaces.budget import Budget
from spaces.budgeted import BudgetedSpace
from spaces.drill import DrillSpace
from spaces.skeletons import load_skeletons

BUDGET, EPOCHS = Budget(max_params=3000), 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLER_NAMES))
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    keep_freed_memory()
    space = DrillSpace(load_skeletons())
    data = validation_data(Resolved(dataset_facts("mnist-5k"), Path()))
    marks = [n for n in (10, 20, 40, 80) if n <= arguments.trials]
    print(f"best validation accuracy (%) after {marks} trials: mean +- standard error, n={arguments.seeds} seeds")
    for name in arguments.samplers:
        curves, asking = [], []
        for seed in range(arguments.seeds):
            base = base_sampler(name, seed)
            sampler = BudgetSampler(base, BudgetedSpace(space, BUDGET), max_draws=max_draws(name))
            study = optuna.create_study(sampler=sampler, direction="maximize")
            best, curve = 0.0, []
            for number in range(arguments.trials):
                started = time.perf_counter()
                trial = study.ask(dict(space.distributions))
                asking.append(time.perf_counter() - started)
                try:
                    *_, last = train(space.decode(trial.params, epochs=EPOCHS), data, seed=1000 * seed + number)
                    value = last.val_accuracy
                except Diverged:
                    value = 0.0
                study.tell(trial, value)
                best = max(best, value)
                curve.append(best)
            curves.append(curve)
        cells = []
        for mark in marks:
            values = [100 * curve[mark - 1] for curve in curves]
            error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
            cells.append(f"{statistics.mean(values):6.2f} +- {error:4.2f}")
        print(f"{name:8} {'  '.join(cells)}   {1000 * statistics.mean(asking):6.1f} ms a proposal", flush=True)


if __name__ == "__main__":
    main()
