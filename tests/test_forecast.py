"""Forecasts of learning curves, and the pruner that stops what will not come near the best."""

import math

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from drill_models.result import EpochRecord
from search.pruning.forecast import Curve, Finished, best_end
from search.pruning.pruners import MIN_COMPLETE, MIN_EPOCHS, ForecastPruner, is_hopeless
from search.schema import attributes as attrs
from search.study.trials import pack_curve

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
        epochs=EPOCHS,
        accuracies=[1 - error for error in errors],
    )


def _finished(final: float, kind: str = "onecycle") -> Finished:
    return Finished(_curve(_errors(final, kind), kind), 1 - final)


PEERS = [0.006 + 0.001 * n for n in range(8)]


@pytest.mark.parametrize("epoch", [1, 3, 6, 9])
def test_a_curve_like_the_others_ends_like_the_others(epoch: int) -> None:
    finished = [_finished(final) for final in PEERS]
    for final in (0.007, 0.01, 0.02):
        running = _curve(_errors(final, "onecycle")[:epoch])
        assert best_end(running, finished, min_alike=3) == pytest.approx(math.log(final), abs=1e-6)


def test_it_falls_as_far_as_the_best_of_its_like() -> None:
    """At mid-training a OneCycle run has far to fall, and one with steps has not."""
    finished = [_finished(final, kind) for final in PEERS for kind in ("onecycle", "step")]
    for kind in ("onecycle", "step"):
        running = _curve(_errors(0.008, kind)[:5], kind)
        assert best_end(running, finished, min_alike=3) == pytest.approx(math.log(0.008), abs=1e-6)
    # Without its like, all are.
    unknown = _curve(_errors(0.008, "step")[:5], "cosine")
    assert best_end(unknown, finished, min_alike=3) < math.log(0.006)


def test_a_curve_need_not_get_worse_because_the_one_that_is_known_did() -> None:
    worse = Finished(_curve([0.05, 0.02, 0.03] + [0.03] * (EPOCHS - 3)), 0.97)
    running = _curve([0.06, 0.025])
    assert best_end(running, [worse], min_alike=3) == pytest.approx(math.log(0.025))


def test_the_least_error_so_far_counts() -> None:
    """One bad epoch, as a high learning rate makes them, is forgiven."""
    finished = [_finished(final) for final in PEERS]
    smooth = _errors(0.008, "onecycle")[:6]
    bumpy = [*smooth[:5], 0.3]
    assert best_end(_curve(bumpy), finished, min_alike=3) < best_end(_curve(smooth), finished, min_alike=3) + 0.4


def test_curves_of_other_lengths_are_compared_at_the_same_fraction() -> None:
    short = Finished(Curve(kind="onecycle", epochs=5, accuracies=[0.5, 0.8, 0.9, 0.95, 0.98]), 0.98)
    running = Curve(kind="onecycle", epochs=10, accuracies=[0.4, 0.6, 0.7, 0.8])
    assert best_end(running, [short], min_alike=1) == pytest.approx(math.log(0.2) + math.log(0.02 / 0.2))


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


def test_what_is_dead_is_stopped_after_two_epochs_and_the_best_never() -> None:
    assert _stopped_at(_study(PEERS), [0.9] * EPOCHS) == MIN_EPOCHS == 2
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
