"""What proposes in a search: the sampler of a name, held to the budget."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from search.config import SearchConfig
from search.names import WrappedSamplerName
from search.sampling.budget import BudgetSampler, base_sampler, max_draws
from search.sampling.interruptible import InterruptibleSampler
from search.sampling.local import SHARE, LocalSampler
from search.sampling.per_trial import PerTrialSampler
from search.study.ranking import standings
from spaces.budgeted import BudgetedSpace, EverySize
from spaces.drill import DrillSpace
from spaces.neighbours import Children, ChildrenOfEverySize

SIZES = 9
"""Where every size is sought, proposals have sizes from the budget divided by this on."""


def make_sampler(
    config: SearchConfig, space: DrillSpace, should_stop: Callable[[], bool], *, share: float = SHARE
) -> BaseSampler:
    """Return the sampler of a search.

    Args:
        config: Of the search.
        space: What is sampled from.
        should_stop: Asked while a slow sampler computes.
        share: Of local search in the sampler `local`; TPE proposes the others.
    """
    within = BudgetedSpace(space, config.budget)
    sizes = EverySize(space, config.budget, share=SIZES, seed=config.seed)
    pareto = config.objective == "pareto"
    name: WrappedSamplerName = "tpe" if config.sampler == "local" else config.sampler
    base: BaseSampler = PerTrialSampler(partial(base_sampler, name), config.seed)
    if name == "gp":
        base = InterruptibleSampler(base, should_stop)
    draws, seed, dimensions = max_draws(name), config.seed, space.distributions
    if config.sampler == "local" and not pareto:
        child = Children(space, config.budget)
        base = LocalSampler(base, child, dimensions, seed=seed, share=share, value=_means)
    budgeted = BudgetSampler(base, within, max_draws=draws, tighter=sizes.of if pareto else None)
    if config.sampler == "local" and pareto:
        # A child has a size of its own, whatever budget the wrapped sampler is held to for this trial.
        children = ChildrenOfEverySize(space, config.budget, least=sizes.least)
        return BudgetSampler(
            LocalSampler(budgeted, children, dimensions, seed=seed, share=share), within, max_draws=1
        )
    return budgeted


def _means(study: Study, trials: Sequence[FrozenTrial]) -> Mapping[int, float]:
    """Return the mean of each trial over the seeds that are known."""
    return {number: standing.mean for number, standing in standings(study, trials).items()}
