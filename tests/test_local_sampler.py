"""Local search: children of the best, within the budget and filling it."""

import random
import time
from collections.abc import Callable

import optuna
import pytest
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase, MultiObjectiveSamplerTestCase
from optuna.trial import FrozenTrial, TrialState, create_trial

from drill_models.count import count
from drill_models.starting_points import all_starts
from search.config import SearchConfig
from search.engine.proposals import make_sampler
from search.sampling.local import PARENTS, LocalSampler
from spaces.budget import Budget
from spaces.neighbours import Children, ChildrenOfEverySize, neighbourhood
from spaces.skeletons import load_skeletons
from tests.spaces_for_tests import SPACE, random_points

SPACE_OF_ONE: dict[str, BaseDistribution] = {"x": IntDistribution(0, 1000)}


def _next_number(parent: object, rng: random.Random) -> dict[str, object]:
    assert isinstance(parent, dict)
    return {"x": min(1000, parent["x"] + rng.randint(1, 3))}


def _toy(share: float = 1.0) -> LocalSampler:
    return LocalSampler(RandomSampler(seed=0), _next_number, SPACE_OF_ONE, seed=0, share=share)


class TestConformance(BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    """Optuna's own tests of samplers; their studies have other parameters than a child's."""

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return _toy


def _complete(x: int, value: float, **more: object) -> FrozenTrial:
    return create_trial(value=value, params={"x": x}, distributions=SPACE_OF_ONE, **more)  # type: ignore[arg-type]


def test_children_are_of_the_best_trials() -> None:
    study = optuna.create_study(sampler=_toy(), direction="maximize")
    for x in range(0, 1000, 100):
        study.add_trial(_complete(x, x / 1000))
    children = {study.ask(dict(SPACE_OF_ONE)).params["x"] for _ in range(60)}
    parents = {child // 100 for child in children}
    assert parents == set(range(10 - PARENTS, 10))
    assert all(1 <= child % 100 <= 3 for child in children)


def test_neither_infeasible_nor_pruned_trials_have_children() -> None:
    study = optuna.create_study(sampler=_toy(), direction="minimize")
    for x in (100, 200, 300):
        study.add_trial(_complete(x, 0.5))
    study.add_trial(
        create_trial(value=0.0, params={"x": 400}, distributions=SPACE_OF_ONE, constraints={"size": 1})
    )
    study.add_trial(create_trial(state=TrialState.PRUNED, params={"x": 500}, distributions=SPACE_OF_ONE))
    children = {study.ask(dict(SPACE_OF_ONE)).params["x"] for _ in range(30)}
    assert {child // 100 for child in children} == {1, 2, 3}


def test_of_several_objectives_the_front_has_children() -> None:
    study = optuna.create_study(sampler=_toy(), directions=["maximize", "minimize"])
    for x, values in ((100, [0.9, 9]), (200, [0.8, 5]), (300, [0.8, 6]), (400, [0.1, 1]), (500, [0.9, 10])):
        study.add_trial(create_trial(values=values, params={"x": x}, distributions=SPACE_OF_ONE))
    children = {study.ask(dict(SPACE_OF_ONE)).params["x"] for _ in range(60)}
    assert {child // 100 for child in children} == {1, 2, 4}


def test_means_over_seeds_decide_where_they_are_given() -> None:
    sampler = LocalSampler(
        RandomSampler(seed=0),
        _next_number,
        SPACE_OF_ONE,
        seed=0,
        share=1.0,
        parents=1,
        value=lambda study, trials: {trial.number: -trial.params["x"] for trial in trials},
    )
    study = optuna.create_study(sampler=sampler, direction="maximize")
    for x in (100, 200, 300):
        study.add_trial(_complete(x, x / 1000))
    assert study.ask(dict(SPACE_OF_ONE)).params["x"] // 100 == 1


def test_a_share_is_left_to_the_wrapped_sampler() -> None:
    study = optuna.create_study(sampler=_toy(share=0.5), direction="maximize")
    for x in (100, 200, 300):
        study.add_trial(_complete(x, x / 1000))
    asked = [study.ask(dict(SPACE_OF_ONE)).params["x"] for _ in range(60)]
    near = sum(x // 100 in (1, 2, 3) and 1 <= x % 100 <= 3 for x in asked)
    assert 15 <= near <= 45


@pytest.mark.parametrize(("share", "parents"), [(1.5, 5), (-0.1, 5), (0.5, 0)])
def test_settings_out_of_range_are_refused(share: float, parents: int) -> None:
    with pytest.raises(ValueError, match=r"share|parents"):
        LocalSampler(RandomSampler(), _next_number, SPACE_OF_ONE, seed=0, share=share, parents=parents)


# --- children of the drill space -------------------------------------------------------------


@pytest.mark.parametrize("budget", [500, 1_000, 3_000, 10_000, 50_000])
def test_children_keep_the_budget_and_fill_it(budget: int) -> None:
    limit, rng = Budget(max_params=budget), random.Random(budget)
    children = Children(SPACE, limit)
    points = [SPACE.shrink(SPACE.encode(step.recipe), limit) for step in all_starts()]
    points += [SPACE.shrink(point, limit) for point in random_points(10)]
    sizes = []
    for _ in range(150):
        child = children(rng.choice(points), rng)
        sizes.append(count(SPACE.model(child)).n_params)
        for name, distribution in SPACE.distributions.items():
            assert distribution._contains(distribution.to_internal_repr(child[name])), (name, child[name])
        points.append(child)
    assert max(sizes) <= budget
    assert sorted(sizes)[len(sizes) // 2] > 0.85 * budget


def test_a_child_differs_in_few_training_settings() -> None:
    """Widths change together when the budget is filled; all else changes one to three at a time."""
    limit, rng = Budget(max_params=3_000), random.Random(0)
    parent = SPACE.shrink(SPACE.encode(all_starts()[-1].recipe), limit)
    children = Children(SPACE, limit)
    for _ in range(200):
        child = children(parent, rng)
        changed = [name for name in parent if child[name] != parent[name] and name[0] != "c"]
        assert len(changed) <= 3


def test_a_child_is_another_network_or_recipe_nearly_always() -> None:
    limit, rng = Budget(max_params=3_000), random.Random(0)
    identity = neighbourhood(SPACE).identity
    parent = SPACE.shrink(SPACE.encode(all_starts()[0].recipe), limit)
    children = Children(SPACE, limit)
    same = sum(identity(children(parent, rng)) == identity(parent) for _ in range(100))
    assert same < 30


def test_where_every_size_is_sought_a_child_is_about_as_large_as_its_parent() -> None:
    limit, rng = Budget(max_params=10_000), random.Random(0)
    children = ChildrenOfEverySize(SPACE, limit, least=1_000)
    parent = SPACE.shrink(SPACE.encode(all_starts()[-1].recipe), Budget(max_params=3_000))
    sizes = sorted(count(SPACE.model(children(parent, rng))).n_params for _ in range(100))
    assert 800 <= sizes[0]
    assert sizes[-1] <= 10_000
    assert 2_300 < sizes[50] < 3_500


@pytest.mark.parametrize("objective", ["accuracy", "pareto"])
def test_the_sampler_of_a_search_proposes_only_what_fits_and_is_new(objective: str) -> None:
    limit = Budget(max_params=1_000)
    config = SearchConfig(
        budget=limit,
        skeletons=load_skeletons(),
        sampler="local",
        objective=objective,  # type: ignore[arg-type]
    )
    pareto = objective == "pareto"
    study = optuna.create_study(
        sampler=make_sampler(config, SPACE, lambda: False),
        directions=["maximize", "minimize"] if pareto else ["maximize"],
    )
    rng, seen = random.Random(0), set()
    for _ in range(60):
        trial = study.ask(dict(SPACE.distributions))
        size = count(SPACE.model(trial.params)).n_params
        assert size <= 1_000
        seen.add(SPACE.decode(trial.params, epochs=1).model_dump_json())
        study.tell(trial, [rng.random(), size] if pareto else rng.random())
    assert len(seen) == 60


@pytest.mark.alone
def test_a_proposal_is_quick_with_a_thousand_trials() -> None:
    config = SearchConfig(budget=Budget(max_params=10_000), skeletons=load_skeletons(), sampler="local")
    study = optuna.create_study(sampler=make_sampler(config, SPACE, lambda: False), direction="maximize")
    points = [SPACE.shrink(point, config.budget) for point in random_points(200)]
    distributions = dict(SPACE.distributions)
    for number in range(1_000):
        study.add_trial(
            create_trial(value=number / 1_000, params=points[number % 200], distributions=distributions)
        )
    took = []
    for _ in range(20):
        began = time.process_time()
        trial = study.ask(distributions)
        took.append(time.process_time() - began)
        study.tell(trial, 0.5)
    # The first one reads all of the study.
    assert sorted(took)[10] < 0.1
