"""`kfbot load`: customers at a fixed rate, against the server that runs here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kfbot.cli.options import AsJson, SettingsFile, run_with
from kfbot.errors import SettingsError

if TYPE_CHECKING:
    from kfbot.cli.client import Address
    from kfbot.cli.load_driving import Line, Plan
    from kfbot.settings import Settings

#: What the sample knowledge base answers.
QUESTIONS = (
    "How long do I have to return something?",
    "退货运费谁出？",
    "When will my refund arrive?",
    "怎么开发票？",
    "How long does delivery take?",
    "会员积分有什么用？",
    "Which payment methods do you accept?",
    "保修期多长？",
)


def load(
    rate: Annotated[
        float, typer.Option(min=0.1, max=10_000, help="New questions a second, over all channels.")
    ] = 10.0,
    seconds: Annotated[
        float, typer.Option(min=1, max=86_400, help="So long customers come.")
    ] = 30.0,
    conversations: Annotated[
        int,
        typer.Option(
            min=1, max=10_000, help="That take turns, for each channel; more where all wait."
        ),
    ] = 50,
    channel: Annotated[
        list[str] | None,
        typer.Option(help="api, web, or one of platform webhook; again for more. Else all."),
    ] = None,
    questions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A question a line, or JSONL as of `kfbot evaluate`."),
    ] = None,
    patience: Annotated[
        float, typer.Option(min=1, max=3600, help="Seconds that a customer waits for a reply.")
    ] = 60.0,
    as_json: AsJson = False,
    settings: SettingsFile = None,
) -> None:
    """Put load on this bot, and measure what customers see.

    Customers come at the given rate whatever the bot does, and times are counted from when each
    was due. It asks in conversations of its own, named load-…, which stay in the database, and
    what the bot does not know goes to the desk: use a copy, or questions that it can answer.
    Channels of other platforms are for `make load` in the checkout.

    \b
    Examples:
      kfbot load --rate 20 --seconds 60
      kfbot load --rate 5 --channel crm --questions questions.jsonl --json
    """
    from kfbot.cli.load_driving import Plan

    asked = QUESTIONS if questions is None else _questions(questions)
    plan = Plan(rate=rate, seconds=seconds, patience_seconds=patience, conversations=conversations)
    run_with(settings, lambda read: _load(read, plan, asked, channel or [], as_json=as_json))


async def _load(
    settings: Settings,
    plan: Plan,
    questions: Sequence[str],
    channels: Sequence[str],
    *,
    as_json: bool,
) -> None:
    from kfbot.cli import output
    from kfbot.cli.client import find_server
    from kfbot.cli.load_driving import drive
    from kfbot.cli.load_lines import new_run
    from kfbot.cli.load_measuring import COLUMNS, remarks, result_data, table_rows

    server = await find_server(settings.data_dir)
    if server is None:
        raise SettingsError(f"no kfbot is served in {settings.data_dir}: start `kfbot serve` first")
    run = new_run()
    lines = _lines(settings, server, run, channels)
    output.report(f"Conversations {run}-… are made, and stay in the database.")
    for line in lines:
        if not line.hears:
            output.report(f"{line.name}: its callback_url is elsewhere; only acks are measured.")
    with output.progress_bar() as show:
        result = await drive(
            lines,
            questions,
            plan,
            on_progress=lambda done, total: show("load", done, total),
        )
    if as_json:
        output.say_json({"run": run} | result_data(result))
        return
    output.say_table(COLUMNS, table_rows(result), numbers=True)
    for remark in remarks(result):
        output.say(remark)


def _lines(settings: Settings, server: Address, run: str, wanted: Sequence[str]) -> Sequence[Line]:
    """The ways in, of those that are wanted.

    Raises:
        SettingsError: There is none of that name that customers could be played on.
    """
    from kfbot.cli.load_lines import AskLine, WebChatLine, WebhookLine

    lines: list[Line] = [AskLine(server, run), WebChatLine(server, run)]
    for name, section in settings.channels.items():
        if section.get("platform") == "webhook":
            lines.append(WebhookLine(name, section, server, run))
    known = {line.name: line for line in lines}
    for name in wanted:
        if name not in known:
            raise SettingsError(f"--channel {name}: there is only {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(wanted)] or lines


def _questions(file: Path) -> Sequence[str]:
    """The questions of a file.

    Raises:
        SettingsError: It cannot be read, or there are none.
    """
    try:
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        asked = [_question(line) for line in lines]
    except (OSError, ValueError) as error:
        raise SettingsError(f"--questions {file}: {error}") from None
    if not asked:
        raise SettingsError(f"--questions {file}: is empty; write a question a line")
    return asked


def _question(line: str) -> str:
    if not line.lstrip().startswith("{"):
        return line.strip()
    row = json.loads(line)
    text = row.get("text") or row.get("question")
    if not isinstance(text, str):
        raise ValueError(f"text is missing in {line[:60]!r}")
    return text
