"""Skeleton files: the package's own, a user's, and what is refused."""

import json
from pathlib import Path

import pytest

from drill_models.count import count
from drill_models.errors import BudgetError, StepError
from spaces.budget import Budget
from spaces.drill import DrillSpace
from spaces.skeletons import Skeleton, check_budget, load_skeletons, smallest_model
from spaces.skeletons import schema_text as skeleton_schema

FOLDER = Path(__file__).parent.parent / "spaces"

OWN = """
format: 1
name: my-net
summary: One convolution, a pool, one convolution.
blocks:
  - {kind: conv, width: c1, kernel: 5}
  - {kind: pool, size: 2}
  - {kind: conv, width: c2}
"""


def _file(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "own.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_user_adds_a_skeleton_without_python(tmp_path: Path) -> None:
    skeletons = load_skeletons([_file(tmp_path, OWN)])
    assert skeletons[-1].name == "my-net"
    space = DrillSpace(skeletons)
    from tests.spaces_for_tests import random_points

    point = {**random_points(1)[0], "skeleton": "my-net", "c1": 4, "c2": 6, "batch_norm": "none", "head": "gap"}
    assert count(space.model(point)).n_params == 4 * 25 + 6 * 4 * 9 + 60


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("width: c2", "width: c9", r"blocks\[2\].width must be 'c1'"),
        ("name: my-net", "name: a-runs", "is taken by another skeleton"),
        ("name: my-net", "name: My Net", "name string should match pattern"),
        ("size: 2", "size: 4, stride: 2", r"blocks\[1\].stride is not a known key"),
        ("kernel: 5", "kernel: 4", r"blocks\[0\].kernel must be odd, got 4"),
        ("width: c2", "width: c2, residual: true", "residual needs padding"),
        ("kernel: 5", "kernel: 5, padding: 4", "padding must be at most"),
        ("  - {kind: conv, width: c1, kernel: 5}\n", "  - {kind: pool, size: 4}\n" * 3, "needs an image larger"),
    ],
)
def test_malformed_skeletons_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in OWN
    with pytest.raises(StepError, match=message) as caught:
        load_skeletons([_file(tmp_path, OWN.replace(old, new, 1))])
    assert "own.yaml: " in str(caught.value)


def test_a_skeleton_without_convolution_is_refused(tmp_path: Path) -> None:
    text = OWN.replace("  - {kind: conv, width: c1, kernel: 5}\n", "").replace("  - {kind: conv, width: c2}\n", "")
    with pytest.raises(StepError, match="at least one convolution"):
        load_skeletons([_file(tmp_path, text)])


def test_budget_below_the_smallest_says_the_minimum() -> None:
    skeletons = load_skeletons()
    least = min(count(smallest_model(s, 10)).n_params for s in skeletons)
    check_budget(skeletons, Budget(max_params=least), 10)
    with pytest.raises(BudgetError, match=f"has {least:,} parameters"):
        check_budget(skeletons, Budget(max_params=least - 1), 10)
    with pytest.raises(BudgetError, match="--max-macs 1000"):
        check_budget(skeletons, Budget(max_params=10_000, max_macs=1000), 10)
    with pytest.raises(BudgetError, match="--max-activations 100"):
        check_budget(skeletons, Budget(max_params=10_000, max_activations=100), 10)


def test_smallest_is_the_smallest() -> None:
    from tests.spaces_for_tests import SPACE, random_points

    floors = {s.name: count(smallest_model(s, 10)).n_params for s in SPACE.skeletons}
    least = {f"c{i}": 4 for i in range(1, 9)}
    for point in random_points(300):
        assert count(SPACE.model({**point, **least})).n_params >= floors[point["skeleton"]]


def test_committed_schema_is_current() -> None:
    assert (FOLDER / "skeleton.schema.json").read_text(encoding="utf-8") == skeleton_schema()
    for skeleton in load_skeletons():
        assert Skeleton.model_validate_json(json.dumps(skeleton.model_dump(mode="json"))) == skeleton
