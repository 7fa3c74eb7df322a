"""Forecasts of learning curves, and the pruner that stops what will not come near the best."""

import math
from dataclasses import replace

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from drill_models.result import EpochRecord
from search import attrs
from search.forecast import Curve, Finished, Forecaster, log_error
from search.history import pack_curve
from search.pruner import MIN_COMPLETE, ForecastPruner, is_hopeless

KINDS = CategoricalDistribution(("onecycle", "step"))
EPOCHS = 10


def _errors(final: float, kind: str) -> list[float]:
    """A OneCycle curve falls late, a step curve early."""
    late = 3 if kind == "onecycle" else 1
    return [final * (1 + 6 * (1 - (epoch / EPOCHS) ** late)) for epoch in range(1, EPOCHS + 1)]


def _records(errors: list[float]) -> tuple[EpochRecord, ...]:
    return tuple(
        EpochRecord(
            epoch=epoch,
            lr=0.1,
            train_loss=3 * error,
            train_accuracy=1 - error,
            val_loss=3 * error,
            val_accuracy=1 - error,
            seconds=1.0,
        )
        for epoch, error in enumerate(errors, start=1)
    )


def _curve(errors: list[float], kind: str = "onecycle") -> Curve:
    return Curve(
        kind=kind,
        n_params=1000,
        epochs=EPOCHS,
        accuracies=[1 - error for error in errors],
        train_losses=[3 * error for error in errors],
    )


def _finished(final: float, kind: str = "onecycle") -> Finished:
    return Finished(_curve(_errors(final, kind), kind), 1 - final)


PEERS = [0.006 + 0.001 * n for n in range(8)]


@pytest.mark.parametrize("epoch", [1, 3, 6, 9])
def test_a_curve_like_the_others_ends_like_the_others(epoch: int) -> None:
    finished = [_finished(final) for final in PEERS]
    for final in (0.007, 0.01, 0.02):
        found = Forecaster().forecast(_curve(_errors(final, "onecycle")[:epoch]), finished)
        assert abs(found.mean - math.log(final)) < 0.25
        assert 0 < found.std < 0.5


def test_its_own_schedule_says_most() -> None:
    """At mid-training a OneCycle run looks as bad as a far worse one with steps."""
    finished = [_finished(final, kind) for final in PEERS for kind in ("onecycle", "step")]
    running = _errors(0.008, "onecycle")[:5]
    with_own = Forecaster().forecast(_curve(running), finished)
    without = Forecaster(unlike=1.0).forecast(_curve(running), finished)
    assert abs(with_own.mean - math.log(0.008)) < abs(without.mean - math.log(0.008))


def test_a_loss_that_is_no_number_is_a_bad_one() -> None:
    finished = [_finished(final) for final in PEERS]
    broken = replace(_curve([0.5, 0.9]), train_losses=[1.0, float("nan")])
    found = Forecaster().forecast(broken, finished)
    assert math.isfinite(found.mean)
    assert found.mean > log_error(0.99)


def _trial(
    errors: list[float], *, n_params: int = 1000, kind: str = "onecycle", hand: bool = False, pareto: bool = False
) -> FrozenTrial:
    return create_trial(
        state=TrialState.COMPLETE,
        values=[1 - errors[-1], n_params] if pareto else [1 - errors[-1]],
        params={"schedule": kind},
        distributions={"schedule": KINDS},
        user_attrs={
            attrs.CURVE: pack_curve(_records(errors)),
            attrs.EPOCHS: EPOCHS,
            attrs.N_PARAMS: n_params,
            **({attrs.BASELINE: "a-runs 1"} if hand else {}),
        },
    )


def _study(finals: list[float], *, pareto: bool = False, sizes: list[int] | None = None) -> optuna.Study:
    study = optuna.create_study(
        directions=["maximize", "minimize"] if pareto else ["maximize"], pruner=ForecastPruner()
    )
    for final, n_params in zip(finals, sizes or [1000] * len(finals), strict=True):
        study.add_trial(_trial(_errors(final, "onecycle"), n_params=n_params, pareto=pareto))
    return study


def _stopped_at(study: optuna.Study, errors: list[float], n_params: int = 1000, hand: bool = False) -> int | None:
    """The epoch after which a running trial is stopped, or None."""
    trial = study.ask({"schedule": CategoricalDistribution(("onecycle",))})
    trial.set_user_attr(attrs.EPOCHS, EPOCHS)
    trial.set_user_attr(attrs.N_PARAMS, n_params)
    if hand:
        trial.set_user_attr(attrs.BASELINE, "a-runs 1")
    records = _records(errors)
    for epoch in range(1, EPOCHS):
        if is_hopeless(study, trial.number, records[:epoch]):
            return epoch
    return None


def test_what_is_dead_is_stopped_at_once_and_the_best_never() -> None:
    assert _stopped_at(_study(PEERS), [0.9] * EPOCHS) == 2
    assert _stopped_at(_study(PEERS), _errors(0.006, "onecycle")) is None
    assert _stopped_at(_study(PEERS), _errors(0.0055, "onecycle")) is None
    assert _stopped_at(_study(PEERS), _errors(0.02, "onecycle")) is not None


def test_hand_steps_are_never_stopped_and_nobody_is_without_peers() -> None:
    assert _stopped_at(_study(PEERS), [0.9] * EPOCHS, hand=True) is None
    assert _stopped_at(_study(PEERS[: MIN_COMPLETE - 1]), [0.9] * EPOCHS) is None


def test_where_every_size_counts_only_smaller_networks_are_rivals() -> None:
    """Half as good as the best, it is the best of its size: Optuna's own pruners refuse such a study."""
    study = _study(PEERS, pareto=True, sizes=[2000] * len(PEERS))
    assert _stopped_at(study, _errors(0.02, "onecycle"), n_params=1000) is None
    assert _stopped_at(study, _errors(0.02, "onecycle"), n_params=2000) is not None
