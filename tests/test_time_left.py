"""How long a search still takes, from what its trials took."""

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.console.eta import TimeLeft
from search.schema import attributes as attrs
from search.study.trials import pack_curve
from tests.jobs import record


def _earlier(seconds: float, epochs: int, state: TrialState) -> FrozenTrial:
    """A trial of an earlier sitting."""
    records = [record(epoch).model_copy(update={"seconds": seconds}) for epoch in range(1, epochs + 1)]
    value = 0.9 if state == TrialState.COMPLETE else None
    return optuna.create_trial(state=state, value=value, user_attrs={attrs.CURVE: pack_curve(records)})


def _trained(time: TimeLeft, number: int, seconds: list[float], *, complete: bool | None) -> None:
    time.started(number, 15)
    for each in seconds:
        time.epoch(number, each)
    if complete is not None:
        time.ended(number, complete=complete)


def test_nothing_tells_before_an_epoch_has_run() -> None:
    time = TimeLeft([_earlier(5, 0, TrialState.COMPLETE), _earlier(5, 3, TrialState.FAIL)])
    time.started(0, 15)
    time.ended(1, complete=False)  # one over the budget, which never began
    assert time.seconds(3, 2, 1) is None


def test_what_was_given_back_does_not_count() -> None:
    time = TimeLeft()
    _trained(time, 0, [10.0] * 15, complete=True)
    _trained(time, 1, [100.0], complete=None)
    assert time.seconds(1, 0, 1) == 1400
    time.lost(1)
    time.lost(2)  # it had not begun
    assert time.seconds(1, 0, 1) == 150
    _trained(time, 1, [20.0], complete=None)
    assert time.seconds(1, 0, 1) == 280


def test_earlier_sittings_stand_in_until_something_runs() -> None:
    time = TimeLeft([_earlier(10, 15, TrialState.COMPLETE), _earlier(10, 3, TrialState.PRUNED)])
    assert time.seconds(2, 0, 1) == 2 * (150 + 30) / 2
    assert time.seconds(0, 3, 2) == 2 * 150
    _trained(time, 2, [1.0] * 2, complete=False)
    assert time.seconds(2, 0, 1) == 2 * 2
    assert time.seconds(0, 1, 1) == 150  # none of this sitting came to its end
    _trained(time, 3, [2.0] * 15, complete=True)
    assert time.seconds(0, 1, 1) == 30
