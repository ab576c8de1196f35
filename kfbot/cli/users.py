"""`kfbot users`: who may sign in at the desk."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from kfbot.agents import AgentRole
from kfbot.cli.options import AsJson, SettingsFile, as_text, run_with

if TYPE_CHECKING:
    from kfbot.settings import Settings
    from kfbot.store.agents import Member
    from kfbot.store.desk import DeskStores

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

#: Who did it, in the record of the desk.
_OPERATOR = "command"
Name = Annotated[str, typer.Argument(metavar="NAME", help="What they sign in with.")]
FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]


@app.callback()
def _users() -> None:
    """Agents, admins and viewers of the desk.

    \b
    Examples:
      kfbot users add anna --role admin --display-name "Anna Li"
      kfbot users list
    """


@app.command()
def add(
    name: Name,
    role: Annotated[AgentRole, typer.Option(help="viewer: reads only.")] = "agent",
    display_name: Annotated[str, typer.Option(help="What customers read; else NAME.")] = "",
    team: Annotated[list[str] | None, typer.Option(help="Can be given several times.")] = None,
    password_stdin: FromStdin = False,
    settings: SettingsFile = None,
) -> None:
    """Add somebody who may sign in at the desk; also while a server runs.

    \b
    Examples:
      kfbot users add anna --role admin --display-name "Anna Li"
      printf %s "$PASSWORD" | kfbot users add bo --password-stdin
    """
    shown, teams = as_text(display_name).strip(), [as_text(one) for one in team or ()]
    password = _password(from_stdin=password_stdin)
    login = as_text(name)
    run_with(settings, lambda read: _add(read, login, role, shown or login, teams, password))


@app.command(name="list")
def list_(as_json: AsJson = False, settings: SettingsFile = None) -> None:
    """Who may sign in at the desk.

    \b
    Examples:
      kfbot users list
      kfbot users list --json
    """
    run_with(settings, lambda read: _list(read, as_json=as_json))


@app.command()
def reset(name: Name, password_stdin: FromStdin = False, settings: SettingsFile = None) -> None:
    """Give somebody a new password.

    They are signed out everywhere, and a lock-out ends.

    \b
    Examples:
      kfbot users reset anna
    """
    password = _password(from_stdin=password_stdin)
    login = as_text(name)
    run_with(settings, lambda read: _reset(read, login, password))


def _password(*, from_stdin: bool) -> str:
    """The new password: typed twice at a terminal, or all of standard input.

    Raises:
        BadParameter: It is none.
    """
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise typer.BadParameter("no terminal to ask for the password at: use --password-stdin")
    typed: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return typed


async def _add(
    settings: Settings,
    name: str,
    role: AgentRole,
    display_name: str,
    teams: list[str],
    password: str,
) -> None:
    from kfbot.cli.output import say
    from kfbot.store.agents import NewAgent

    login = _login(name)
    hashed = await _hashed(password, login)
    new = NewAgent(
        name=login,
        display_name=display_name,
        role=role,
        password_hash=hashed,
        teams=tuple(teams),
    )
    async with _opened(settings) as stores:
        await stores.agents.add(new, by=_OPERATOR)
    say(f"{login} may sign in at /desk as {role}.")


async def _list(settings: Settings, *, as_json: bool) -> None:
    from kfbot.cli.output import say, say_json, say_table

    async with _opened(settings) as stores:
        members = await stores.agents.list()
    if as_json:
        say_json([_data(member) for member in members])
    elif not members:
        say("Nobody yet: kfbot users add NAME --role admin, or open /desk on this machine.")
    else:
        rows = [
            [*map(str, (_data(one) | {"active": "yes" if one.active else "no"}).values())]
            for one in members
        ]
        say_table(("name", "shown as", "role", "teams", "active"), rows)


async def _reset(settings: Settings, name: str, password: str) -> None:
    from kfbot.cli.output import say
    from kfbot.errors import Conflict

    login = _login(name)
    hashed = await _hashed(password, login)
    async with _opened(settings) as stores:
        changed = await stores.agents.change(login, {"password_hash": hashed}, by=_OPERATOR)
        if not changed:
            raise Conflict(f"there is no user {login}: see kfbot users list")
        await stores.sign_ins.unlock(login)
    say(f"{login} has a new password.")


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[DeskStores]:
    """The stores, also beside a running server; the schema is made where there is none."""
    from kfbot.opening import open_database
    from kfbot.places import owning
    from kfbot.store.clock import DatabaseClock
    from kfbot.store.desk import desk_stores
    from kfbot.store.engine import Database
    from kfbot.store.schema import find_schema

    if (await find_schema(settings.database_url)).state != "current":
        with owning(settings):
            async with open_database(settings):
                pass
    async with Database(settings.database_url) as database:
        clock = DatabaseClock(database)
        await clock.synchronise()
        yield desk_stores(database, clock)


def _login(name: str) -> str:
    from kfbot.agents import LOGIN_FORM, login_of

    login = login_of(name)
    if login is None:
        raise typer.BadParameter(LOGIN_FORM)
    return login


async def _hashed(password: str, name: str) -> str:
    from kfbot.passwords import Passwords, fault_of

    if fault := fault_of(password, name):
        raise typer.BadParameter(fault)
    return await Passwords().hash(password)


def _data(member: Member) -> dict[str, object]:
    agent = member.agent
    return {
        "name": agent.name,
        "display_name": agent.display_name,
        "role": agent.role,
        "teams": "-" if agent.teams is None else ", ".join(team.name for team in agent.teams),
        "active": member.active,
    }
