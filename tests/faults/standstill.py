"""A standstill: armed by a test, taken by the first process that passes the chosen place."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

#: accepted: stored, not yet acknowledged.
#: mid-turn: decided, nothing of it written.
#: in-commit: written, in a transaction that is still open.
#: begun: the right to send was just checked.
#: committed: the adapter is called, and has done nothing.
Point = Literal["accepted", "mid-turn", "in-commit", "begun", "committed"]


class Standstill:
    """Files in a folder that the test and all its servers share; a rename decides who is first."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._armed = folder / "armed"
        self._taken = folder / "taken"
        self._go = folder / "go"

    def arm(self) -> None:
        """Let the next marked message that passes stand still, once."""
        self._taken.unlink(missing_ok=True)
        self._go.unlink(missing_ok=True)
        self._armed.touch()

    def holder(self) -> str:
        """The name of the server that stands still; empty until one does."""
        return self._taken.read_text() if self._taken.exists() else ""

    def let_go(self) -> None:
        """Let what stands still go on."""
        self._go.touch()

    async def stand(self, name: str) -> None:
        """Stand still until let go, if it is armed: without blocking what else goes on."""
        if not self._take(name):
            return
        # Another process says go; there is no event to wait for.
        while not self._go.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    def _take(self, name: str) -> bool:
        mine = self._armed.with_name(f"taken-by-{name}")
        try:
            self._armed.rename(mine)
        except FileNotFoundError:
            return False
        mine.write_text(name)
        mine.rename(self._taken)
        return True
