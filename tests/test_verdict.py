"""Verdicts: figures from several seeds, and whether two steps differ by more than noise."""

import math

import numpy as np
import pytest
from pydantic import ValidationError

from drill_models.result import EpochRecord, Verdict
from search.console.verdict_tables import Spread, claim, pooled
from search.evaluation.run_cache import ConfirmedRun, RunKey
from search.evaluation.statistics import compare, make_verdict

KEY = RunKey(recipe="0" * 64, device="cpu", engine="native", precision="fp32", torch="2", version="0")


def _record(epoch: int, accuracy: float) -> EpochRecord:
    return EpochRecord(
        epoch=epoch, lr=0.1, train_loss=0, train_accuracy=0, val_loss=0, val_accuracy=accuracy, seconds=1
    )


def a_run(seed: int, *accuracies: float, mistakes: tuple[int, ...] = ()) -> ConfirmedRun:
    records = tuple(_record(i, accuracy) for i, accuracy in enumerate(accuracies, start=1))
    return ConfirmedRun(key=KEY, seed=seed, epochs=records, mistakes=mistakes)


def test_a_verdict_is_of_the_last_epochs() -> None:
    verdict = make_verdict(
        [
            a_run(0, 0.1, 0.2, 0.991, 0.992, 0.993, 0.994),
            a_run(1, 0.1, 0.2, 0.995, 0.989, 0.996, 0.995),
            a_run(2, 0.1, 0.987, 0.995, 0.999, 0.996, 0.996),
        ]
    )
    assert (verdict.mean, verdict.min, verdict.max) == (0.995, 0.994, 0.996)
    assert verdict.std == pytest.approx(0.001)
    # Student's t with two degrees of freedom: 4.3027.
    assert verdict.low == pytest.approx(0.995 - 4.3027 * 0.001 / 3**0.5, abs=1e-6)
    assert (verdict.last3_min, verdict.last5_min) == (0.989, 0.2)
    assert verdict.seeds == 3
    # A mean above the target is not enough.
    assert [verdict.holding(target) for target in (0.994, 0.9945, 0.997)] == [3, 2, 0]


def test_one_seed_has_no_deviation() -> None:
    verdict = make_verdict([a_run(7, 0.9, 0.95)])
    assert (verdict.mean, verdict.std, verdict.low, verdict.high) == (0.95, None, None, None)
    assert verdict.last5_min == 0.9


@pytest.mark.parametrize("name", ["mean", "std", "min", "max", "last3_min", "last5_min", "seeds"])
def test_a_figure_that_its_runs_do_not_give_is_refused(name: str) -> None:
    dump = make_verdict([a_run(0, 0.9, 0.95), a_run(1, 0.9, 0.97)]).model_dump()
    Verdict.model_validate(dump)
    dump[name] = 3 if name == "seeds" else 0.961
    with pytest.raises(ValidationError, match=f"{name} must be"):
        Verdict.model_validate(dump)


def _runs(rng: np.random.Generator, rates: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> list[ConfirmedRun]:
    """Five seeds, each of which gets image i wrong with its rate, times a factor of the seed's own."""
    runs = []
    for seed in range(5):
        wrong = rng.random(len(rates)) < rates * rng.uniform(0.8, 1.2)
        runs.append(a_run(seed, 1 - float(wrong.mean()), mistakes=tuple(np.nonzero(wrong)[0].tolist())))
    return runs


def test_noise_is_called_noise_and_a_difference_a_difference() -> None:
    rng = np.random.default_rng(0)
    hard = np.zeros(2000)
    hard[:60] = rng.uniform(0.05, 0.95, 60)  # few images, which every network finds hard
    same = [compare(_runs(rng, hard), _runs(rng, hard), len(hard)) for _ in range(200)]
    # 200 tests of nothing at 5 %: 10 on average, and hardly ever more than 20.
    assert sum(found.more_than_noise for found in same) <= 20
    assert sum(found.low <= 0 <= found.high for found in same) >= 180
    # Networks that find other images hard, none of them more than the other but by the luck of the test set.
    unlike = []
    for _ in range(200):
        mine, theirs = np.zeros(2000), np.zeros(2000)
        mine[:100] = rng.uniform(0, 1, 100) * (rng.random(100) < 0.5)
        theirs[:100] = rng.uniform(0, 1, 100) * (rng.random(100) < 0.5)
        unlike.append(compare(_runs(rng, mine), _runs(rng, theirs), len(mine)))
    assert sum(found.more_than_noise for found in unlike) <= 20
    other = np.zeros(2000)
    other[40:140] = rng.uniform(0.05, 0.95, 100)
    found = compare(_runs(rng, other), _runs(rng, hard), len(hard))
    assert found.more_than_noise
    assert found.low > 0
    assert found.difference == pytest.approx((other.mean() - hard.mean()), abs=0.006)


def test_a_comparison_takes_images_into_account() -> None:
    """Two networks that differ on a few images the same way in each seed: seeds alone would call it certain."""
    first = [a_run(seed, 0.9, mistakes=(1, 2, 3, 4)) for seed in range(5)]
    second = [a_run(seed, 0.9, mistakes=(1, 2, 5)) for seed in range(5)]
    found = compare(first, second, 1000)
    assert found.difference == pytest.approx(0.001)
    assert not found.more_than_noise  # though it is the same in all five
    # As many images again, and it is more.
    worse = [a_run(seed, 0.9, mistakes=tuple(range(1, 15))) for seed in range(5)]
    assert compare(first, worse, 1000).more_than_noise
    assert compare(first, first, 1000).p == 1.0


@pytest.mark.parametrize("seeds", [(0,), (1, 2), (0, 1, 2)])
def test_a_comparison_needs_the_same_seeds(seeds: tuple[int, ...]) -> None:
    first = [a_run(seed, 0.9) for seed in ((0,) if seeds == (0,) else (0, 1))]
    with pytest.raises(ValueError, match="same seeds"):
        compare(first, [a_run(seed, 0.9) for seed in seeds], 100)


def test_a_claim_is_judged_by_the_best_epochs_of_replays() -> None:
    best = [0.994, 0.994, 0.994]
    # Student's t with 20 degrees of freedom: errors within a factor exp(2.086 * 0.1 * sqrt(4 / 3)) = 1.2723, so
    # from 0.4716 to 0.7634 %.
    spread = Spread(0.1, 20)
    assert claim(0.99528, best, spread) == "holds"
    assert claim(0.99529, best, spread) == "0.13 points too high"
    assert claim(0.99237, best, spread) == "holds"
    assert claim(0.99236, best, spread) == "0.16 points too low"
    # With one replay the factor is exp(2.086 * 0.1 * sqrt(2)) = 1.3431: from 0.4467 to 0.8059 %.
    assert claim(0.99553, [0.994], spread) == "holds"
    assert claim(0.99554, [0.994], spread) == "0.15 points too high"
    assert claim(0.9990, best, Spread(0.0, 0)) == "needs 2 seeds"


def test_pooled_deviation() -> None:
    # Errors of 0.1 and 0.1 e^0.2: their logarithms differ by 0.2, a variance of 0.02.
    found = pooled([[0.9, 1 - 0.1 * math.exp(0.2)], [0.5], [0.8, 0.8, 0.8]])
    assert found.std == pytest.approx((0.02 / 3) ** 0.5)
    assert found.freedom == 3
    assert pooled([[0.1], []]) == Spread(0.0, 0)


def test_a_run_with_an_infinite_loss_is_read_again() -> None:
    run = a_run(0, 0.1, 0.1)
    wild = run.model_copy(update={"epochs": (run.epochs[0].model_copy(update={"val_loss": float("inf")}),)})
    assert ConfirmedRun.model_validate_json(wild.model_dump_json()) == wild
