"""Constraints of a trial, in Optuna's way and in the one that optuna-dashboard still reads.

Optuna 5 stores each constraint by `Trial.set_constraint`. optuna-dashboard 0.21 reads the attribute that
came before, so trials look unconstrained in it and infeasible ones are shown as feasible. The old system
attribute is written as well; this is the only place that knows of it. Optuna reads both, so a trial's
`constraints` also has the same values under the keys "0", "1", ...
"""

from collections.abc import Mapping

import optuna

_DASHBOARD_KEY = "constraints"


def set_constraints(trial: optuna.Trial, excess: Mapping[str, float]) -> None:
    """Sets a trial's constraints: each value is 0 or less where the limit is kept."""
    for key, value in excess.items():
        trial.set_constraint(key, value)
    trial.storage.set_trial_system_attr(trial._trial_id, _DASHBOARD_KEY, list(map(float, excess.values())))


def with_constraints(excess: Mapping[str, float]) -> dict[str, object]:
    """The system attributes of a trial that is added already finished."""
    frozen = optuna.create_trial(value=0.0, constraints={key: float(value) for key, value in excess.items()})
    return {**frozen.system_attrs, _DASHBOARD_KEY: list(map(float, excess.values()))}
