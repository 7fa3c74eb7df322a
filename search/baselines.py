"""Hand steps as the first trials of a study."""

from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import TrialState

from drill_models.step import Step
from search.attrs import BASELINE, EPOCHS, N_PARAMS, OVER_BUDGET, REPORTED
from search.constraints import with_constraints
from spaces.budget import Budget
from spaces.drill import DrillSpace


@dataclass(frozen=True)
class Seeded:
    """What became of the hand steps: queued to be trained, or recorded as over the budget."""

    queued: tuple[str, ...]
    over_budget: tuple[str, ...]


def seed_baselines(
    study: optuna.Study, steps: Sequence[Step], space: DrillSpace, budget: Budget, *, epochs: int
) -> Seeded:
    """Queues hand steps that fit the budget, and records the others as infeasible, each once a study.

    A hand step trains for its published epochs, at most `epochs`. One that exceeds the budget is never
    trained: it stands in the study as a pruned, infeasible trial with its count and reported accuracy.
    """
    present = {trial.user_attrs.get(BASELINE) for trial in study.get_trials(deepcopy=False)}
    queued, over = [], []
    for step in steps:
        if step.name in present:
            continue
        point = space.encode(step.recipe)
        model = space.model(point)
        excess = budget.excess(model)
        reported = step.result.reported if step.result is not None else None
        attributes: dict[str, object] = {
            BASELINE: step.name,
            N_PARAMS: excess["n_params"] + budget.max_params,
            EPOCHS: min(step.training.epochs, epochs),
        }
        if reported is not None:
            attributes[REPORTED] = reported.test_accuracy
        if max(excess.values()) <= 0:
            study.enqueue_trial(point, user_attrs=attributes)
            queued.append(step.name)
        else:
            trial = optuna.create_trial(
                state=TrialState.PRUNED,
                params=point,
                distributions=dict(space.distributions),
                user_attrs={**attributes, OVER_BUDGET: True},
                system_attrs=with_constraints(excess),
            )
            study.add_trial(trial)
            over.append(step.name)
    return Seeded(tuple(queued), tuple(over))
