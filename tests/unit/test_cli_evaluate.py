"""`kfbot evaluate`: what it demands, and how it fits its tables to a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kfbot.cli import run
from kfbot.cli.evaluate import _check, _fitting
from kfbot.errors import KfbotError


def numbers(wrong: float | None, *demands: tuple[str, float | None, bool]) -> dict[str, Any]:
    require = [{"demand": demand, "value": value, "met": met} for demand, value, met in demands]
    return {"all": {"wrong_per_100_answers": wrong}, "require": require}


def test_every_demand_that_is_not_met_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    failed = numbers(
        7.5, ("hit@1>=0.9", 0.8, False), ("wrong<=9", 7.5, True), ("ece<1", None, False)
    )
    with pytest.raises(KfbotError, match="--require ece<1 is not met: no question tells"):
        _check(failed, 5)
    assert capsys.readouterr().err.splitlines() == [
        "kfbot: 7.5 of 100 answers were wrong, more than --max-wrong 5",
        "kfbot: --require hit@1>=0.9 is not met: it is 0.8",
    ]


def test_demands_that_are_met_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    _check(numbers(5.0, ("hit@1>=0.9", 0.9, True)), 5)
    _check(numbers(None), 5)
    assert capsys.readouterr() == ("", "")


def test_unknown_measure_is_told_with_all_that_there_are_before_anything_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "kfbot.toml"
    settings.write_text('[knowledge.shop]\nsources = ["docs"]\n')
    arguments = ["evaluate", "--knowledge", "absent", "--questions", "absent"]
    assert run([*arguments, "--require", "luck>=1", "--settings", str(settings)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("kfbot: --require luck>=1: no measure luck; there are right_decision,")
    assert said.count("\n") == 1


def test_table_that_is_too_wide_is_put_below_itself() -> None:
    columns, rows = ("", "all", "en", "zh"), [("hit@1", "90.0 %", "91.0 %", "89.0 %")]
    assert [part.columns for part in _fitting(columns, rows, 40)] == [("", "all", "en", "zh")]
    parts = _fitting(columns, rows, 20)
    assert [part.columns for part in parts] == [("", "all", "en"), ("", "zh")]
    assert parts[1].rows == [("hit@1", "89.0 %")]
    # However narrow it is, every column is shown.
    assert len(_fitting(columns, rows, 5)) == 3
