"""Proposals of `BudgetSampler`: over budget, distinct, and how long one takes.

For each sampler and budget, asks for 1,000 points in one study and tells each a made-up value, so that the
sampler has something to learn from. Nothing is trained. Prints one row each; exits 1 if any point is over
its budget.

    python tests/benchmarks/proposals.py [--n 1000] [--samplers random tpe nsga2 cmaes] [--budgets ...]
"""

import argparse
import statistics
import sys
import time

import optuna

from drill_models.count import count
from search.sampling.budget import BudgetSampler, base_sampler, max_draws
from spaces.budget import Budget
from spaces.budgeted import BudgetedSpace
from spaces.drill import DrillSpace
from spaces.skeletons import load_skeletons


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--samplers", nargs="+", default=["random", "tpe", "nsga2", "cmaes"])
    parser.add_argument("--budgets", nargs="+", type=int, default=[1_000, 3_000, 10_000, 50_000])
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = DrillSpace(load_skeletons())
    print(f"{arguments.n} points each; times of one proposal in ms")
    print("sampler   budget  over  distinct recipes  distinct networks  median size  mean  last tenth")
    bad = 0
    for name in arguments.samplers:
        for limit in arguments.budgets:
            over, recipes, networks, sizes, times = 0, set(), set(), [], []
            base = base_sampler(name, 0)
            sampler = BudgetSampler(
                base, BudgetedSpace(space, Budget(max_params=limit)), max_draws=max_draws(name)
            )
            study = optuna.create_study(sampler=sampler, direction="maximize")
            for _ in range(arguments.n):
                started = time.perf_counter()
                trial = study.ask(dict(space.distributions))
                times.append(time.perf_counter() - started)
                recipe = space.decode(trial.params, epochs=15)
                n_params = count(recipe.model).n_params
                over += n_params > limit
                recipes.add(recipe)
                networks.add(recipe.model)
                sizes.append(n_params)
                # Large networks with a rate near 0.05 and little dropout are good.
                value = n_params / limit - abs(trial.params["sgd_lr"] - 0.05) - trial.params["dropout_rate"]
                study.tell(trial, value)
            tail = times[-max(1, len(times) // 10) :]
            print(
                f"{name:8} {limit:7,} {over:5} {len(recipes) / arguments.n:17.1%} "
                f"{len(networks) / arguments.n:18.1%} {statistics.median(sizes):12,.0f} "
                f"{1000 * statistics.mean(times):5.1f} {1000 * statistics.mean(tail):11.1f}",
                flush=True,
            )
            bad += over
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
