"""`kfbot evaluate`: how good the bot is, by the operator's own questions."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from kfbot.cli.options import SettingsFile, run_with

if TYPE_CHECKING:
    from kfbot.settings import Settings

#: Knowledge that is given without a name.
UNNAMED = "default"
_NAMED = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)


Knowledge = Annotated[
    list[str],
    typer.Option(metavar="[NAME=]PATH", help="JSONL, or a folder of documents; repeatable."),
]
Questions = Annotated[
    Path, typer.Option(metavar="FILE", help="JSONL: text, gold_ids, in_scope, history, kb.")
]
Predictions = Annotated[
    Path | None, typer.Option(metavar="OUT.jsonl", help="Write one row a question.")
]
Report = Annotated[Path | None, typer.Option(metavar="OUT.json", help="Write all numbers.")]
Html = Annotated[Path | None, typer.Option(metavar="OUT.html", help="Write a page with plots.")]
MaxWrong = Annotated[
    float | None,
    typer.Option(
        metavar="N", help="At most N of 100 answers wrong: sets the dial, fails if it is missed."
    ),
]
Require = Annotated[
    list[str] | None,
    typer.Option(metavar="DEMAND", help="Fail unless it holds, like 'hit@1>=0.9'; repeatable."),
]
Compare = Annotated[
    Path | None,
    typer.Option(
        metavar="OLD", help="Report or predictions of an earlier run on the same questions."
    ),
]
Calibrate = Annotated[
    bool, typer.Option("--calibrate", help="First do what `kfbot calibrate --apply` does.")
]


def evaluate(
    knowledge: Knowledge,
    questions: Questions,
    predictions: Predictions = None,
    report: Report = None,
    html: Html = None,
    max_wrong: MaxWrong = None,
    require: Require = None,
    compare: Compare = None,
    calibrate: Calibrate = False,
    settings: SettingsFile = None,
) -> None:
    """Measure how good the bot is.

    Asks your questions of the pipeline that answers customers, on a throw-away store; with
    [chat_model] set, that model writes, and its tokens are spent. Exit status 1: a demand was
    not met, or the input is bad.

    \b
    Examples:
      kfbot evaluate --knowledge faq.jsonl --questions questions.jsonl
      kfbot evaluate --knowledge shop=docs/ --knowledge bank=faq.jsonl \\
        --questions questions.jsonl --html report.html --max-wrong 5
    In CI, and beside the run of last week:
      kfbot evaluate --knowledge docs/ --questions questions.jsonl \\
        --require 'hit@1>=0.9' --require 'wrong<=5' \\
        --compare last.json --report this.json
    """
    if max_wrong is not None and not 0 < max_wrong < 100:
        raise typer.BadParameter("--max-wrong is a number between 0 and 100.")
    outputs = {"predictions": predictions, "report": report, "html": html}
    asked = _Asked(
        named(knowledge),
        questions,
        {kind: path for kind, path in outputs.items() if path is not None},
        tuple(require or ()),
        compare,
        calibrate,
    )
    dial = {} if max_wrong is None else {"decision": {"max_wrong_percent": max_wrong}}
    numbers = run_with(settings, lambda read: _evaluate(read, asked), **dial)
    _say_numbers(numbers, asked.outputs.values())
    _check(numbers, max_wrong)


class _Asked(NamedTuple):
    """What the command line names."""

    knowledge: dict[str, list[str]]
    questions: Path
    outputs: dict[str, Path]
    require: tuple[str, ...]
    compare: Path | None
    calibrate: bool


async def _evaluate(settings: Settings, asked: _Asked) -> dict[str, Any]:
    from kfbot.cli.output import progress_bar
    from kfbot.cli.output import report as tell
    from kfbot.measuring import run_evaluation

    with progress_bar() as progress:
        return await run_evaluation(
            settings,
            asked.knowledge,
            asked.questions,
            outputs=asked.outputs,
            require=asked.require,
            earlier=asked.compare,
            calibrate=asked.calibrate,
            progress=progress,
            report=tell,
        )


def named(given: Sequence[str]) -> dict[str, list[str]]:
    """The paths of each knowledge base, by its name."""
    found: dict[str, list[str]] = {}
    for one in given:
        named = None if Path(one).exists() else _NAMED.fullmatch(one)
        name, path = (named[1], named[2]) if named else (UNNAMED, one)
        found.setdefault(name, []).append(path)
    return found


def _say_numbers(numbers: dict[str, Any], written: Iterable[Path]) -> None:
    from kfbot.cli.output import say, say_table
    from kfbot.measuring import evaluation_tables

    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else 200
    for table in evaluation_tables(numbers):
        parts = _fitting(table.columns, table.rows, room) if table.numbers else [table]
        for part in parts:
            say_table(part.columns, part.rows, title=table.title, numbers=table.numbers)
            say()
    if numbers["unknown_gold_ids"]:
        say(f"{numbers['unknown_gold_ids']} gold ids are not in the knowledge.")
    for file in written:
        say(f"Written to {file}")


class _Part(NamedTuple):
    """Some columns of a table, the first one always among them."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def _fitting(columns: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> list[_Part]:
    """A table in as many parts as it takes for no number to be broken."""
    from rich.cells import cell_len

    widths = [
        1 + max(map(cell_len, (*name.split(), *(row[at] for row in rows), "")))
        for at, name in enumerate(columns)
    ]
    parts: list[list[int]] = [[]]
    left = room - widths[0]
    for at in range(1, len(columns)):
        if parts[-1] and left < widths[at]:
            parts.append([])
            left = room - widths[0]
        parts[-1].append(at)
        left -= widths[at]
    return [
        _Part(
            tuple(columns[at] for at in (0, *part)),
            [tuple(row[at] for at in (0, *part)) for row in rows],
        )
        for part in parts
    ]


def _check(numbers: dict[str, Any], max_wrong: float | None) -> None:
    """Say which demands were not met, a line each; the last is the error.

    Raises:
        KfbotError: One was not.
    """
    from kfbot.cli.output import report as tell
    from kfbot.errors import KfbotError

    failed = []
    measured = numbers["all"]["wrong_per_100_answers"]
    if max_wrong is not None and measured is not None and measured > max_wrong:
        failed.append(
            f"{measured:.1f} of 100 answers were wrong, more than --max-wrong {max_wrong:g}"
        )
    for one in numbers["require"]:
        if not one["met"]:
            was = "no question tells" if one["value"] is None else f"it is {one['value']:.4g}"
            failed.append(f"--require {one['demand']} is not met: {was}")
    for line in failed[:-1]:
        tell(f"kfbot: {line}")
    if failed:
        raise KfbotError(failed[-1])
