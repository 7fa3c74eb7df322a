"""Holds trials of a study to what follows from them: value from curve, count from network, excess from budget.

A study may be a stranger's, edited by hand. A trial that does not fit is left out of all results; why is a field
and a fault in words. Cheap checks come first; networks of equal dimensions are counted once.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from drill_models.datasets import dataset_facts
from search.schema import attributes as attrs
from search.schema.models import (
    MAX_EPOCHS,
    StoredSettings,
    TrialAttributes,
    first_problem,
    names_in,
)
from search.text import is_harmless
from spaces.budget import Budget
from spaces.drill import NAME, DrillSpace
from spaces.skeletons import Skeleton, SkeletonConv

TOLERANCE = 1e-6
"""Values are stored as they are computed; a database may round the last digits."""

_DECIDE = ("skeleton", "batch_norm", "head")
"""Dimensions that decide the size of a network, beside its widths."""


class Unfit(Exception):
    """A trial does not fit; `str(error)` names the field and says why."""


@dataclass(frozen=True)
class StudyFacts:
    """What trials of a study are held to.

    Attributes:
        settings: It was made with.
        space: Its points are of; None where it is of another version than this program's.
    """

    settings: StoredSettings
    space: DrillSpace | None
    _counts: dict[tuple[Any, ...], dict[str, int]] = field(default_factory=dict)
    _known: dict[tuple[int, str], BaseDistribution] = field(default_factory=dict)
    _decide: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def budget(self) -> Budget:
        """The limits."""
        one = self.settings
        return Budget(max_params=one.max_params, max_macs=one.max_macs, max_activations=one.max_activations)

    def excess(self, point: Mapping[str, Any]) -> dict[str, int]:
        """By how much the network of a point exceeds the limits."""
        assert self.space is not None
        skeleton = point["skeleton"]
        if skeleton not in self._decide:
            found = {each.name: each for each in self.space.skeletons}[skeleton]
            self._decide[skeleton] = (*_DECIDE, *_widths(found))
        key = tuple(point[name] for name in self._decide[skeleton])
        if key not in self._counts:
            self._counts[key] = self.budget.excess(self.space.model(point))
        return self._counts[key]

    def is_of_space(self, name: str, distribution: BaseDistribution) -> bool:
        """Whether a distribution is the space's of that name; the same object is compared once."""
        if self._known.get((id(distribution), name)) is distribution:
            return True
        assert self.space is not None
        if self.space.distributions.get(name) != distribution:
            return False
        if len(self._known) < 1000:
            self._known[id(distribution), name] = distribution
        return True


def _widths(skeleton: Skeleton) -> tuple[str, ...]:
    return tuple(dict.fromkeys(block.width for block in skeleton.blocks if isinstance(block, SkeletonConv)))


def facts_of(settings: StoredSettings, skeletons: list[Skeleton]) -> StudyFacts:
    """The facts of a study."""
    space = None
    if settings.space == NAME:
        space = DrillSpace(skeletons, num_classes=dataset_facts(settings.dataset).num_classes)
    return StudyFacts(settings, space)


def check_trial(trial: FrozenTrial, facts: StudyFacts) -> None:
    """Checks a trial.

    Raises:
        Unfit: It is not what this program writes.
    """
    stored = _attributes(trial)
    epochs = facts.settings.epochs if stored.epochs is None else stored.epochs
    if epochs > facts.settings.epochs:
        raise Unfit(f"{attrs.EPOCHS} is above the study's {facts.settings.epochs}")
    rows = stored.curve or []
    if len(rows) > epochs:
        raise Unfit(f"{attrs.CURVE} has {len(rows)} epochs, of {epochs}")
    for i, row in enumerate(rows, start=1):
        if row[0] != i:
            raise Unfit(f"{attrs.CURVE}.{i - 1} is not of epoch {i}")
    _check_reports(trial)
    if trial.state == TrialState.COMPLETE:
        _check_complete(trial, stored, facts, epochs)
    elif trial.state == TrialState.PRUNED:
        _check_there(stored, attrs.N_PARAMS, attrs.EPOCHS)
        _check_shares((trial.values or [])[:1])
    if facts.space is not None:
        _check_network(trial, stored, facts)


def _attributes(trial: FrozenTrial) -> TrialAttributes:
    try:
        stored = TrialAttributes.model_validate(trial.user_attrs)
    except (ValidationError, OverflowError, RecursionError) as error:
        raise Unfit(
            first_problem(error) if isinstance(error, ValidationError) else "an attribute is too large"
        ) from error
    for name, text in names_in(stored):
        if name != attrs.REASON and not is_harmless(text):
            raise Unfit(f"{name} holds characters that are not shown")
    return stored


def _check_reports(trial: FrozenTrial) -> None:
    """What was reported after each epoch is an accuracy."""
    for step, value in trial.intermediate_values.items():
        if not isinstance(step, int) or not 0 <= step <= MAX_EPOCHS:
            raise Unfit("an intermediate value is of no epoch")
        _check_shares([value])


def _check_shares(values: list[float]) -> None:
    if not all(isinstance(value, int | float) and 0 <= value <= 1 for value in values):
        raise Unfit("value is no accuracy from 0 to 1")


def _check_there(stored: TrialAttributes, *names: str) -> None:
    for name in names:
        if getattr(stored, name) is None:
            raise Unfit(f"{name} is missing")


def _check_complete(trial: FrozenTrial, stored: TrialAttributes, facts: StudyFacts, epochs: int) -> None:
    """A complete trial has everything, and its values follow from it."""
    _check_there(stored, attrs.N_PARAMS, attrs.EPOCHS, attrs.SEED, attrs.CURVE, attrs.ENVIRONMENT)
    rows = stored.curve or []
    if len(rows) != epochs:
        raise Unfit(f"{attrs.CURVE} has {len(rows)} of {epochs} epochs")
    last = [row[5] for row in rows[-3:]]
    wanted = [sum(last) / len(last)]
    if facts.settings.objective == "pareto":
        wanted.append(float(stored.n_params or 0))
    values = trial.values or []
    if len(values) != len(wanted):
        raise Unfit(f"{len(values)} values, of {len(wanted)}")
    for value, right in zip(values, wanted, strict=True):
        if not isinstance(value, int | float):
            raise Unfit("value is no number")
        if not math.isfinite(value) or abs(value - right) > TOLERANCE:
            raise Unfit(f"value {value:.6g} does not follow from its curve, which gives {right:.6g}")


def _check_network(trial: FrozenTrial, stored: TrialAttributes, facts: StudyFacts) -> None:
    """Its point is of the space; count and constraints are its network's."""
    space = facts.space
    assert space is not None
    queued = trial.system_attrs.get("fixed_params", {})
    if not isinstance(queued, dict):
        raise Unfit("fixed_params is no point")
    for name, value in queued.items():
        if name not in space.distributions or not _contains(space.distributions[name], value):
            raise Unfit(f"fixed_params.{name if is_harmless(name) else '?'} is outside of the space")
    for name, distribution in trial.distributions.items():
        if not facts.is_of_space(name, distribution):
            raise Unfit(f"parameter {name if is_harmless(name) else '?'} is not of the space")
        if not _contains(distribution, trial.params[name]):
            raise Unfit(f"parameter {name} is outside of its range")
    if len(trial.params) < len(space.distributions):
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            missing = next(name for name in space.distributions if name not in trial.params)
            raise Unfit(f"parameter {missing} is missing")
        return
    excess = facts.excess(trial.params)
    if stored.n_params is not None and stored.n_params != excess["n_params"] + facts.settings.max_params:
        right = excess["n_params"] + facts.settings.max_params
        raise Unfit(f"{attrs.N_PARAMS} is {stored.n_params:,}, and its network has {right:,}")
    if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
        _check_constraints(trial, excess)
    if trial.state == TrialState.COMPLETE and max(excess.values()) > 0:
        raise Unfit("its network is over the budget")


def _check_constraints(trial: FrozenTrial, excess: Mapping[str, int]) -> None:
    """Named constraints, and those in their order that optuna-dashboard reads."""
    try:
        stored = trial.constraints
    except Exception as error:  # whatever a list of numbers is in a stranger's study
        raise Unfit("constraints are no numbers") from error
    numbers = list(excess.values())
    for key, value in stored.items():
        at = excess.get(
            key, numbers[int(key)] if key.isdecimal() and len(key) < 3 and int(key) < len(numbers) else None
        )
        if at is None or isinstance(value, bool) or not isinstance(value, int | float) or value != at:
            raise Unfit(f"constraints.{key if is_harmless(key) else '?'} does not follow from its network")
    missing = excess.keys() - stored.keys()
    if missing:
        raise Unfit(f"constraints.{min(missing)} is missing")


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a value is of the type and within the range of a distribution."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return any(type(value) is type(choice) and value == choice for choice in choices)
        case IntDistribution(low=low, high=high):
            return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        case FloatDistribution(low=low, high=high):
            return (
                isinstance(value, int | float)
                and not isinstance(value, bool)
                and low - 1e-9 <= value <= high + 1e-9
            )
    return False
