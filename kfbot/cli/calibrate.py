"""`kfbot calibrate`: how far the bot's estimates are off, and what correcting them changes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kfbot.cli.evaluate import named
from kfbot.cli.options import AsJson, SettingsFile, run_with

if TYPE_CHECKING:
    from kfbot.settings import Settings


def calibrate(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Knowledge bases; none named: all."),
    ] = None,
    questions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Yours, as for evaluate: JSONL with gold_ids, in_scope."),
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Use it from now on.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Back to what is shipped.")] = False,
    out_of_scope: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            min=0,
            max=90,
            help="Without --questions: so many of 100 customers ask what is not in there [20].",
        ),
    ] = None,
    knowledge: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]PATH", help="Measure files instead of what is loaded."),
    ] = None,
    as_json: AsJson = False,
    settings: SettingsFile = None,
) -> None:
    """Make the bot's probabilities true for your knowledge.

    Shows what each position of the dial ([decision] max_wrong_percent) costs, now and after;
    nothing changes without --apply. Without your questions it makes some of your FAQ: variants
    that it hides, and entries that it takes out.

    \b
    Examples:
      kfbot calibrate
      kfbot calibrate shop --apply
      kfbot calibrate shop --questions labelled.jsonl --apply
      kfbot calibrate shop --reset
      kfbot calibrate --knowledge faq.jsonl
    """
    if apply and (knowledge or reset):
        raise typer.BadParameter("--apply goes with neither --knowledge nor --reset.")
    if reset and (knowledge or questions):
        raise typer.BadParameter("--reset goes with neither --knowledge nor --questions.")
    if reset:
        run_with(settings, lambda read: _store(read, _chosen(read, names), None))
        return
    files = named(knowledge or ())
    measured = run_with(
        settings,
        lambda read: _measure(read, names or [], questions, files, out_of_scope),
    )
    if apply:
        found = {one["knowledge_base"]: one["calibration"] for one in measured}
        kept = {name: one for name, one in found.items() if one is not None}
        run_with(settings, lambda read: _store(read, list(kept), kept))
    _say(measured, as_json=as_json, applied=apply)


async def _measure(
    settings: Settings,
    names: list[str],
    questions: Path | None,
    files: dict[str, list[str]],
    out_of_scope: float | None,
) -> list[dict[str, Any]]:
    from kfbot.cli.output import progress_bar, report
    from kfbot.measuring import run_calibration

    with progress_bar() as progress:
        return await run_calibration(
            settings,
            names,
            questions,
            files=files,
            out_of_scope_percent=out_of_scope,
            progress=progress,
            report=report,
        )


def _chosen(settings: Settings, names: list[str] | None) -> list[str]:
    return list(dict.fromkeys(names or settings.knowledge))


async def _store(
    settings: Settings, names: list[str], calibrations: dict[str, dict[str, Any]] | None
) -> None:
    from kfbot.cli.output import report
    from kfbot.cli.session import reach

    if not names:
        return
    async with reach(settings) as bot:
        for name in names:
            await bot.calibrate(name, calibrations[name] if calibrations else None)
            report(f"{name}: {'calibrated' if calibrations else 'as shipped'}")


def _say(measured: list[dict[str, Any]], *, as_json: bool, applied: bool) -> None:
    from kfbot.cli.output import say, say_json

    if as_json:
        say_json(measured)
        return
    for one in measured:
        for kind, found in one["kinds"].items():
            _say_kind(one["knowledge_base"], kind, found)
        for note in one["notes"]:
            say(f"{one['knowledge_base']}: {note}", style="yellow")
    if not applied and any(one["calibration"] for one in measured):
        say("Nothing was changed; --apply has it used.")


def _say_kind(name: str, kind: str, found: dict[str, Any]) -> None:
    from kfbot.cli.output import say, say_table

    counts = ", ".join(f"{count} {scope}" for scope, count in found["questions"].items())
    rows = [
        (f"{row['dial']}", *(_both(row["now"][what], row["after"][what]) for what in _COLUMNS))
        for row in found["dials"]
    ]
    heads = (
        "dial",
        "wrong of 100 answers",
        "answered",
        "clarified",
        "handed off",
        "out of scope: handed off",
    )
    say_table(heads, rows, title=f"{name}, {kind}: {counts}; now → after", numbers=True)
    error = found["calibration_error"]
    say(f"Estimates are off by {error['now']:.3f} on average now, by {error['after']:.3f} after.")
    say()


_COLUMNS = ("wrong", "answered", "clarified", "handed_off", "out_of_scope_handed_off")


def _both(now: float | None, after: float | None) -> str:
    return " → ".join("–" if one is None else f"{one:.1f}" for one in (now, after))
