"""What is missing is told with a command that installs it."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path

import pytest

from kfbot import extras

CHECKOUT = Path(__file__).resolve().parents[2]


def test_the_command_of_a_checkout_works_from_anywhere_and_takes_the_pins() -> None:
    command = shlex.split(extras.how_to_install("slack"))
    assert Path(command[0]).is_absolute()
    assert command[1:4] == ["-m", "pip", "install"]
    assert Path(command[command.index("-c") + 1]) == CHECKOUT / "constraints.txt"
    assert command[-2:] == ["-e", f"{CHECKOUT}[slack]"]
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "slack" in project["optional-dependencies"]


def test_an_installed_package_is_named_as_such(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(extras, "_CHECKOUT", tmp_path)
    assert extras.how_to_install("slack") == "pip install 'kfbot[slack]'"
