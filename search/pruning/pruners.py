"""How a trial is stopped early: compared with its like.

Optuna's percentile pruners compare all trials at the same step, so a OneCycle trial looks bad at
mid-schedule, where its rate is highest, beside one whose rate has already fallen. Here trials with the
same schedule say most about each other. `tests/benchmarks/pruners.py` replays every pruner on recorded curves.
"""

import math
from collections.abc import Sequence
from copy import copy

from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PercentilePruner,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from drill_models.result import EpochRecord
from search.names import PrunerName
from search.pruning.forecast import Curve, Finished, best_end, log_error
from search.schema import attributes as attrs
from search.study.trials import complete_trials, figures, has_two_values, pack_curve

SLACK = 0.25
"""By so much, in logarithms of the error, may a trial's best end be worse than the best there is: a quarter of the
error, for one value's noise is more than a tenth of it at 99.4 % on 10,000 images."""
MIN_COMPLETE = 4
"""Complete trials that the forecast pruner needs."""
MIN_ALIKE = 3
"""So many of those that ended well must have a trial's schedule, or all are its like."""
ENDED_WELL = 3
"""A trial ended well if its error is at most so many times the least."""
MIN_EPOCHS = 2
"""A trial trains for so many before it is looked at: with averaged weights and a rate that rises, the first says
little, least of all on a small data set."""
MAX_PEERS = 200
"""It looks at so many, the latest, so that its time does not grow with the study."""

WARMUP = 4
"""Epochs before the gentle pruner looks at a trial."""
MIN_PEERS = 4
"""Trials that must have come as far before one is compared with them."""
WORST_SHARE = 0.25
"""The worst quarter of its like is stopped."""


class GentlePruner(BasePruner):
    """Stops a trial that is among the worst quarter of its like, or worse than all that ran to the end.

    A trial's like are the complete and pruned trials with the same value of `dimension`, at the same step.
    Hand steps are never stopped: their whole curves are what others are compared with.

    Args:
        dimension: The parameter that must be equal, a schedule's kind.
        warmup: Steps before a trial is looked at; steps count from 1.
        min_peers: How many others are needed for either comparison.
        worst_share: Share of its like below which a trial is stopped.
    """

    def __init__(
        self,
        dimension: str = "schedule",
        *,
        warmup: int = WARMUP,
        min_peers: int = MIN_PEERS,
        worst_share: float = WORST_SHARE,
    ) -> None:
        self._dimension = dimension
        self._warmup = warmup
        self._min_peers = min_peers
        self._worst_share = worst_share

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to stop the trial at its last reported step."""
        step = trial.last_step
        if step is None or step <= self._warmup or "baseline" in trial.user_attrs:
            return False
        mine = trial.intermediate_values[step]
        if mine != mine:
            return True  # NaN
        kind = trial.params.get(self._dimension)
        like, complete = [], []
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        for other in study.get_trials(deepcopy=False, states=states):
            value = other.intermediate_values.get(step)
            if value is None or value != value:
                continue
            if other.params.get(self._dimension) == kind:
                like.append(value)
            if other.state == TrialState.COMPLETE:
                complete.append(value)
        # At least this many of its like must be better.
        if len(like) >= self._min_peers:
            better = sum(value > mine for value in like)
            return better >= (1 - self._worst_share) * (len(like) + 1)
        return len(complete) >= self._min_peers and mine < min(complete)


class ForecastPruner(BasePruner):
    """Stops a trial that would not come near the best even if it fell as far as the best of its like.

    From where a trial is, its error is let fall by as much as that of any trial with the same schedule that ended
    well did from the same fraction of its training on. If that is still worse, by more than `slack`, than the best
    complete trial, the trial is stopped. In a study of accuracy against parameters, whose trials Optuna's own
    pruners refuse, that is the best one with at most as many parameters. Hand steps are never stopped.

    Args:
        slack: In logarithms of the error.
        min_complete: Complete trials that are needed before any trial is stopped.
        min_alike: Trials with the same schedule without which all are a trial's like.
    """

    def __init__(
        self, *, slack: float = SLACK, min_complete: int = MIN_COMPLETE, min_alike: int = MIN_ALIKE
    ) -> None:
        self._slack = slack
        self._min_complete = min_complete
        self._min_alike = min_alike
        self._known: dict[int, Finished] = {}

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to stop the trial after its last epoch; its curve is in its attributes."""
        mine = _curve(trial)
        if len(mine.accuracies) < max(1, min(MIN_EPOCHS, mine.epochs - 1)) or attrs.BASELINE in trial.user_attrs:
            return False
        complete = complete_trials(study)
        one_value, n_params = not has_two_values(study), trial.user_attrs[attrs.N_PARAMS]
        rivals = [
            other.values[0] for other in complete if one_value or other.user_attrs[attrs.N_PARAMS] <= n_params
        ]
        if len(complete) < self._min_complete or not rivals:
            return False
        finished = [self._finished(other) for other in complete[-MAX_PEERS:]]
        well = math.log(ENDED_WELL) + min(log_error(one.value) for one in finished)
        finished = [one for one in finished if log_error(one.value) <= well]
        return best_end(mine, finished, min_alike=self._min_alike) - self._slack > log_error(max(rivals))

    def _finished(self, trial: FrozenTrial) -> Finished:
        """A complete trial's curve; each is taken apart once."""
        found = self._known.get(trial._trial_id)
        if found is None:
            found = self._known[trial._trial_id] = Finished(_curve(trial), trial.values[0])
        return found


def _curve(trial: FrozenTrial) -> Curve:
    return Curve(
        kind=trial.params["schedule"],
        epochs=trial.user_attrs[attrs.EPOCHS],
        accuracies=figures(trial, "val_accuracy"),
    )


def is_hopeless(study: Study, number: int, records: Sequence[EpochRecord]) -> bool:
    """Whether the study's pruner stops a running trial after these epochs.

    It is asked here and not by `Trial.should_prune`, which refuses studies of several values, and it is given the
    whole curve, of which Optuna keeps one figure an epoch.
    """
    trial = copy(study.get_trials(deepcopy=False)[number])
    trial.user_attrs = {**trial.user_attrs, attrs.CURVE: pack_curve(records)}
    trial.intermediate_values = {record.epoch: record.val_accuracy for record in records}
    return study.pruner.prune(study, trial)


def make_pruner(name: PrunerName, epochs: int) -> BasePruner:
    """The pruner of that name for trials of so many epochs; all but `forecast` and `gentle` are Optuna's own."""
    match name:
        case "forecast":
            return ForecastPruner()
        case "gentle":
            return GentlePruner()
        case "percentile":
            return PercentilePruner(75.0, n_startup_trials=5, n_warmup_steps=WARMUP)
        case "median":
            return MedianPruner(n_startup_trials=5, n_warmup_steps=WARMUP)
        case "hyperband":
            return HyperbandPruner(min_resource=min(3, epochs), max_resource=epochs)
        case "none":
            return NopPruner()
    raise ValueError(f"unknown pruner {name!r}")
