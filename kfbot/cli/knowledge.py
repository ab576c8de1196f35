"""`kfbot knowledge`: load, inspect and search the knowledge bases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kfbot.cli.options import AsJson, SettingsFile, as_text, run_with

if TYPE_CHECKING:
    from kfbot.settings import Settings

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", help="Knowledge bases; none named: all.")
]


@app.callback()
def _knowledge() -> None:
    """Load, inspect and search the knowledge bases.

    \b
    Examples:
      kfbot knowledge load
      kfbot knowledge search "return a parcel"
    """


@app.command()
def load(names: Names = None, settings: SettingsFile = None) -> None:
    """Take up what changed in the sources.

    Exit status 1 if something could not be read; the rest is loaded.

    \b
    Examples:
      kfbot knowledge load
      kfbot knowledge load shop --settings shop.toml
    """
    if not run_with(settings, lambda read: _load(read, names or [])):
        raise typer.Exit(1)


@app.command()
def reload(names: Names = None, settings: SettingsFile = None) -> None:
    """The same as load.

    \b
    Examples:
      kfbot knowledge reload
      kfbot knowledge reload shop
    """
    load(names, settings)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The knowledge base.")],
    settings: SettingsFile = None,
) -> None:
    """Go back to what was loaded before the last load.

    It stays so until somebody has it loaded again; scheduled loads leave it alone.

    \b
    Examples:
      kfbot knowledge rollback shop
    """
    run_with(settings, lambda read: _roll_back(read, name))


@app.command()
def status(as_json: AsJson = False, settings: SettingsFile = None) -> None:
    """What is loaded, and what could not be read.

    \b
    Examples:
      kfbot knowledge status
      kfbot knowledge status --json
    """
    run_with(settings, lambda read: _status(read, as_json=as_json))


@app.command()
def search(
    question: Annotated[str, typer.Argument(help="What to look for.")],
    as_json: AsJson = False,
    settings: SettingsFile = None,
) -> None:
    """What is found for a question, best first.

    \b
    Examples:
      kfbot knowledge search "return a parcel"
      kfbot knowledge search "退货" --json
    """
    run_with(settings, lambda read: _search(read, as_text(question), as_json=as_json))


@app.command()
def inspect(
    sources: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Files, folders or addresses.")
    ],
    html: Annotated[
        Path | None, typer.Option(help="Write a page there, to look at in a browser.")
    ] = None,
    as_json: AsJson = False,
    settings: SettingsFile = None,
) -> None:
    """What is read from a file, chunk by chunk; nothing is loaded.

    Exit status 1 if something could not be read.

    \b
    Examples:
      kfbot knowledge inspect manual.pdf
      kfbot knowledge inspect manual.pdf --html manual.html
      kfbot knowledge inspect 手册.docx --json
    """
    from kfbot.cli import inspecting

    if not run_with(settings, lambda _: inspecting.inspect(sources, html=html, as_json=as_json)):
        raise typer.Exit(1)


async def _load(settings: Settings, names: list[str]) -> bool:
    """Load and tell what changed; False if something could not be read."""
    from kfbot.cli.output import progress_bar
    from kfbot.cli.session import reach

    for name in names:
        _check_name(settings, name)
    async with reach(settings) as bot:
        with progress_bar() as progress:
            reports = await bot.load(list(dict.fromkeys(names)), progress)
    for report in reports:
        _say_report(report)
    return not any(report["unreadable"] for report in reports)


async def _roll_back(settings: Settings, name: str) -> None:
    from kfbot.cli.output import say
    from kfbot.cli.session import reach

    _check_name(settings, name)
    async with reach(settings) as bot:
        generation = await bot.roll_back(name)
    say(
        f"{name}: back at generation {generation}; `kfbot knowledge load {name}` goes on from there"
    )


def _check_name(settings: Settings, name: str) -> None:
    from kfbot.errors import SettingsError

    if name not in settings.knowledge:
        known = ", ".join(settings.knowledge)
        raise SettingsError(f"there is no knowledge base {name}, only {known}")


def _say_report(report: dict[str, Any]) -> None:
    from kfbot.cli.output import say

    counts = [f"{report[kind]} {kind}" for kind in ("added", "changed", "removed", "unchanged")]
    if report["duplicates"]:
        counts.append(f"{report['duplicates']} duplicates left out")
    say(f"{report['knowledge_base']}: {', '.join(counts)}")
    for step, count in sorted(report["counts"].items()):
        say(f"  {step}: {count}", style="dim")
    for line in report["conflicts"]:
        say(f"  ! {line} answer the same question differently", style="yellow")
    for line in report["overridden"]:
        say(f"  {line}: the entry by hand answers", style="dim")
    for line in report["warnings"]:
        say(f"  ! {line}", style="yellow")
    for line in report["unreadable"]:
        say(f"  ✗ {line}", style="red")


async def _status(settings: Settings, *, as_json: bool) -> None:
    from kfbot.cli.output import say_json, say_table
    from kfbot.cli.session import reach

    async with reach(settings) as bot:
        states = await bot.knowledge()
    if as_json:
        say_json(states)
        return
    rows = [
        (
            one["name"],
            str(one["documents"]),
            str(one["chunks"]),
            _age(one),
            str(len(one["unreadable"])),
        )
        for one in states
    ]
    say_table(("name", "documents", "chunks", "loaded", "unreadable"), rows)
    for one in states:
        _say_notes(one)


def _say_notes(one: dict[str, Any]) -> None:
    from kfbot.cli.output import say

    if one["questions"]:
        by = f"{one['questions']} generated questions"
        say(f"  {one['name']}: also found by {by}", style="dim")
    if one["added"]:
        say(f"  {one['name']}: {one['added']} entries by hand", style="dim")
    if one["fault"]:
        say(f"  ✗ {one['name']}: the last load failed: {one['fault']}", style="red")
    for line in one["overridden"]:
        say(f"  {one['name']}: {line}: the entry by hand answers", style="dim")
    for line in one["unreadable"]:
        say(f"  ✗ {line}", style="red")
    if one["calibration"]:
        _say_calibration(one["name"], one["calibration"])


def _say_calibration(name: str, found: dict[str, Any]) -> None:
    from kfbot.cli.output import say

    made = f"{found['made_at'][:10]}, from {found['questions']} questions"
    stale = f"; out of date, not used: kfbot calibrate {name}" if found["stale"] else ""
    say(f"  {name}: calibrated {made}{stale}", style="yellow" if stale else "dim")


def _age(one: dict[str, Any]) -> str:
    from kfbot.cli.output import since

    age = f"{since(one['loaded_at'])} ago" if one["loaded_at"] else "never"
    return f"{age}, rolled back" if one["rolled_back"] else age


async def _search(settings: Settings, question: str, *, as_json: bool) -> None:
    from kfbot.cli.output import one_line, say, say_json
    from kfbot.cli.session import reach

    async with reach(settings, load=True) as bot:
        found = await bot.search(question)
    if as_json:
        say_json(found)
        return
    if not found["passages"]:
        say("Nothing found.")
    for number, passage in enumerate(found["passages"], 1):
        title = " › ".join(part for part in (passage["title"], passage["heading"]) if part)
        say(f"{number:2}. {passage['score']:.3f}  {title}  [{passage['knowledge_base']}]")
        say(f"    {passage['id']}: {one_line(passage['text'], 160)}", style="dim")
