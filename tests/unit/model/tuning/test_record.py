"""What the record in a tuned model's folder says to those who want to use it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kfbot.model import serving
from kfbot.model.serving import Served
from kfbot.model.tuning.record import warning_of, write_record


def folder(path: Path, verdict: str, *, finished: bool = True) -> Path:
    write_record(path, {"base_sha256": "", "finished": finished, "verdict": verdict})
    return path


def test_a_model_that_got_worse_is_warned_of(tmp_path: Path) -> None:
    assert "is NOT FIT to answer customers" in warning_of(folder(tmp_path, "worse"))


@pytest.mark.parametrize("verdict", ["not worse", "not measured"])
def test_nothing_is_said_of_others(tmp_path: Path, verdict: str) -> None:
    assert warning_of(folder(tmp_path, verdict)) == ""


def test_nothing_is_known_of_folders_that_others_made(tmp_path: Path) -> None:
    assert warning_of(tmp_path) == ""


def test_a_tuning_that_was_broken_off_is_warned_of(tmp_path: Path) -> None:
    assert "--resume" in warning_of(folder(tmp_path, "not measured", finished=False))


def test_who_serves_it_is_warned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "merge_adapter", lambda *given: (tmp_path, ""))
    served, said = Served(model="m", adapter=folder(tmp_path, "worse")), list[str]()
    assert serving._folder(served, tmp_path, said.append) == tmp_path
    assert len(said) == 1
    assert said[0].startswith(f"WARNING: {tmp_path} is NOT FIT")
