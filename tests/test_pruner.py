"""The gentle pruner on made-up curves."""

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.names import PRUNER_NAMES, PrunerName
from search.pruning.pruners import MIN_PEERS, WARMUP, GentlePruner, make_pruner

KIND = CategoricalDistribution(("step", "onecycle"))


def _trial(
    curve: list[float], schedule: str = "step", state: TrialState = TrialState.COMPLETE, hand: bool = False
) -> FrozenTrial:
    return create_trial(
        state=state,
        value=curve[-1] if state == TrialState.COMPLETE else None,
        params={"schedule": schedule},
        distributions={"schedule": KIND},
        intermediate_values=dict(enumerate(curve, start=1)),
        user_attrs={"baseline": "a-runs 1"} if hand else {},
    )


def _study(*trials: FrozenTrial) -> optuna.Study:
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    return study


def _rising(final: float, epochs: int = 15) -> list[float]:
    return [final - 0.02 / n for n in range(1, epochs + 1)]


PEERS = [_trial(_rising(0.98 + 0.001 * n)) for n in range(8)]


def _running(curve: list[float], schedule: str = "step", hand: bool = False) -> FrozenTrial:
    return _trial(curve, schedule, TrialState.RUNNING, hand)


def test_worst_quarter_of_its_like_is_stopped() -> None:
    study = _study(*PEERS)
    pruner = GentlePruner()
    assert pruner.prune(study, _running(_rising(0.9805, WARMUP + 1)))
    assert not pruner.prune(study, _running(_rising(0.984, WARMUP + 1)))
    assert not pruner.prune(study, _running(_rising(0.995, WARMUP + 1)))


def test_nobody_is_stopped_in_warmup_or_without_peers() -> None:
    pruner = GentlePruner()
    assert not pruner.prune(_study(*PEERS), _running(_rising(0.5, WARMUP)))
    assert not pruner.prune(_study(*PEERS[: MIN_PEERS - 1]), _running(_rising(0.5, 8)))
    assert not pruner.prune(_study(*PEERS), _running([]))


def test_other_schedules_are_not_its_like() -> None:
    """A OneCycle trial at its highest rate is below most step trials, and still goes on."""
    study = _study(*PEERS)
    low = _rising(0.9805, 7)
    assert GentlePruner().prune(study, _running(low))
    assert not GentlePruner().prune(study, _running(low, "onecycle"))


def test_worse_than_every_complete_trial_is_stopped_whatever_its_schedule() -> None:
    assert GentlePruner().prune(_study(*PEERS), _running(_rising(0.9, 7), "onecycle"))


def test_pruned_trials_count_as_its_like_as_far_as_they_came() -> None:
    stopped = [_trial(_rising(0.90 + 0.001 * n, 6), state=TrialState.PRUNED) for n in range(6)]
    study = _study(*PEERS[:2], *stopped)
    middling = _running(_rising(0.9045, 6))
    # Among its like it is in the middle; too few trials are complete to say more.
    assert not GentlePruner().prune(study, middling)
    assert GentlePruner().prune(study, _running(_rising(0.89, 6)))


def test_hand_steps_are_never_stopped() -> None:
    assert not GentlePruner().prune(_study(*PEERS), _running(_rising(0.5, 10), hand=True))


def test_nan_is_stopped() -> None:
    assert GentlePruner().prune(_study(), _running([0.9] * WARMUP + [float("nan")]))


@pytest.mark.parametrize("name", [name for name in PRUNER_NAMES if name != "forecast"])
@pytest.mark.parametrize("epochs", [1, 2, 15])
def test_every_other_pruner_can_be_asked(name: PrunerName, epochs: int) -> None:
    study = optuna.create_study(direction="maximize", pruner=make_pruner(name, epochs))
    for _ in range(4):
        trial = study.ask({"schedule": KIND})
        for epoch in range(1, epochs + 1):
            trial.report(0.9, epoch)
            trial.should_prune()
        study.tell(trial, 0.9)
