"""What `kfbot check` finds: one line each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table; only "wrong" stops the bot."""

    what: str
    state: State
    text: str
