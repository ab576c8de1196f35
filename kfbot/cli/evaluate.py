"""`kfbot evaluate`: how good the bot is, by the operator's own questions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kfbot.cli.options import SettingsFile, run_with

if TYPE_CHECKING:
    from kfbot.settings import Settings

#: Knowledge that is given without a name.
UNNAMED = "default"
_NAMED = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)


def evaluate(
    knowledge: Annotated[
        list[str],
        typer.Option(metavar="[NAME=]PATH", help="JSONL, or a folder of documents; repeatable."),
    ],
    questions: Annotated[
        Path, typer.Option(metavar="FILE", help="JSONL: text, gold_ids, in_scope, history, kb.")
    ],
    predictions: Annotated[
        Path | None, typer.Option(metavar="OUT.jsonl", help="Write one row a question.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="OUT.json", help="Write all numbers.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="OUT.html", help="Write a page with plots.")
    ] = None,
    max_wrong: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            help="At most N of 100 answers wrong: sets the dial, fails if it is missed.",
        ),
    ] = None,
    settings: SettingsFile = None,
) -> None:
    """Measure how good the bot is.

    Asks your questions of the pipeline that answers customers, on a throw-away store.

    \b
    Examples:
      kfbot evaluate --knowledge faq.jsonl --questions questions.jsonl
      kfbot evaluate --knowledge shop=docs/ --knowledge bank=faq.jsonl \\
        --questions questions.jsonl --html report.html --max-wrong 5
    """
    if max_wrong is not None and not 0 < max_wrong < 100:
        raise typer.BadParameter("--max-wrong is a number between 0 and 100.")
    outputs = {"predictions": predictions, "report": report, "html": html}
    written = {kind: path for kind, path in outputs.items() if path is not None}
    dial = {} if max_wrong is None else {"decision": {"max_wrong_percent": max_wrong}}
    numbers = run_with(
        settings, lambda read: _evaluate(read, _named(knowledge), questions, written), **dial
    )
    _say_numbers(numbers)
    _check(numbers, max_wrong)


async def _evaluate(
    settings: Settings, knowledge: dict[str, list[str]], questions: Path, outputs: dict[str, Path]
) -> dict[str, Any]:
    from kfbot.bootstrap import run_evaluation
    from kfbot.cli.output import progress_bar
    from kfbot.cli.output import report as tell

    with progress_bar() as progress:
        return await run_evaluation(
            settings, knowledge, questions, outputs=outputs, progress=progress, report=tell
        )


def _named(given: Sequence[str]) -> dict[str, list[str]]:
    """The paths of each knowledge base, by its name."""
    found: dict[str, list[str]] = {}
    for one in given:
        named = None if Path(one).exists() else _NAMED.fullmatch(one)
        name, path = (named[1], named[2]) if named else (UNNAMED, one)
        found.setdefault(name, []).append(path)
    return found


def _say_numbers(numbers: dict[str, Any]) -> None:
    from kfbot.bootstrap import evaluation_rows
    from kfbot.cli.output import say, say_table

    languages = numbers["by_language"]
    groups = {"all": numbers["all"], **(languages if len(languages) > 1 else {})}
    say_table(("", *groups), evaluation_rows(groups), numbers=True)
    if numbers["by_kb"]:
        say()
        say_table(("", *numbers["by_kb"]), evaluation_rows(numbers["by_kb"]), numbers=True)
    if numbers["unknown_gold_ids"]:
        say(f"{numbers['unknown_gold_ids']} gold ids are not in the knowledge.")


def _check(numbers: dict[str, Any], max_wrong: float | None) -> None:
    from kfbot.errors import KfbotError

    measured = numbers["all"]["wrong_per_100_answers"]
    if max_wrong is not None and measured is not None and measured > max_wrong:
        raise KfbotError(
            f"{measured:.1f} of 100 answers were wrong, more than --max-wrong {max_wrong:g}"
        )
