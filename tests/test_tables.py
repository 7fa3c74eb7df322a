"""Tables fit a narrow terminal without cutting a number or a name."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from drill_models.count import count
from drill_models.step_io import load_step
from search.console.tables import layer_rows, layer_table, new_table
from search.console.verdict_tables import verdict_table

BEST = Path(__file__).parent.parent / "studies" / "best"


def _printed(table: object, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    return out.getvalue()


def test_spare_columns_go_in_their_order_and_only_where_there_is_no_room() -> None:
    table = new_table("name", "first", "second", "kept", spare=("second", "first"))
    table.add_row("a-long-name-without-spaces", "11111", "22222", "33333")
    for width, here in ((80, {"1", "2", "3"}), (50, {"1", "3"}), (40, {"3"})):
        printed = _printed(table, width)
        assert {digit for digit in "123" if digit * 5 in printed} == here, width
        assert "a-long-name-without-spaces" in printed
    assert "…" not in _printed(table, 20)  # the name is folded
    assert "33333" in _printed(table, 20)


def test_nothing_is_cut_where_columns_were_left_out() -> None:
    table = new_table("name", "first", "second", "third", "kept", spare=("first", "second"))
    table.add_row("n", *(digit * 20 for digit in "1234"))
    for width, here in ((100, "1234"), (80, "234"), (60, "34")):
        printed = _printed(table, width)
        assert [digit for digit in "1234" if digit * 20 in printed] == list(here), width


@pytest.mark.parametrize("width", [40, 50, 60, 100])
def test_no_number_of_a_layer_is_cut(width: int) -> None:
    counted = count(load_step(BEST / "10000.yaml").model)
    whole = {cell for row in layer_rows(counted) for cell in row[1:]} | {
        f"{counted.n_params:,}",
        f"{counted.macs:,}",
    }
    printed = _printed(layer_table(counted), width)
    numbers = re.findall(r"(?<=  )[\dx,]*\d[\dx,]*", printed)
    assert len(numbers) > len(counted.layers)
    assert set(numbers) <= whole


def test_a_narrow_table_keeps_what_is_said_below_it() -> None:
    table = new_table("name", "first", "second", spare=("second",))
    table.caption = "what the names mean"
    table.add_row("n", "1" * 20, "2" * 20)
    assert "what the names mean; no room for second" in " ".join(_printed(table, 40).split())


@pytest.mark.parametrize("width", [60, 80, 160])
def test_a_verdict_is_legible(width: int) -> None:
    printed = _printed(verdict_table([load_step(BEST / "3000.yaml")]), width)
    assert "…" not in printed
    assert "99.42%" in printed
    # What is said below is of the columns that are there, and which are not.
    said = " ".join(printed.split())
    assert ("no room for 95 %" in said) == (width < 160)
    assert ("95 %: confidence" in said) == (width == 160)
    assert "* of the last three or five epochs" in said
    assert max(map(len, printed.splitlines())) <= width
