"""`kfbot desk`: where agents work in a terminal; every step is a command for scripts, too."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from kfbot.cli.options import (
    Agent,
    AsJson,
    ConversationNumber,
    SettingsFile,
    as_text,
    run_with,
)

if TYPE_CHECKING:
    from kfbot.settings import Settings

app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)


@app.callback()
def _desk(context: typer.Context, agent: Agent = "", settings: SettingsFile = None) -> None:
    """Talk to those who wait for a person.

    Without a command: interactive, and what is new appears by itself.

    \b
    Examples:
      kfbot desk --agent Anna
      kfbot desk list
      kfbot desk reply 7 "We will call you back today." --agent Anna
    """
    if context.invoked_subcommand is None:
        from kfbot.cli import desk_terminal

        run_with(settings, lambda read: desk_terminal.work(read, _name(agent)))
    elif agent or settings is not None:
        # They would be lost: the command would work under another name, or elsewhere.
        raise typer.BadParameter(
            f"options go behind the command: kfbot desk {context.invoked_subcommand} --settings …"
        )


@app.command(name="list")
def list_(as_json: AsJson = False, settings: SettingsFile = None) -> None:
    """Who waits or talks to an agent.

    \b
    Examples:
      kfbot desk list
      kfbot desk list --json
    """
    from kfbot.cli import desk_terminal

    run_with(settings, lambda read: desk_terminal.list_waiting(read, as_json=as_json))


@app.command()
def show(
    number: ConversationNumber, as_json: AsJson = False, settings: SettingsFile = None
) -> None:
    """The whole conversation, and what the bot would have said.

    \b
    Examples:
      kfbot desk show 7
      kfbot desk show 7 --json
    """
    from kfbot.cli import desk_terminal

    run_with(settings, lambda read: desk_terminal.show(read, number, as_json=as_json))


@app.command()
def claim(number: ConversationNumber, agent: Agent = "", settings: SettingsFile = None) -> None:
    """Take the conversation; the bot is silent from now on.

    \b
    Examples:
      kfbot desk claim 7 --agent Anna
    """
    run_with(settings, lambda read: _change(read, number, "claim", agent))


@app.command()
def reply(
    number: ConversationNumber,
    text: Annotated[str, typer.Argument(help="What the customer will read.")],
    note: Annotated[
        bool, typer.Option("--note", help="For other agents only; the customer never sees it.")
    ] = False,
    agent: Agent = "",
    settings: SettingsFile = None,
) -> None:
    """Write to the customer; whoever writes takes the conversation.

    \b
    Examples:
      kfbot desk reply 7 "We will call you back today."
      kfbot desk reply 7 "Called, no answer." --note
    """
    from kfbot.cli import desk_terminal

    words = as_text(text)
    run_with(
        settings,
        lambda read: desk_terminal.reply(read, number, _name(agent), words, internal=note),
    )


@app.command()
def handback(number: ConversationNumber, agent: Agent = "", settings: SettingsFile = None) -> None:
    """Let the bot answer again; the customer is told.

    \b
    Examples:
      kfbot desk handback 7
    """
    run_with(settings, lambda read: _change(read, number, "handback", agent))


@app.command()
def resolve(number: ConversationNumber, agent: Agent = "", settings: SettingsFile = None) -> None:
    """Close the matter; the customer is told.

    \b
    Examples:
      kfbot desk resolve 7
    """
    run_with(settings, lambda read: _change(read, number, "resolve", agent))


async def _change(settings: Settings, number: int, change: str, agent: str) -> None:
    from kfbot.cli import desk_terminal

    await desk_terminal.change(settings, number, change, _name(agent))


def _name(agent: str) -> str:
    """Who works at the desk: as given, else the name of the login."""
    if name := as_text(agent).strip():
        return name
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # No login name, as in some containers.
        return "agent"
