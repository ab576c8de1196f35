"""`kfbot events`: which systems were told of what happened to conversations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kfbot.cli.options import AsJson, SettingsFile, run_with

if TYPE_CHECKING:
    from kfbot.settings import Settings

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

State = Annotated[
    Literal["pending", "delivered", "dead"] | None,
    typer.Option("--state", help="Only those that wait, went through, or were given up."),
]
Webhook = Annotated[
    str | None, typer.Option("--webhook", metavar="NAME", help="Only of this section.")
]


@app.callback()
def _events() -> None:
    """Systems that are told what happens: [event_webhooks.<name>].

    \b
    Examples:
      kfbot events test crm
      kfbot events list --state dead
      kfbot events retry 12
    """


@app.command(name="list")
def list_(
    state: State = None,
    webhook: Webhook = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most so many.")] = 50,
    before: Annotated[int | None, typer.Option(metavar="ID", help="Go on behind this one.")] = None,
    as_json: AsJson = False,
    settings: SettingsFile = None,
) -> None:
    """The log of deliveries, the newest first.

    \b
    Examples:
      kfbot events list
      kfbot events list --webhook crm --state dead
    """
    given = {"state": state, "webhook": webhook, "before": before, "limit": limit}
    query = {name: str(value) for name, value in given.items() if value is not None}
    run_with(settings, lambda read: _list(read, query, as_json=as_json))


@app.command()
def retry(
    delivery: Annotated[int, typer.Argument(metavar="ID", min=1, help="See `events list`.")],
    settings: SettingsFile = None,
) -> None:
    """Tell a system of an event once more, also if it was told before.

    \b
    Example:
      kfbot events retry 12
    """
    run_with(settings, lambda read: _retry(read, delivery))


@app.command(name="test")
def try_(
    webhook: Annotated[str, typer.Argument(metavar="NAME", help="Of the section.")],
    settings: SettingsFile = None,
) -> None:
    """Post a signed test event now, and say what is answered.

    \b
    Example:
      kfbot events test crm
    """
    run_with(settings, lambda read: _test(read, webhook))


async def _list(settings: Settings, query: dict[str, str], *, as_json: bool) -> None:
    from kfbot.cli.output import one_line, say, say_json, say_table, since
    from kfbot.cli.session import reach

    async with reach(settings) as bot:
        found = await bot.event_deliveries(query)
    if as_json:
        say_json(found)
        return
    if not found["deliveries"]:
        say("Nothing was to be told.")
        return
    heads = ("id", "webhook", "type", "conversation", "when", "state", "tries", "error")
    rows = [
        (
            str(one["id"]),
            one["webhook"],
            one["type"],
            str(one["body"]["data"]["conversation"]["id"]),
            f"{since(one['created_at'])} ago",
            one["state"],
            str(one["attempts"]),
            one_line(one["error"]),
        )
        for one in found["deliveries"]
    ]
    say_table(heads, rows)
    if found["next"]:
        say(f"There may be more: --before {found['next']}", style="dim")


async def _retry(settings: Settings, delivery: int) -> None:
    from kfbot.cli.output import say
    from kfbot.cli.session import reach

    async with reach(settings) as bot:
        await bot.retry_delivery(delivery)
    say(f"{delivery}: will be told again")


async def _test(settings: Settings, name: str) -> None:
    import json
    import secrets
    from datetime import UTC, datetime

    import aiohttp

    from kfbot.cli.output import say
    from kfbot.errors import SettingsError
    from kfbot.event_webhooks import post

    section = settings.event_webhooks.get(name)
    if section is None:
        known = ", ".join(settings.event_webhooks) or "none"
        raise SettingsError(f"there is no [event_webhooks.{name}] in the settings, only {known}")
    now = datetime.now(UTC)
    body = json.dumps({"type": "test", "timestamp": now.isoformat(), "data": {}})
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        status, error = await post(section, f"evt_{secrets.token_hex(12)}", body, http)
    if error:
        raise SettingsError(
            f"[event_webhooks.{name}]: {error}: check url and secret, and that it takes POST"
        )
    say(f"{name} took it: {status}")
