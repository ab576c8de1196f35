"""`kfbot chat`: a customer's conversation in the terminal."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

from kfbot.adapter import ChannelAdapter
from kfbot.channels import open_channel
from kfbot.cli.client import Client
from kfbot.cli.output import report
from kfbot.cli.session import reach
from kfbot.errors import ServerRefused
from kfbot.messages import (
    Button,
    ButtonPressed,
    Citation,
    ConversationId,
    MessageReceived,
    OutboundMessage,
    Sender,
)
from kfbot.settings import Settings

#: Words of an agent are looked for so often.
POLL_SECONDS = 2.0
_LEAVES = ("/quit", "/exit")


async def chat(settings: Settings) -> None:
    """Talk until the end of input.

    Raises:
        AlreadyRunning: Another command is working in the data folder.
    """
    async with reach(settings, talks=True, publish=True, load=True) as bot:
        report("Ask something; /quit or Ctrl-D ends.")
        await TerminalChat(bot, open_terminal(settings)).run()


def open_terminal(settings: Settings) -> ChannelAdapter:
    """The terminal: `listen` gives what is typed, `send` prints."""
    return open_channel("terminal", {"platform": "console"}, settings)


async def typed(terminal: ChannelAdapter, *, poll_seconds: float) -> AsyncIterator[str | None]:
    """What is typed, line by line; None whenever nothing was typed for a while."""
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    async def listen() -> None:
        async for event in terminal.listen():
            if isinstance(event, MessageReceived):
                lines.put_nowait(event.text)
            elif isinstance(event, ButtonPressed):
                lines.put_nowait(event.token)
        lines.put_nowait(None)

    listening = asyncio.create_task(listen(), name="terminal")
    try:
        while True:
            try:
                async with asyncio.timeout(poll_seconds):
                    line = await lines.get()
            except TimeoutError:
                yield None
                continue
            if line is None:
                return
            yield line
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


class TerminalChat:
    """One conversation between a terminal and a server."""

    def __init__(self, bot: Client, terminal: ChannelAdapter) -> None:
        self._bot = bot
        self._terminal = terminal
        self._name = f"terminal-{secrets.token_hex(6)}"
        self._number: int | None = None
        self._seen = 0

    async def run(self, *, poll_seconds: float = POLL_SECONDS) -> None:
        """Pass words on, both ways, until the end of input or "/quit"."""
        async for line in typed(self._terminal, poll_seconds=poll_seconds):
            if line is not None and line.strip() in _LEAVES:
                return
            try:
                choices = await self._say(line) if line is not None else []
                await self._show_new(choices)
            except ServerRefused as error:
                report(f"kfbot: {error}")

    async def _say(self, line: str) -> list[dict[str, Any]]:
        answer = await self._bot.ask(line, self._name)
        if answer["decision"] == "silent":
            report("(passed on to the agent)")
        choices: list[dict[str, Any]] = answer["choices"]
        return choices

    async def _show_new(self, choices: list[dict[str, Any]]) -> None:
        """Print what the bot and agents have said since; choices go with the last message."""
        if self._number is None:
            found = await self._bot.find_conversation(self._name)
            if found is None:
                return
            self._number = found["id"]
        state = await self._bot.conversation(self._number, after=self._seen)
        said = state["transcript"]
        self._seen = max([self._seen, *(message["id"] for message in said)])
        shown = [one for one in said if one["role"] != "customer" and not one["internal"]]
        for message in shown:
            buttons = choices if message is shown[-1] else []
            await self._terminal.send(_outbound(message, buttons))


def _outbound(message: dict[str, Any], choices: list[dict[str, Any]]) -> OutboundMessage:
    return OutboundMessage(
        conversation=ConversationId("terminal", "terminal"),
        id=str(message["id"]),
        text=message["text"],
        sender=Sender(message["name"], message["role"], message["name"]),
        citations=tuple(Citation(**citation) for citation in message["citations"]),
        # Pressing one says its words: the server knows them as the choice that it offered.
        buttons=tuple(Button(choice["label"], choice["label"]) for choice in choices),
    )
