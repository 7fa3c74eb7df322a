"""Shrinking: always fits, always the same, as large as it can be, and all else unchanged."""

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from drill_models.count import count
from drill_models.errors import BudgetError
from spaces.budget import Budget
from spaces.skeletons import MIN_WIDTH, WIDTH_NAMES, check_budget
from tests.spaces_for_tests import SPACE, random_points

POINTS = random_points(400, seed=3)
ARCHITECTURE = {*WIDTH_NAMES, "skeleton", "head", "batch_norm"}


@settings(max_examples=300, deadline=None)
@given(which=st.integers(0, 399), limit=st.integers(450, 60_000))
def test_fits_and_is_deterministic(which: int, limit: int) -> None:
    point, budget = POINTS[which], Budget(max_params=limit)
    small = SPACE.shrink(point, budget)
    assert budget.admits(SPACE.model(small))
    assert SPACE.shrink(point, budget) == small
    assert SPACE.shrink(small, budget) == small
    assert {k: v for k, v in small.items() if k not in ARCHITECTURE} == {
        k: v for k, v in point.items() if k not in ARCHITECTURE
    }
    assert all(MIN_WIDTH <= small[name] <= point[name] for name in WIDTH_NAMES)


@settings(max_examples=200, deadline=None)
@given(
    which=st.integers(0, 399),
    macs=st.integers(200_000, 5_000_000),
    activations=st.integers(4_000, 40_000),
)
def test_all_limits_at_once(which: int, macs: int, activations: int) -> None:
    budget = Budget(max_params=10_000, max_macs=macs, max_activations=activations)
    try:
        check_budget(SPACE.skeletons, budget, 10)
    except BudgetError:
        reject()
    small = SPACE.shrink(POINTS[which], budget)
    counted = count(SPACE.model(small))
    assert counted.n_params <= 10_000
    assert counted.macs <= macs
    assert counted.peak_activations <= activations


def test_uses_most_of_the_budget() -> None:
    budget = Budget(max_params=10_000)
    sizes = [
        count(SPACE.model(SPACE.shrink(p, budget))).n_params for p in POINTS if not budget.admits(SPACE.model(p))
    ]
    assert sorted(sizes)[len(sizes) // 2] > 9_500


def test_points_stay_different() -> None:
    for limit in (1000, 3000, 10_000):
        small = [SPACE.decode(SPACE.shrink(p, Budget(max_params=limit)), epochs=15) for p in POINTS]
        assert len(set(small)) > 0.99 * len(small)


def test_nothing_fits() -> None:
    with pytest.raises(ValueError, match="no network of the space keeps 10 parameters"):
        SPACE.shrink(POINTS[0], Budget(max_params=10))
