"""How an optional part is installed."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

#: A checkout; elsewhere the package was installed from a file or an index.
_CHECKOUT = Path(__file__).resolve().parent.parent


def how_to_install(extra: str) -> str:
    """The command that installs an extra of pyproject.toml, as it can be pasted into a shell."""
    constraints = _CHECKOUT / "constraints.txt"
    if not constraints.is_file():
        return f"pip install 'kfbot[{extra}]'"
    pip = [sys.executable, "-m", "pip", "install", "-c", str(constraints)]
    return shlex.join([*pip, "-e", f"{_CHECKOUT}[{extra}]"])
