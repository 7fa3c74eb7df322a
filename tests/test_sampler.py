"""`BudgetSampler`: Optuna's conformance suite, and the budget over thousands of proposals."""

import warnings
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    GridSampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)

from drill_models.count import count
from search.names import WrappedSamplerName
from search.sampling.budget import BudgetSampler, base_sampler, max_draws
from search.sampling.cma import CmaSampler
from spaces.budget import Budget
from spaces.budgeted import BudgetedSpace, EverySize
from tests.spaces_for_tests import SPACE, random_points


class Triangle:
    """A toy space of the names that Optuna's suite uses: x + y at most 1."""

    def __init__(self) -> None:
        self.distributions: Mapping[str, BaseDistribution] = {
            "a_of_triangle": FloatDistribution(0, 10),
            "b_of_triangle": FloatDistribution(0, 10),
        }

    def fits(self, point: Mapping[str, Any]) -> bool:
        total: float = point["a_of_triangle"] + point["b_of_triangle"]
        return total <= 1

    def identity(self, point: Mapping[str, Any]) -> Hashable:
        return tuple(point[name] for name in self.distributions)

    def shrink(self, point: Mapping[str, Any]) -> dict[str, Any]:
        total = point["a_of_triangle"] + point["b_of_triangle"]
        return {name: value / total for name, value in point.items()}


Factory = Callable[[], BaseSampler]


class TestOverRandom(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    # Random samples nothing jointly, so the suite's tests of joint sampling have nothing to look at.
    test_sample_relative_numerical = None  # type: ignore[assignment]
    test_sample_relative_categorical = None  # type: ignore[assignment]
    test_sample_relative_mixed = None  # type: ignore[assignment]

    @pytest.fixture
    def sampler(self) -> Factory:
        return lambda: BudgetSampler(RandomSampler(seed=0), Triangle())


class TestOverTPE(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Factory:
        return lambda: BudgetSampler(TPESampler(n_startup_trials=0, seed=0), Triangle())


class TestOverNSGAII(BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Factory:
        return lambda: BudgetSampler(NSGAIISampler(seed=0), Triangle())


class TestOverCmaEs(BasicSamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Factory:
        return lambda: BudgetSampler(
            CmaSampler(n_startup_trials=0, seed=0, warn_independent_sampling=False), Triangle()
        )


def test_cma_es_goes_on_with_what_it_kept() -> None:
    study = optuna.create_study()

    def sampler() -> CmaSampler:
        return CmaSampler(n_startup_trials=0, seed=0, warn_independent_sampling=False)

    study.sampler = sampler()
    study.optimize(lambda trial: sum(trial.suggest_float(name, -1, 1) ** 2 for name in "abc"), n_trials=40)
    state = sampler()._restore_optimizer(study.get_trials())
    assert state is not None
    assert state.generation > 0


@pytest.mark.parametrize("budget", [1_000, 3_000, 10_000, 50_000])
@pytest.mark.parametrize("name", ["random", "tpe", "nsga2", "cmaes"])
def test_every_proposal_fits(name: WrappedSamplerName, budget: int) -> None:
    limits = Budget(max_params=budget)
    sampler = BudgetSampler(base_sampler(name, 0), BudgetedSpace(SPACE, limits), max_draws=max_draws(name))
    study = optuna.create_study(sampler=sampler, direction="maximize")
    seen = set()
    for _ in range(60):
        trial = study.ask(dict(SPACE.distributions))
        recipe = SPACE.decode(trial.params, epochs=15)
        assert count(recipe.model).n_params <= budget
        seen.add(recipe)
        # Something to learn from: large networks with a rate near 0.05 are good.
        study.tell(trial, count(recipe.model).n_params / budget - abs(trial.params["sgd_lr"] - 0.05))
    assert len(seen) >= 59


def test_the_gp_fits_too() -> None:
    limits = Budget(max_params=3_000)
    sampler = BudgetSampler(base_sampler("gp", 0), BudgetedSpace(SPACE, limits), max_draws=max_draws("gp"))
    study = optuna.create_study(sampler=sampler)
    for _ in range(12):
        trial = study.ask(dict(SPACE.distributions))
        assert limits.admits(SPACE.model(trial.params))
        study.tell(trial, trial.params["sgd_lr"])


class Counting(RandomSampler):
    """Counts how often it is asked for one parameter."""

    def __init__(self) -> None:
        super().__init__(seed=0)
        self.asked = 0

    def sample_independent(self, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        return super().sample_independent(*args, **kwargs)


class Never(Triangle):
    """Nothing fits but what was shrunk."""

    def fits(self, point: Mapping[str, Any]) -> bool:
        return False

    def shrink(self, point: Mapping[str, Any]) -> dict[str, Any]:
        return {"a_of_triangle": 0.25, "b_of_triangle": 0.5}


@pytest.mark.parametrize("name", ["tpe", "nsga2", "random"])
def test_every_size_is_proposed_where_it_is_sought(name: WrappedSamplerName) -> None:
    """Either half of the range, on a logarithmic scale, holds many; with one budget the lower one does not."""
    limits = Budget(max_params=9_000)
    sizes = {}
    for kind, tighter in (("every", EverySize(SPACE, limits, share=9, seed=0).of), ("one", None)):
        space = BudgetedSpace(SPACE, limits)
        sampler = BudgetSampler(base_sampler(name, 0), space, max_draws=max_draws(name), tighter=tighter)
        study = optuna.create_study(sampler=sampler, directions=["maximize", "minimize"])
        found = []
        for _ in range(60):
            trial = study.ask(dict(SPACE.distributions))
            found.append(count(SPACE.model(trial.params)).n_params)
            study.tell(trial, [1 - 1 / found[-1], found[-1]])
        sizes[kind] = [sum(low < n <= 3 * low for n in found) for low in (1_000, 3_000)]
        assert max(found) <= limits.max_params
    assert min(sizes["every"]) >= 10, sizes
    assert sizes["one"][0] < sizes["every"][0], sizes


def test_good_networks_are_tried_at_other_sizes() -> None:
    """Every second proposal, where there is a larger one; none that is in the study already."""
    limits = Budget(max_params=9_000)
    sizes = EverySize(SPACE, limits, share=9, seed=0)
    study = optuna.create_study(
        directions=["maximize", "minimize"],
        sampler=BudgetSampler(RandomSampler(seed=0), BudgetedSpace(SPACE, limits), tighter=sizes.of),
    )
    wide = next(p for p in random_points(500) if count(SPACE.model(p)).n_params > 50_000)
    good = SPACE.shrink(wide, limits)
    study.enqueue_trial(good)
    known = set()
    same = 0
    for number in range(30):
        point = study.ask(dict(SPACE.distributions)).params
        n_params = count(SPACE.model(point)).n_params
        study.tell(number, [0.99 if number == 0 else 0.5, n_params])
        assert n_params <= limits.max_params
        rest = {name: value for name, value in good.items() if not (name[0] == "c" and name[1:].isdigit())}
        if number % 2 and rest.items() <= point.items():
            same += 1
            assert sizes.of(number).fits(point)
        known.add(BudgetedSpace(SPACE, limits).identity(point))
    assert len(known) == 30
    assert 5 <= same <= 15


@pytest.mark.parametrize("budget", [300, 500, 1_000])
def test_small_budgets_have_sizes_down_to_the_smallest_network(budget: int) -> None:
    space = EverySize(SPACE, Budget(max_params=budget), share=9, seed=0)
    points = random_points(40)
    found = [count(SPACE.model(space.of(n).shrink(point))).n_params for n, point in enumerate(points)]
    assert max(found) <= budget
    assert min(found) < max(1.3 * SPACE.least_params(Budget(max_params=budget)), budget / 6)
    assert sum(n > 0.9 * budget for n in found) <= 20 or budget == 300


def test_asks_again_a_bounded_number_of_times_then_shrinks() -> None:
    base = Counting()
    study = optuna.create_study(sampler=BudgetSampler(base, Never(), max_draws=3))
    trial = study.ask(dict(Never().distributions))
    assert base.asked == 3 * 2
    assert trial.params == {"a_of_triangle": 0.25, "b_of_triangle": 0.5}


def test_dimensions_are_joint_from_the_first_trial() -> None:
    study = optuna.create_study(sampler=BudgetSampler(TPESampler(seed=0), Triangle()))
    for _ in range(20):
        trial = study.ask()
        total = trial.suggest_float("a_of_triangle", 0, 10) + trial.suggest_float("b_of_triangle", 0, 10)
        assert total <= 1 + 1e-9
        study.tell(trial, total)


def test_a_users_own_parameters_are_left_to_the_base() -> None:
    study = optuna.create_study(sampler=BudgetSampler(TPESampler(seed=0), Triangle()))
    own: dict[str, BaseDistribution] = {**Triangle().distributions, "mine": IntDistribution(1, 5)}
    for _ in range(15):
        trial = study.ask(own)
        assert 1 <= trial.params["mine"] <= 5
        assert Triangle().fits({k: v - 1e-9 for k, v in trial.params.items() if k != "mine"})
        study.tell(trial, trial.params["mine"])


@pytest.mark.parametrize("kind", ["grid", "brute force"])
def test_samplers_of_given_points_are_refused(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        base = GridSampler({"x": [1, 2]}) if kind == "grid" else BruteForceSampler()
    with pytest.raises(ValueError, match="visits given points"):
        BudgetSampler(base, Triangle())


def test_same_seed_same_proposals() -> None:
    def proposals() -> list[dict[str, Any]]:
        space = BudgetedSpace(SPACE, Budget(max_params=5_000))
        study = optuna.create_study(sampler=BudgetSampler(base_sampler("tpe", 4), space))
        points = []
        for _ in range(15):
            trial = study.ask(dict(SPACE.distributions))
            points.append(trial.params)
            study.tell(trial, trial.params["sgd_lr"])
        return points

    assert proposals() == proposals()
