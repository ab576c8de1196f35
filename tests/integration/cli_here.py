"""Commands in this very process, for tests of what they say; `test_cli` starts real ones."""

from __future__ import annotations

import io
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

from kfbot.cli import run


def kfbot(folder: Path, *arguments: str, status: int = 0) -> str:
    """Run a command with the settings in a folder; what it printed, or complained of."""
    said, complained = io.StringIO(), io.StringIO()
    settings = {"KFBOT_SETTINGS": str(folder / "kfbot.toml")}
    with mock.patch.dict(os.environ, settings), redirect_stdout(said), redirect_stderr(complained):
        ended = run(list(arguments))
    assert ended == status, complained.getvalue()
    assert "Traceback" not in complained.getvalue()
    return said.getvalue() if status == 0 else complained.getvalue()


def kfbot_json(folder: Path, *arguments: str) -> Any:
    """Run a command that prints JSON."""
    return json.loads(kfbot(folder, *arguments, "--json"))
