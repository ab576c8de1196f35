"""`kfbot replay`: events and messages that were given up; try them again or discard them."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kfbot.cli.options import AsJson, SettingsFile, as_text, run_with

if TYPE_CHECKING:
    from kfbot.cli.client import Client
    from kfbot.settings import Settings

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

_ID = re.compile(r"(in|out)-([0-9]{1,18})", re.ASCII)
_CHANGES = {"replay": "queued again", "discard": "discarded"}
#: Letters that are asked for at once.
_PAGE = 100


def _checked(letter: str) -> str:
    if not _ID.fullmatch(letter):
        raise typer.BadParameter(f"{letter!r} is no id such as in-12 or out-34")
    return letter


def _all_checked(letters: list[str] | None) -> list[str]:
    return [_checked(letter) for letter in letters or ()]


Letter = Annotated[str, typer.Argument(metavar="ID", callback=_checked, help="See `replay list`.")]
SomeLetters = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", callback=_all_checked, help="See `replay list`."),
]
Everything = Annotated[bool, typer.Option("--all", help="All of the list.")]
Channel = Annotated[
    str | None, typer.Option("--channel", metavar="NAME", help="Only of this channel.")
]
Kind = Annotated[
    Literal["in", "out"] | None,
    typer.Option("--kind", help="Only events that came in, or messages that were to go out."),
]


@app.callback()
def _replay() -> None:
    """What was given up: show it, run it again, discard it.

    Those are events that no turn could end, and messages that no platform took.

    \b
    Examples:
      kfbot replay list
      kfbot replay run out-34
    """


@app.command(name="list")
def list_(
    channel: Channel = None,
    kind: Kind = None,
    limit: Annotated[int, typer.Option(min=1, max=_PAGE, help="At most so many.")] = 50,
    before: Annotated[
        str | None, typer.Option(metavar="ID[,ID]", help="Go on behind these.")
    ] = None,
    as_json: AsJson = False,
    settings: SettingsFile = None,
) -> None:
    """Dead letters, the newest first.

    \b
    Examples:
      kfbot replay list
      kfbot replay list --channel shop --kind out
      kfbot replay list --json
    """
    query = _query(channel, kind) | {"limit": str(limit)} | ({"before": before} if before else {})
    run_with(settings, lambda read: _list(read, query, as_json=as_json))


@app.command()
def show(letter: Letter, as_json: AsJson = False, settings: SettingsFile = None) -> None:
    """One dead letter, with its whole text.

    \b
    Examples:
      kfbot replay show out-34
      kfbot replay show in-12 --json
    """
    run_with(settings, lambda read: _show(read, letter, as_json=as_json))


@app.command()
def run(
    letters: SomeLetters = None,
    everything: Everything = False,
    channel: Channel = None,
    kind: Kind = None,
    settings: SettingsFile = None,
) -> None:
    """Try dead letters again, in the order in which they came.

    An event is worked on before what waits in its conversation, but the bot does not answer
    where an agent has written since; a message is sent under the same id, so that a platform
    that took it after all can tell.

    \b
    Examples:
      kfbot replay run out-34 in-12
      kfbot replay run --all --channel shop
    """
    query = _query(channel, kind)
    _check_chosen(letters, everything, query)
    _change("replay", letters, query, settings)


@app.command()
def discard(
    letters: SomeLetters = None,
    everything: Everything = False,
    channel: Channel = None,
    kind: Kind = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    settings: SettingsFile = None,
) -> None:
    """Put dead letters aside: they are never tried again.

    In a terminal it asks first.

    \b
    Examples:
      kfbot replay discard out-34
      kfbot replay discard --all --channel shop --yes
    """
    query = _query(channel, kind)
    _check_chosen(letters, everything, query)
    if not yes and sys.stdin.isatty():
        which = ", ".join(letters or ("all", *query.values()))
        if not typer.confirm(f"Discard dead letters ({which})? They are never tried again."):
            raise typer.Exit(1)
    _change("discard", letters, query, settings)


def _query(channel: str | None, kind: str | None) -> dict[str, str]:
    named = {"channel": channel and as_text(channel), "kind": kind}
    return {name: value for name, value in named.items() if value is not None}


def _check_chosen(letters: list[str] | None, everything: bool, query: dict[str, str]) -> None:
    if everything == bool(letters):
        raise typer.BadParameter("name letters, or give --all: kfbot replay list shows them")
    if letters and query:
        raise typer.BadParameter("--channel and --kind go with --all")


def _change(
    change: str, letters: list[str] | None, query: dict[str, str], settings: SettingsFile
) -> None:
    if not run_with(settings, lambda read: _do(read, change, letters, query)):
        raise typer.Exit(1)


async def _list(settings: Settings, query: dict[str, str], *, as_json: bool) -> None:
    from kfbot.cli.output import one_line, say, say_json, say_table, since
    from kfbot.cli.session import reach

    async with reach(settings) as bot:
        found = await bot.dead_letters(query)
    if as_json:
        say_json(found)
        return
    if not found["letters"]:
        say("No dead letters.")
        return
    rows = [
        (
            one["id"],
            one["channel"],
            str(one["conversation"]),
            f"{since(one['at'])} ago",
            str(one["attempts"]),
            one_line(_reason(one), 80),
            one_line(one["text"]),
        )
        for one in found["letters"]
    ]
    say_table(("id", "channel", "conversation", "when", "attempts", "error", "text"), rows)
    if found["next"]:
        say(f"There are more: --before {found['next']}", style="dim")


async def _show(settings: Settings, letter: str, *, as_json: bool) -> None:
    from kfbot.cli.output import say, say_json, since
    from kfbot.cli.session import reach

    async with reach(settings) as bot:
        found = await bot.dead_letter(letter)
    if as_json:
        say_json(found)
        return
    say(f"{letter} ({found['channel']}, conversation {found['conversation']})", style="bold")
    say(f"type: {found['type'] or 'unknown'}")
    say(f"when: {found['at']}, {since(found['at'])} ago")
    say(f"attempts: {found['attempts']}")
    say(f"error: {_reason(found)}")
    if found["changed_hands"]:
        say("The conversation has changed hands since: it can only be discarded.", style="red")
    say()
    say(found["text"])


async def _do(
    settings: Settings, change: str, letters: list[str] | None, query: dict[str, str]
) -> bool:
    """Replay or discard, and tell what became of each; False if something could not be done."""
    from kfbot.cli.output import report, say
    from kfbot.cli.session import reach

    done = True
    async with reach(settings) as bot:
        chosen = letters or await _listed(bot, query)
        for letter in _in_order(chosen):
            refused = await bot.change_dead_letter(letter, change)
            if refused is None:
                say(f"{letter}: {_CHANGES[change]}")
            else:
                report(f"kfbot: {refused}")
                done = False
    if not chosen:
        say("No dead letters.")
    return done


async def _listed(bot: Client, query: dict[str, str]) -> list[str]:
    """The ids of all letters that there are now."""
    letters: list[str] = []
    position: dict[str, str] = {}
    while True:
        found = await bot.dead_letters(query | position | {"limit": str(_PAGE)})
        letters += [one["id"] for one in found["letters"]]
        if not found["next"]:
            return letters
        position = {"before": found["next"]}


def _in_order(letters: Sequence[str]) -> list[str]:
    """As they came; what was to be said first, then what was still to be answered."""

    def place(letter: str) -> tuple[bool, int]:
        kind, number = letter.split("-")
        return kind == "in", int(number)

    return sorted(set(letters), key=place)


def _reason(letter: dict[str, Any]) -> str:
    """Why it was given up."""
    if letter["error"] or not letter["crashes"]:
        return str(letter["error"])
    return f"its process died {letter['crashes']} times"
