"""`kfbot model check`, on stand-ins for endpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kfbot.cli import run
from kfbot.model import checking
from kfbot.model.checking import Measured


def _settings(folder: Path, text: str) -> list[str]:
    file = folder / "kfbot.toml"
    file.write_text(text)
    return ["--settings", str(file)]


def _fit() -> Measured:
    return Measured(
        address="x", first_token_ms=50.0, stops_at_max_tokens=True, context_tokens=8000, right=6
    )


def test_without_a_chat_model_there_is_nothing_to_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["model", "check", *_settings(tmp_path, 'data_dir = "var"\n')]) == 1
    assert "there is no chat model: set [chat_model]" in capsys.readouterr().err


def test_an_endpoint_that_cannot_be_reached_is_told_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = '[chat_model]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "m"\n'
    assert run(["model", "check", "--json", *_settings(tmp_path, text)]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert "cannot be reached" in found["fault"]
    assert found["verdict"] == found["fault"]


def test_a_model_is_fit_only_where_nothing_speaks_against_it() -> None:
    assert _fit().verdict == ""
    few, endless, slow, short = _fit(), _fit(), _fit(), _fit()
    few.right, endless.stops_at_max_tokens = 4, False
    slow.first_token_ms, short.context_tokens = 9000.0, 0
    assert "4 of 6 questions right" in few.verdict
    assert "does not stop" in endless.verdict
    assert "customers wait 9 s" in slow.verdict
    assert "lower it" in short.verdict


def test_half_of_the_questions_are_in_each_language_and_some_have_no_answer() -> None:
    for language in ("en", "zh"):
        own = [one for one in checking._QUESTIONS if one.language == language]
        assert [bool(one.says) for one in own] == [True, True, False]
        _, text = checking._PASSAGES[own[0].language]
        assert all(one.says in text for one in own)
