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
    budgeted = BudgetSampler(base, within, max_draws=max_draws(name), tighter=sizes.of if pareto else None)
    if config.sampler != "local":
        return budgeted
    child = (
        ChildrenOfEverySize(space, config.budget, least=sizes.least) if pareto else Children(space, config.budget)
    )
    value = None if pareto else _means
    local = LocalSampler(budgeted, child, space.distributions, seed=config.seed, share=share, value=value)
    # What the wrapped one proposes keeps its own budget; a child that the study has already is asked for again.
    return BudgetSampler(local, within, max_draws=1)


def _means(study: Study, trials: Sequence[FrozenTrial]) -> Mapping[int, float]:
    """Return the mean of each trial over the seeds that are known."""
    return {number: standing.mean for number, standing in standings(study, trials).items()}
