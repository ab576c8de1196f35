"""`kfbot customer`: what is kept of one customer, in a file, and its erasure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kfbot.cli.options import AsJson, SettingsFile, as_text, run_with

if TYPE_CHECKING:
    from kfbot.settings import Settings

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Channel = Annotated[str, typer.Argument(metavar="CHANNEL", help="See `customer list`.")]
User = Annotated[str, typer.Argument(metavar="ID", help="As the platform calls them.")]


@app.callback()
def _customer() -> None:
    """What is kept of customers: list, export, erase.

    \b
    Examples:
      kfbot customer list --search "Ann Lee"
      kfbot customer export telegram 7421 --out ann.json
      kfbot customer erase telegram 7421
    """


@app.command(name="list")
def list_(
    channel: Annotated[
        str | None, typer.Option("--channel", metavar="NAME", help="Only of this channel.")
    ] = None,
    search: Annotated[
        str | None, typer.Option("--search", metavar="TEXT", help="A part of name or id.")
    ] = None,
    conversation: Annotated[
        int | None,
        typer.Option("--conversation", metavar="ID", min=1, help="Who wrote in this one."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most so many.")] = 50,
    before: Annotated[
        int | None, typer.Option(metavar="NUMBER", min=1, help="Go on behind this one.")
    ] = None,
    as_json: AsJson = False,
    settings: SettingsFile = None,
) -> None:
    """Who wrote, the newest first.

    \b
    Examples:
      kfbot customer list --channel telegram
      kfbot customer list --conversation 12
    """
    given = {
        "channel": channel,
        "search": search,
        "conversation": conversation,
        "before": before,
        "limit": limit,
    }
    query = {name: as_text(str(value)) for name, value in given.items() if value is not None}
    run_with(settings, lambda read: _list(read, query, as_json=as_json))


@app.command()
def export(
    channel: Channel,
    user: User,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="A new file; else standard output."),
    ] = None,
    settings: SettingsFile = None,
) -> None:
    """Everything that is kept of one customer, as JSON.

    It says where else copies may be.

    \b
    Example:
      kfbot customer export telegram 7421 --out ann.json
    """
    run_with(settings, lambda read: _export(read, as_text(channel), as_text(user), out))


@app.command()
def erase(
    channel: Channel,
    user: User,
    entries: Annotated[
        bool,
        typer.Option(
            "--entries", help="Also entries of knowledge bases that were made of their words."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
    settings: SettingsFile = None,
) -> None:
    """Remove everything that is kept of one customer.

    It cannot be undone. What breaks off goes on when it is run again. It says what it cannot reach.

    \b
    Examples:
      kfbot customer erase telegram 7421
      kfbot customer erase telegram 7421 --entries --yes
    """
    channel, user = as_text(channel), as_text(user)
    if not yes:
        typer.confirm(f"Erase everything of {user} on {channel}?", abort=True, err=True)
    run_with(settings, lambda read: _erase(read, channel, user, entries=entries, as_json=as_json))


async def _list(settings: Settings, query: dict[str, str], *, as_json: bool) -> None:
    from kfbot.cli.output import one_line, say, say_json, say_table, since
    from kfbot.cli.session import reach

    async with reach(settings) as bot:
        found = await bot.customers(query)
    if as_json:
        say_json(found)
        return
    if not found["customers"]:
        say("Nobody.")
        return
    rows = [
        (
            str(one["number"]),
            one["channel"],
            one["id"],
            one_line(one["name"]),
            f"{since(one['known_since'])} ago",
        )
        for one in found["customers"]
    ]
    say_table(("number", "channel", "id", "name", "first seen"), rows)
    if found["next"]:
        say(f"There may be more: --before {found['next']}", style="dim")


async def _export(settings: Settings, channel: str, user: str, out: Path | None) -> None:
    import json
    import os

    from kfbot.cli.output import report, say, say_json
    from kfbot.cli.session import reach
    from kfbot.errors import SettingsError

    async with reach(settings) as bot:
        found = await bot.export_customer(channel, user)
    if out is None:
        say_json(found)
        return
    text = json.dumps(found, ensure_ascii=False, indent=2).encode("utf-8", "backslashreplace")
    try:
        # For its owner alone.
        with os.fdopen(os.open(out, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(text + b"\n")
    except FileExistsError:
        raise SettingsError(f"{out} exists already: name another file") from None
    except OSError as error:
        raise SettingsError(f"{out} cannot be written: {error.strerror}") from error
    say(f"{out}: {len(found['conversations'])} conversations, {len(text) / 1000:.0f} kB")
    for line in _left(found["copies"]):
        report(line)


async def _erase(
    settings: Settings, channel: str, user: str, *, entries: bool, as_json: bool
) -> None:
    from kfbot.cli.output import one_line, say, say_json
    from kfbot.cli.session import reach

    async with reach(settings) as bot:
        done = await bot.erase_customer(channel, user, entries=entries)
    if as_json:
        say_json(done)
        return
    say(
        f"Customer {done['customer']['number']} erased: {done['conversations']} conversations,"
        f" {done['redacted']} more in which others wrote too, {sum(done['rows'].values())} rows."
    )
    if done["wrote_meanwhile"]:
        say("They have written meanwhile: that is a new conversation, and stays.")
    if done["not_compacted"]:
        say(f"The database file may still hold what was deleted: {done['not_compacted']}")
    gone = {one["proposal_id"] for one in done["entries_removed"]}
    for one in done["entries"]:
        state = "removed" if one["proposal_id"] in gone else "stays, a person approved it"
        name = f"{one['knowledge_base']}/{one['entry_id']}"
        say(f"Entry {name} was made of their words, and {state}: {one_line(one['question'])}")
    for line in _left(done):
        say(line)


def _left(copies: dict[str, Any]) -> list[str]:
    """What is not reached, a line each."""
    held = {True: "holds them", False: "does not hold them", None: "may hold them"}
    files = [f"Backup {one['file']}: {held[one['holds']]}" for one in copies["backups"]]
    return [*files, *(f"Not reached: {one}" for one in copies["elsewhere"])]
