"""`kfbot knowledge inspect`: what was read from a file, in the terminal or as a page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

_BARS = re.compile(r"(?<!\\)\|")
_RULE = re.compile(r":?-+:?")
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; --line: #8884; --faint: #888; --bad: #c33; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem }}
body {{ margin: 2rem auto; padding: 0 1rem }}
h1 {{ font-size: 1.4rem }} h2 {{ font-size: 1.15rem; margin-top: 2.5rem; overflow-wrap: anywhere }}
h3 {{ font-size: 1rem; margin: 1.5rem 0 .3rem; overflow-wrap: anywhere }}
.facts {{ color: var(--faint); overflow-wrap: anywhere }} .bad {{ color: var(--bad) }}
.chunk {{ border: 1px solid var(--line); border-radius: .5rem }}
.chunk {{ margin: .6rem 0; padding: .5rem .8rem }}
.wide {{ overflow-x: auto }} table {{ border-collapse: collapse; margin: .3rem 0 }}
td {{ border: 1px solid var(--line); padding: .1rem .4rem; vertical-align: top }}
tr:first-child td {{ font-weight: 600 }}
.chunk > p {{ color: var(--faint); font-size: .85rem; margin: 0 }}
pre {{ font: inherit; white-space: pre-wrap; overflow-wrap: anywhere; margin: .2rem 0 0 }}
</style></head><body><h1>{title}</h1>
{body}
</body></html>
"""


async def inspect(sources: Sequence[str], *, html: Path | None, as_json: bool) -> bool:
    """Read and show; False if something could not be read."""
    from kfbot.cli.output import progress_bar, say, say_json
    from kfbot.opening import inspect_sources

    with progress_bar() as progress:
        files = await inspect_sources(sources, progress)
    if as_json:
        say_json(files)
    elif html is None:
        for line, style in _lines(files):
            say(line, style=style)
    if html is not None:
        _write(html, _page(files))
        if not as_json:
            say(f"Written to {html}")
    return not any(one["unreadable"] for one in files)


def _lines(files: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for file in files:
        yield file["name"], "bold"
        for line in file["unreadable"]:
            yield f"  ✗ {line}", "red"
        for step, count in sorted(file["counts"].items()):
            yield f"  {step}: {count}", "dim"
        for document in file["documents"]:
            yield f"  {_headline(document)}", "bold"
            for number, chunk in enumerate(document["chunks"], start=1):
                yield f"  [{number}] {_facts(chunk)}", "dim"
                yield from ((f"      {line}", "") for line in _shown(chunk["text"]))
            if document["answer"]:
                yield "  answer", "dim"
                yield from ((f"      {line}", "") for line in _shown(document["answer"]))


def _shown(text: str) -> Iterator[str]:
    """The lines of a text; of tables the cells, without what holds them together."""
    for line in text.splitlines():
        cells = _cells(line)
        if cells is None:
            yield line
        elif cells:
            yield "   ".join(cells)


def _cells(line: str) -> list[str] | None:
    """The cells of a table's row; none for the rule below its header, None for other lines."""
    if not line.startswith("|") or not line.endswith("|"):
        return None
    cells = [cell.strip().replace("\\|", "|") for cell in _BARS.split(line)[1:-1]]
    return [] if all(_RULE.fullmatch(cell) for cell in cells) else cells


def _headline(document: dict[str, Any]) -> str:
    fields = [f"{name} = {value}" for name, value in sorted(document["fields"].items())]
    parts = [document["id"], document["title"], document["url"], *fields]
    return " · ".join(part for part in parts if part)


def _facts(chunk: dict[str, Any]) -> str:
    page = f"page {chunk['page']}" if chunk["page"] else ""
    return " · ".join(part for part in (page, chunk["heading"], f"{chunk['units']} units") if part)


def _page(files: Sequence[dict[str, Any]]) -> str:
    chunks = sum(len(one["chunks"]) for file in files for one in file["documents"])
    title = f"{_count(len(files), 'file')}, {_count(chunks, 'chunk')}"
    return _PAGE.format(title=title, body="\n".join(line for one in files for line in _html(one)))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _html(file: dict[str, Any]) -> Iterator[str]:
    yield f"<h2>{escape(file['name'])}</h2>"
    for line in file["unreadable"]:
        yield f'<p class="bad">✗ {escape(line)}</p>'
    for step, count in sorted(file["counts"].items()):
        yield f'<p class="facts">{escape(step)}: {count}</p>'
    for document in file["documents"]:
        yield f"<h3>{escape(_headline(document))}</h3>"
        for chunk in document["chunks"]:
            yield _card(_facts(chunk), chunk["text"])
        if document["answer"]:
            yield _card("answer", document["answer"])


def _card(facts: str, text: str) -> str:
    return f'<div class="chunk"><p>{escape(facts)}</p>{"".join(_blocks(text))}</div>'


def _blocks(text: str) -> Iterator[str]:
    """Tables as tables, the rest as it is."""
    for is_table, run in groupby(text.splitlines(), lambda line: _cells(line) is not None):
        lines = list(run)
        if not is_table:
            yield f"<pre>{escape(chr(10).join(lines))}</pre>"
            continue
        rows = [cells for line in lines if (cells := _cells(line))]
        shown = ("".join(f"<td>{escape(cell)}</td>" for cell in cells) for cells in rows)
        table = "".join(f"<tr>{row}</tr>" for row in shown)
        yield f'<div class="wide"><table>{table}</table></div>'


def _write(file: Path, page: str) -> None:
    from kfbot.errors import KfbotError

    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise KfbotError(f"{file} cannot be written: {reason}") from error
