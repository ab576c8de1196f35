"""What a load run says: percentiles by nearest rank, rates, and nothing made of nothing."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfbot.cli.load_measuring import (
    COLUMNS,
    Result,
    Tally,
    percentile,
    remarks,
    result_data,
    table_rows,
)


@given(st.lists(st.floats(0, 1000), min_size=1), st.sampled_from([1.0, 50.0, 95.0, 99.0, 100.0]))
def test_a_percentile_is_the_least_that_so_many_do_not_exceed(
    values: list[float], percent: float
) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(one <= found for one in values) >= len(values) * percent / 100
    assert sum(one < found for one in values) < max(len(values) * percent / 100, 1)


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def result() -> Result:
    """Ten seconds on two lines, one of which only acknowledges."""
    answers = [number / 100 for number in range(1, 101)]
    crm = Tally(offered=101, taken=100, acks=[0.01] * 100, answers=answers, unanswered=0)
    crm.refusals = Counter({"status 503": 2, "TimeoutError": 1})
    return Result({"crm": crm, "elsewhere": Tally(offered=10, taken=10, acks=[0.02])}, 10, 2.5, 0.1)


def test_all_lines_together_are_counted_once() -> None:
    data = result_data(result())
    assert data["total"]["offered"] == 111
    assert data["total"]["answered"] == 100
    assert data["channels"]["crm"]["offered_per_second"] == 10.1
    assert data["channels"]["crm"]["answered_per_second"] == 8.0
    assert data["channels"]["crm"]["answer_ms"] == {
        "p50": 500, "p95": 950, "p99": 990, "max": 1000,
    }  # fmt: skip
    assert data["channels"]["elsewhere"]["answer_ms"] is None
    assert data["channels"]["crm"]["refusals"] == {"status 503": 2, "TimeoutError": 1}


def test_the_table_has_a_row_for_each_line_and_one_for_all() -> None:
    rows = table_rows(result())
    assert [row[0] for row in rows] == ["crm", "elsewhere", "all"]
    assert {len(row) for row in rows} == {len(COLUMNS)}
    assert rows[0][-4:] == ["500", "950", "990", "1000"]
    assert rows[1][-4:] == ["–"] * 4


def test_what_was_not_taken_and_how_late_the_driver_was_is_said() -> None:
    first, last = remarks(result())
    assert first == "Not taken at first: 2 × status 503, 1 × TimeoutError"
    assert "2.5 s later" in last
    assert "late by 100 ms" in last
