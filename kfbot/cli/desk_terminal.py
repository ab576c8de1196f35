"""The work behind `kfbot desk`: lists, transcripts, and the interactive desk."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from kfbot.cli.chatting import open_terminal, typed
from kfbot.cli.client import Client
from kfbot.cli.output import one_line, say, say_json, say_table, since
from kfbot.cli.session import reach
from kfbot.errors import ServerRefused
from kfbot.settings import Settings

POLL_SECONDS = 2.0
_REASONS = {
    "asked_for_person": "wants a person",
    "unsure": "bot not sure",
    "not_helpful": "answer did not help",
    "repeated_question": "asks again",
    "keyword": "keyword",
    "angry": "angry",
    "reopened": "not solved after all",
    "error": "something failed",
    "model_refused": "the model found no answer in the passages",
    "taken_by_agent": "taken by an agent",
    "action_failed": "an action failed",
    "action_stuck": "an action lacks what it needs",
}
_HELP = """\
open ID      read a conversation      list         who waits
reply TEXT   write to the customer    note TEXT    a word to other agents
claim        take it                  handback     the bot goes on
resolve      the matter is settled    back         to the list
quit         leave the desk           help         this"""


async def work(settings: Settings, agent: str) -> None:
    """Work at the desk until `quit` or the end of input.

    Raises:
        AlreadyRunning: Another command is working in the data folder.
    """
    async with reach(settings, talks=True, publish=True) as bot:
        terminal = open_terminal(settings)
        await TerminalDesk(bot, agent).run(typed(terminal, poll_seconds=POLL_SECONDS))


async def list_waiting(settings: Settings, *, as_json: bool) -> None:
    """Print who waits for an agent or talks to one."""
    async with reach(settings, talks=True) as bot:
        listed = await bot.conversations()
    if as_json:
        say_json(listed)
    else:
        _say_list(listed)


async def show(settings: Settings, number: int, *, as_json: bool) -> None:
    """Print one conversation.

    Raises:
        ServerRefused: There is none of this number.
    """
    async with reach(settings, talks=True) as bot:
        found = await bot.conversation(number)
    if as_json:
        say_json(found)
    else:
        _say_conversation(found)


async def change(settings: Settings, number: int, change: str, agent: str) -> None:
    """Claim, hand back or resolve a conversation.

    Raises:
        ServerRefused: It is not in the state for that.
    """
    async with reach(settings, talks=True) as bot:
        _say_state(await bot.change(number, change, agent))


async def reply(settings: Settings, number: int, agent: str, text: str, *, internal: bool) -> None:
    """Write to the customer, or a note.

    Raises:
        ServerRefused: Another agent has the conversation, or there is none of this number.
    """
    async with reach(settings, talks=True) as bot:
        await bot.reply(number, agent, text, internal=internal)
    say("noted" if internal else "sent")


class TerminalDesk:
    """The interactive desk; what is new appears while it waits for a command."""

    def __init__(self, bot: Client, agent: str) -> None:
        self._bot = bot
        self._agent = agent
        self._open: int | None = None
        self._seen = 0
        self._known: set[int] = set()
        self._commands: dict[str, Callable[[str], Awaitable[None]]] = {
            "open": self._open_one,
            "list": self._list,
            "back": self._back,
            "reply": self._reply,
            "note": self._note,
            "claim": self._change("claim"),
            "handback": self._change("handback"),
            "resolve": self._change("resolve"),
            "help": self._help,
        }

    async def run(self, lines: AsyncIterator[str | None]) -> None:
        """Do what is typed; None in `lines` is a moment to look for news."""
        say(f"Desk of {self._agent}. `help` lists the commands.")
        await self._safely(self._list, "")
        self._prompt()
        async for line in lines:
            if line is None:
                await self._safely(self._look, "")
                continue
            word, _, rest = line.partition(" ")
            if word in ("quit", "exit"):
                return
            await self._safely(self._commands.get(word, self._help), rest.strip())
            self._prompt()

    async def _safely(self, command: Callable[[str], Awaitable[None]], rest: str) -> None:
        try:
            await command(rest)
        except ServerRefused as error:
            say(f"kfbot: {error}", style="red")

    def _prompt(self) -> None:
        if sys.stdin.isatty():
            name = "desk" if self._open is None else str(self._open)
            sys.stdout.write(f"{name}> ")
            sys.stdout.flush()

    async def _list(self, rest: str) -> None:
        listed = await self._bot.conversations()
        self._known = {one["id"] for one in listed}
        _say_list(listed)

    async def _look(self, rest: str) -> None:
        """Print what is new: who came to wait, and what was said in the open conversation."""
        listed = await self._bot.conversations()
        news = [one for one in listed if one["id"] not in self._known]
        self._known = {one["id"] for one in listed}
        for one in news:
            say(f"new: {_headline(one)}", style="bold")
        said = await self._new_messages()
        if news or said:
            self._prompt()

    async def _new_messages(self) -> bool:
        if self._open is None:
            return False
        found = await self._bot.conversation(self._open, after=self._seen)
        for message in found["transcript"]:
            _say_message(message)
            self._seen = message["id"]
        return bool(found["transcript"])

    async def _open_one(self, rest: str) -> None:
        if not (rest.isascii() and rest.isdecimal()):
            say("open what? For example: open 7")
            return
        found = await self._bot.conversation(int(rest))
        self._open = int(rest)
        self._seen = max((message["id"] for message in found["transcript"]), default=0)
        _say_conversation(found)

    async def _back(self, rest: str) -> None:
        self._open = None
        await self._list("")

    async def _reply(self, rest: str) -> None:
        await self._write(rest, internal=False)

    async def _note(self, rest: str) -> None:
        await self._write(rest, internal=True)

    async def _write(self, text: str, *, internal: bool) -> None:
        if (number := self._opened()) is None:
            return
        if not text:
            say("write what? For example: reply We will call you back today.")
            return
        await self._bot.reply(number, self._agent, text, internal=internal)
        await self._new_messages()

    def _change(self, change: str) -> Callable[[str], Awaitable[None]]:
        async def command(rest: str) -> None:
            if (number := self._opened()) is not None:
                _say_state(await self._bot.change(number, change, self._agent))
                await self._new_messages()

        return command

    def _opened(self) -> int | None:
        if self._open is None:
            say("open a conversation first, for example: open 7")
        return self._open

    async def _help(self, rest: str) -> None:
        say(_HELP)


def _say_list(listed: list[dict[str, Any]]) -> None:
    if not listed:
        say("Nobody waits.")
        return
    rows = [
        (
            str(one["id"]),
            one["channel"],
            one["agent"] or "waiting",
            _reason(one),
            since(one["case"]["opened_at"] if one["case"] else one["updated_at"]),
            one_line(one["last_text"]),
        )
        for one in listed
    ]
    say_table(("id", "channel", "who", "reason", "for", "last words"), rows)


def _say_conversation(found: dict[str, Any]) -> None:
    _say_state(found)
    for message in found["transcript"]:
        _say_message(message)
    case = found["case"]
    if case is not None:
        say(f"({_reason(found)}, {since(case['opened_at'])})", style="dim")
        if case["draft"]:
            say(f"The bot would have said: {case['draft']}", style="dim")


def _say_state(state: dict[str, Any]) -> None:
    words = {
        "bot": "the bot answers",
        "waiting": "waits for an agent",
        "agent": f"with {state['agent']}",
        "closed": "closed",
    }
    say(f"Conversation {state['id']} ({state['channel']}): {words[state['state']]}", style="bold")


def _say_message(message: dict[str, Any]) -> None:
    name = message["name"] or message["role"]
    mark = " (note)" if message["internal"] else ""
    say(f"{one_line(name)}{mark}: {message['text']}")


def _headline(one: dict[str, Any]) -> str:
    return f"{one['id']} ({one['channel']}, {_reason(one)}): {one_line(one['last_text'])}"


def _reason(one: dict[str, Any]) -> str:
    case = one["case"]
    return _REASONS.get(case["reason"], case["reason"]) if case else ""
