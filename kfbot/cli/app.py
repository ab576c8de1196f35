"""The commands at the top; each is a few lines over a room."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kfbot import __version__
from kfbot.cli import (
    calibrate,
    customers,
    desk,
    evaluate,
    events,
    knowledge,
    load,
    model,
    replay,
    users,
)
from kfbot.cli.options import AsJson, SettingsFile, as_text, run_with

app = typer.Typer(
    name="kfbot",
    help="Customer-service bot: answers from your own documents, and gets a person when unsure.",
    # Plain help: it starts fast, and examples keep their lines.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
database = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kfbot {__version__}")
        raise typer.Exit


@app.callback(
    epilog="""\b
Examples:
  kfbot serve                            the bot at http://127.0.0.1:8080/chat
  kfbot ask "How do I return a parcel?"  one answer, with its source
  kfbot check --settings shop.toml       is everything as it should be?

Every command takes --settings FILE (or the variable KFBOT_SETTINGS)."""
)
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Customer-service bot: answers from your own documents, and gets a person when unsure."""


@app.command()
def serve(
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Instead of [web] port; 0: any free one."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Instead of [web] host.")] = None,
    settings: SettingsFile = None,
) -> None:
    """Run the bot: channels, web chat, HTTP API.

    It stops gracefully at Ctrl-C or SIGTERM; a second one stops it at once.

    \b
    Examples:
      kfbot serve
      kfbot serve --port 9000 --settings shop.toml
    """
    from kfbot.cli import serving

    given: dict[str, Any] = {"port": port, "host": host}
    web = {name: value for name, value in given.items() if value is not None}
    run_with(settings, serving.serve, **({"web": web} if web else {}))


@app.command()
def chat(settings: SettingsFile = None) -> None:
    """Talk to the bot in this terminal; /quit or Ctrl-D ends.

    \b
    Examples:
      kfbot chat
      kfbot chat --settings shop.toml
    """
    from kfbot.cli import chatting

    run_with(settings, chatting.chat)


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="What a customer would write.")],
    as_json: AsJson = False,
    conversation: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Take a full turn in a conversation of this name."),
    ] = None,
    settings: SettingsFile = None,
) -> None:
    """Answer one question.

    Without --conversation nothing is stored.

    \b
    Examples:
      kfbot ask "How do I return a parcel?"
      kfbot ask "怎么退货？" --json
      kfbot ask "And how long does it take?" --conversation test-1
    """
    from kfbot.cli import asking

    name = None if conversation is None else as_text(conversation)
    run_with(settings, lambda read: asking.ask(read, as_text(question), name, as_json=as_json))


@app.command()
def check(settings: SettingsFile = None) -> None:
    """Check that everything is as it should be.

    Looks at settings, channels, data, knowledge and model, and says what to do.

    \b
    Examples:
      kfbot check
      kfbot check --settings shop.toml
    """
    import asyncio

    from kfbot.cli import checking

    if not asyncio.run(checking.check(settings)):
        raise typer.Exit(1)


@database.callback()
def _database() -> None:
    """Upgrade the database, copy it, put a copy back.

    \b
    Examples:
      kfbot db upgrade
      kfbot db backup
      kfbot db restore var/backups/kfbot-20260105-093000.sqlite3
    """


@database.command()
def upgrade(
    app_role: Annotated[
        str | None,
        typer.Option(
            "--app-role",
            metavar="ROLE",
            help="PostgreSQL: let this role work as the bot, and only add to the audit log.",
        ),
    ] = None,
    settings: SettingsFile = None,
) -> None:
    """Bring the schema up to date; `serve` does it by itself.

    \b
    Examples:
      kfbot db upgrade --settings shop.toml
      kfbot db upgrade --app-role kfbot_app
    """
    from kfbot.cli import checking

    run_with(settings, lambda read: checking.upgrade(read, app_role))


@database.command()
def backup(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="A new file; else kfbot-<UTC time>.sqlite3 in backups/ of the data folder.",
        ),
    ] = None,
    settings: SettingsFile = None,
) -> None:
    """Copy the SQLite database into one file, also while a server runs.

    The copy is checked before it gets its name. For PostgreSQL it tells the command to use.

    \b
    Examples:
      kfbot db backup
      kfbot db backup /mnt/safe/kfbot.sqlite3 --settings shop.toml
    """
    from kfbot.cli import backing_up
    from kfbot.settings import load_settings

    backing_up.back_up(load_settings(settings), file)


@database.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `kfbot db backup` wrote.")],
    settings: SettingsFile = None,
) -> None:
    """Put a backup in the place of the SQLite database.

    kfbot must be stopped. The backup is checked first, and what is there now is kept in
    backups/. For PostgreSQL it tells the command to use.

    \b
    Examples:
      kfbot db restore var/backups/kfbot-20260105-093000.sqlite3
    """
    from kfbot.cli import backing_up
    from kfbot.settings import load_settings

    backing_up.restore(load_settings(settings), file)


app.add_typer(knowledge.app, name="knowledge")
app.add_typer(model.app, name="model")
app.add_typer(desk.app, name="desk")
app.add_typer(replay.app, name="replay")
app.add_typer(events.app, name="events")
app.command()(evaluate.evaluate)
app.command()(calibrate.calibrate)
app.command()(load.load)
app.add_typer(users.app, name="users")
app.add_typer(customers.app, name="customer")
app.add_typer(database, name="db")
