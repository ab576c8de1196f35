"""`kfbot calibrate`: how far the bot's estimates are off, and what correcting them changes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from kfbot.cli.evaluate import named
from kfbot.cli.options import AsJson, SettingsFile, run_with

if TYPE_CHECKING:
    from kfbot.settings import Settings


Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help="Knowledge bases; none named: all."),
]
QuestionsFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Yours, as for evaluate: JSONL with gold_ids, in_scope."),
]
Apply = Annotated[bool, typer.Option("--apply", help="Use it from now on.")]
Replace = Annotated[
    bool,
    typer.Option(
        "--replace", help="Without --questions: also in place of what yours have given before."
    ),
]
Reset = Annotated[bool, typer.Option("--reset", help="Back to what is shipped.")]
OutOfScope = Annotated[
    float | None,
    typer.Option(
        metavar="N",
        min=0,
        max=90,
        help="So many of 100 customers ask what is not in there [20; as among --questions].",
    ),
]
Files = Annotated[
    list[str] | None,
    typer.Option(metavar="[NAME=]PATH", help="Measure files instead of what is loaded."),
]


class _Asked(NamedTuple):
    """What the command line names."""

    names: list[str]
    questions: Path | None
    files: dict[str, list[str]]
    out_of_scope: float | None
    replaces_labelled: bool


def calibrate(
    names: Names = None,
    questions: QuestionsFile = None,
    apply: Apply = False,
    replace: Replace = False,
    reset: Reset = False,
    out_of_scope: OutOfScope = None,
    knowledge: Files = None,
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
    if replace and (questions or reset):
        raise typer.BadParameter("--replace goes with neither --questions nor --reset.")
    if reset:
        run_with(settings, lambda read: _store(read, _chosen(read, names), None))
        return
    asked = _Asked(names or [], questions, named(knowledge or ()), out_of_scope, replace)
    measured = run_with(settings, lambda read: _measure(read, asked))
    if apply:
        found = {one["knowledge_base"]: one["calibration"] for one in measured}
        kept = {name: one for name, one in found.items() if one is not None}
        run_with(settings, lambda read: _store(read, list(kept), kept))
    _say(measured, as_json=as_json, applied=apply)


async def _measure(settings: Settings, asked: _Asked) -> list[dict[str, Any]]:
    from kfbot.cli.output import progress_bar, report
    from kfbot.measuring import run_calibration

    with progress_bar() as progress:
        return await run_calibration(
            settings,
            asked.names,
            asked.questions,
            files=asked.files,
            out_of_scope_percent=asked.out_of_scope,
            replaces_labelled=asked.replaces_labelled,
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
    told_apart = found["auroc"]
    if found["reranked"] and told_apart["now"] is not None:
        say(
            "With what the reranker says, right answers are told from wrong ones"
            f" (AUROC) {told_apart['now']:.3f} now, {told_apart['after']:.3f} after."
        )
    error = found["calibration_error"]
    say(f"Estimates are off by {error['now']:.3f} on average now, by {error['after']:.3f} after.")
    say()


_COLUMNS = ("wrong", "answered", "clarified", "handed_off", "out_of_scope_handed_off")


def _both(now: float | None, after: float | None) -> str:
    return " → ".join("–" if one is None else f"{one:.1f}" for one in (now, after))
