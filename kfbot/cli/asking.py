"""`kfbot ask`: one question, one answer."""

from __future__ import annotations

from typing import Any

from kfbot.cli.output import say, say_json, say_sources
from kfbot.cli.session import reach
from kfbot.markup import unmarked
from kfbot.settings import Settings


async def ask(
    settings: Settings, question: str, conversation: str | None, *, as_json: bool
) -> None:
    """Print the answer with its sources, or its data as JSON.

    Raises:
        ServerRefused: The question was not answered.
    """
    async with reach(settings, talks=conversation is not None, load=True) as bot:
        data = await bot.ask(question, conversation)
    if as_json:
        say_json(data)
    else:
        _say_answer(data)


def _say_answer(data: dict[str, Any]) -> None:
    if data["decision"] == "silent":
        say("(An agent has this conversation; the bot is silent.)", style="dim")
        return
    say(unmarked(data["text"]))
    for number, choice in enumerate(data["choices"], 1):
        say(f"  {number}. {choice['label']}")
    say_sources(data["citations"])
