"""Options that several commands share, and how commands run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from kfbot.settings import Settings

Result = TypeVar("Result")

SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        metavar="FILE",
        help="Settings file; else KFBOT_SETTINGS, else kfbot.toml beside the code.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Agent = Annotated[
    str, typer.Option("--agent", metavar="NAME", help="Your name, as the customer sees it.")
]
ConversationNumber = Annotated[int, typer.Argument(metavar="ID", min=1, help="See `desk list`.")]


def run_with(
    file: Path | None,
    work: Callable[[Settings], Coroutine[Any, Any, Result]],
    **overrides: object,
) -> Result:
    """Read the settings and do a command's work.

    Raises:
        SettingsError: Names every fault of the settings.
    """
    from kfbot.settings import load_settings

    return asyncio.run(work(load_settings(file, overrides=overrides)))


def as_text(argument: str) -> str:
    """An argument as valid Unicode: bytes of a foreign encoding become question marks."""
    return argument.encode("utf-8", "replace").decode()
