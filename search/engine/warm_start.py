"""The first trials of a study: hand steps, and starting points made small enough."""

from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import TrialState

from drill_models.step import Step
from search.schema.attributes import BASELINE, EPOCHS, N_PARAMS, OVER_BUDGET, REPORTED, START
from search.study.constraints import with_constraints
from search.study.trials import point_of
from spaces.budget import Budget
from spaces.budgeted import BudgetedSpace
from spaces.drill import DrillSpace
from spaces.skeletons import fits_some


@dataclass(frozen=True)
class Seeded:
    """What became of the hand steps.

    Attributes:
        queued: To be trained.
        over_budget: Recorded, and not trained.
        alike: Of all that were named, groups that are one recipe, where one of them is queued now.
    """

    queued: tuple[str, ...]
    over_budget: tuple[str, ...]
    alike: tuple[tuple[str, ...], ...] = ()


def seed_baselines(
    study: optuna.Study, steps: Sequence[Step], space: DrillSpace, budget: Budget, *, epochs: int
) -> Seeded:
    """Queues hand steps that fit the budget, and records the others as infeasible, each once a study.

    A hand step trains for its published epochs, at most `epochs`. One that exceeds the budget is never
    trained: it stands in the study as a pruned, infeasible trial with its count and reported accuracy.
    """
    present = {trial.user_attrs.get(BASELINE) for trial in study.get_trials(deepcopy=False)}
    queued, over = [], []
    same: dict[tuple[object, ...], list[str]] = {}
    for step in steps:
        point = space.encode(step.recipe)
        excess = budget.excess(space.model(point))
        if max(excess.values()) <= 0:
            key = (min(step.training.epochs, epochs), *sorted(point.items()))
            same.setdefault(key, []).append(step.name)
        if step.name in present:
            continue
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
    alike = tuple(tuple(names) for names in same.values() if len(names) > 1 and {*names} & {*queued})
    return Seeded(tuple(queued), tuple(over), alike)


def seed_starts(
    study: optuna.Study, steps: Sequence[Step], space: DrillSpace, budgets: Sequence[Budget]
) -> tuple[str, ...]:
    """Queues starting points, made just small enough for each budget; returns the names of those queued now.

    One whose skeleton cannot be made so small is left out, one that comes out as another trial's network and
    training, and a budget that no network keeps. Each is queued once a study.
    """
    trials = study.get_trials(deepcopy=False)
    present = {trial.user_attrs.get(START) for trial in trials}
    known = BudgetedSpace(space, budgets[0])
    points = (point_of(trial) for trial in trials)
    seen = {known.identity(point) for point in points if point.keys() >= space.distributions.keys()}
    queued = []
    for budget in budgets:
        if not fits_some(space.skeletons, budget, space.num_classes):
            continue
        for step in steps:
            name = step.name if len(budgets) == 1 else f"{step.name}/{budget.max_params}"
            if name in present:
                continue
            wide = space.encode(step.recipe)
            point = space.shrink(wide, budget)
            identity = known.identity(point)
            if identity in seen or point["skeleton"] != wide["skeleton"]:
                continue
            seen.add(identity)
            study.enqueue_trial(point, user_attrs={START: name})
            queued.append(name)
    return tuple(queued)
