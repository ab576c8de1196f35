"""What commands print: results on standard output, progress on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from kfbot.knowledge_base import Progress

#: A terminal would obey C0, DEL, C1 and the marks that turn the direction of text.
_UNSAFE = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: "\u2421",
    **dict.fromkeys(range(0x80, 0xA0), "\ufffd"),
    **dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\ufffd"),
}
_STAGES = {
    "reading": "Reading documents",
    "questions": "Writing questions",
    "embedding": "Embedding",
    "indexing": "Building the index",
    "asking": "Asking",
    "copying": "Copying (MB)",
    "checking": "Checking the copy",
    "loading": "Loading the model (%)",
    "measuring": "Measuring the model",
    "load": "Answered or given up, of those who came",
}


def say(text: str = "", *, style: str = "") -> None:
    """Print a result as it is, with nothing in it that a terminal would obey."""
    Console(soft_wrap=True, highlight=False).print(Text(shown(text), style=style))


def say_json(data: object) -> None:
    """Print JSON on standard output."""
    # A half of a surrogate pair, which UTF-8 cannot carry, is escaped.
    text = json.dumps(data, ensure_ascii=False, indent=2)
    typer.echo(text.encode("utf-8", "backslashreplace").decode())


def report(text: str) -> None:
    """Tell on standard error what takes long."""
    typer.echo(shown(text), err=True)


def shown(text: str) -> str:
    """A text with its control characters made visible."""
    clean = text.encode("utf-8", "replace").decode()
    return clean.replace("\r\n", "\n").translate(_UNSAFE)


def one_line(text: str, length: int = 60) -> str:
    """The beginning of a text, on one line."""
    line = shown(" ".join(text.split()))
    return line if len(line) <= length else line[: length - 1] + "…"


def say_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "", numbers: bool = False
) -> None:
    """Print a table; with `numbers` every column but the first is set to the right."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if numbers and place else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    # A file or a pipe has no width: whoever reads it wants whole lines.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    console.print(table, markup=False)


def say_sources(citations: Sequence[Mapping[str, Any]]) -> None:
    """Print where an answer comes from."""
    for number, citation in enumerate(citations, 1):
        parts = (citation["title"] or citation["id"], citation["heading"])
        source = " › ".join(part for part in parts if part)
        url = f" ({citation['url']})" if citation["url"] else ""
        say(one_line(f"[{number}] {source}{url}", 200), style="dim")


def since(at: str) -> str:
    """How long ago an ISO time was, for a person."""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds()
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {name}"
    return f"{max(int(seconds), 0)} s"


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar on standard error while the block runs; nothing where that is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("…", total=None)

        def show(stage: str, done: int, total: int) -> None:
            bar.update(
                task, description=_STAGES.get(stage, stage), completed=done, total=total or None
            )

        yield show
