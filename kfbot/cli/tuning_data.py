"""`kfbot model data`: examples that models are tuned on; `kfbot model tune-embedding`."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kfbot.cli.options import AsJson, SettingsFile, run_with

if TYPE_CHECKING:
    from kfbot.knowledge_base import Progress
    from kfbot.model.tuning.building import Material
    from kfbot.model.tuning.embedding import TunedEmbedding
    from kfbot.model.tuning.examples import Manifest
    from kfbot.model.tuning.known import Known
    from kfbot.settings import Settings

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Out = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where to write it.")]


@app.callback()
def _data() -> None:
    """Make and export what models are tuned on.

    \b
    Examples:
      kfbot model data build --out tuning
      kfbot model data export tuning --format alpaca --out alpaca.jsonl
    """


Knowledge = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Of these knowledge bases alone; else of all."),
]
Code = Annotated[
    list[Path] | None,
    typer.Option(metavar="FOLDER", help="Also of this code, and the texts beside it."),
]
Imported = Annotated[
    list[Path] | None,
    typer.Option(
        "--import",
        metavar="FILE",
        help='Also these examples: "messages", or "instruction", "input", "output".',
    ),
]
HasTeacher = Annotated[
    bool | None,
    typer.Option(
        "--teacher/--no-teacher",
        help="Have [chat_model] ask and answer what documents say; by default if there is one.",
    ),
]
Limit = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="It reads so many passages at most.")
]
Unanswerable = Annotated[
    float, typer.Option(metavar="SHARE", min=0, max=0.9, help="Of the chat examples, to refuse.")
]
Days = Annotated[
    int, typer.Option(metavar="N", min=1, max=36500, help="Records of the last N days.")
]


@app.command()
def build(
    out: Out,
    knowledge: Knowledge = None,
    code: Code = None,
    imported: Imported = None,
    teacher: HasTeacher = None,
    limit: Limit = None,
    unanswerable: Unanswerable = 0.2,
    days: Days = 366,
    as_json: AsJson = False,
    settings: SettingsFile = None,
) -> None:
    """Make examples of records, documents and code.

    Private data is masked. Of the bot's records: what agents answered, what customers found
    helpful, or not. Every answer is checked sentence by sentence against its passage. Nothing is
    changed but FOLDER; a server may be running. Broken off, the same command goes on where it
    ended.

    \b
    Examples:
      kfbot model data build --out tuning
      kfbot model data build --out tuning --no-teacher --knowledge shop
      kfbot model data build --out tuning --code ./src --import earlier.jsonl --limit 500
    """
    manifest = run_with(
        settings,
        lambda read: _build(
            read,
            out,
            names=knowledge or [],
            code=code or [],
            imported=imported or [],
            teacher=teacher,
            limit=limit,
            unanswerable=unanswerable,
            days=days,
        ),
    )
    _say(out, manifest, as_json=as_json)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Of `model data build`.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A new JSONL file.")],
    form: Annotated[
        str, typer.Option("--format", metavar="FORM", help="alpaca, or chat (messages).")
    ] = "alpaca",
    split: Annotated[
        str, typer.Option(metavar="SPLIT", help="train, validation or test.")
    ] = "train",
    settings: SettingsFile = None,
) -> None:
    """Write the chat examples in a form that other tools read.

    alpaca: instruction, input, output, and system and history as LLaMA-Factory has them.

    \b
    Examples:
      kfbot model data export tuning --out alpaca.jsonl
      kfbot model data export tuning --format chat --split test --out test.jsonl
    """
    from kfbot.cli.output import say
    from kfbot.model.tuning.examples import SPLITS, TuningDataError, read_chat
    from kfbot.model.tuning.formats import FORMATS, rows_as
    from kfbot.settings import load_settings

    load_settings(settings)
    if form not in FORMATS or split not in SPLITS:
        raise typer.BadParameter(f"--format {', '.join(FORMATS)}; --split {', '.join(SPLITS)}")
    examples = read_chat(folder / f"{split}.jsonl")
    rows = rows_as(examples, "alpaca" if form == "alpaca" else "chat")
    try:
        with out.open("x", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    except OSError as error:
        raise TuningDataError(f"{out} cannot be written: {error.strerror}") from error
    say(f"{len(examples)} examples in {out}")


async def _build(
    settings: Settings,
    out: Path,
    *,
    names: list[str],
    code: list[Path],
    imported: list[Path],
    teacher: bool | None,
    limit: int | None,
    unanswerable: float,
    days: int,
) -> Manifest:
    from kfbot.cli.output import progress_bar
    from kfbot.errors import SettingsError
    from kfbot.knowledge_models import mask_texts
    from kfbot.model.opening import open_chat_model
    from kfbot.model.tuning import building

    if unknown := [name for name in names if name not in settings.knowledge]:
        known = ", ".join(settings.knowledge)
        raise SettingsError(f"there is no knowledge base {unknown[0]}, only {known}")
    model = open_chat_model(settings.chat_model) if teacher is not False else None
    if teacher and model is None:
        raise SettingsError("--teacher: there is no chat model: set [chat_model] base_url")
    plan = building.Plan(
        folder=out,
        settings=settings.chat_model,
        style=settings.answers,
        mask=mask_texts,
        limit=limit,
        unanswerable=unanswerable,
    )
    try:
        with progress_bar() as progress:
            material = await _material(settings, names, code, days, progress)
            material = replace(material, imported=_imported(imported), teacher=model)
            return await building.build(material, plan, progress)
    finally:
        if model is not None:
            await model.aclose()


async def _material(
    settings: Settings, names: list[str], code: list[Path], days: int, progress: Progress
) -> Material:
    """What is stored, read beside a server that may be running."""
    from kfbot.knowledge_models import mask_texts
    from kfbot.measuring import check_schema
    from kfbot.model.tuning.building import Material
    from kfbot.model.tuning.from_records import read_records
    from kfbot.model.tuning.known import code_of, known_of
    from kfbot.store.chunks import KnowledgeStore
    from kfbot.store.engine import Database

    known: list[Known] = []
    for folder in code:
        known += code_of(folder, mask_texts)
    await check_schema(settings)
    async with Database(settings.database_url) as database:
        store = KnowledgeStore(database)
        states = [await store.state(name) for name in names or settings.knowledge]
        total, read = sum(state.documents for state in states), 0
        for state in states:
            async for stored in store.chunks(state.name):
                if (one := known_of(state.name, stored, mask_texts)) is not None:
                    known.append(one)
                read += 1
                progress("Reading documents", read, total)
        records = await read_records(database, datetime.now(UTC), days)
    return Material(known=known, records=records)


def _imported(paths: list[Path]) -> list[Any]:
    """The examples of files; what is none is named, and left out."""
    from kfbot.cli.output import report
    from kfbot.model.tuning.formats import read_foreign

    examples = []
    for path in paths:
        found, faults = read_foreign(path)
        examples += found
        for fault in faults[:10]:
            report(f"left out: {fault}")
        if len(faults) > 10:
            report(f"left out: {len(faults) - 10} more lines of {path}")
    return examples


def _say(out: Path, manifest: Manifest, *, as_json: bool) -> None:
    from kfbot.cli.output import say, say_json, say_table
    from kfbot.model.tuning.examples import SOURCES

    if as_json:
        say_json(asdict(manifest))
        return
    columns = ["", *SOURCES, "en", "zh"]
    rows = [
        [name, *(str(counts.get(column, 0)) for column in columns[1:])]
        for name, counts in manifest.counts.items()
    ]
    say_table(columns, rows, title=f"Examples in {out}", numbers=True)
    for reason, count in sorted(manifest.left_out.items(), key=lambda one: -one[1]):
        say(f"left out: {count} · {reason}", style="dim")
    say(f"{100 * manifest.unanswerable_share:.0f} % of the chat examples are to be refused")


Data = Annotated[Path, typer.Argument(metavar="DATA", help="Of `model data build`.")]
Base = Annotated[
    str,
    typer.Option(metavar="FOLDER", help="bundled, or a model's folder; else [embedding] model."),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option(help="auto: a GPU where there is one.")
]


def tune_embedding(
    data: Data,
    out: Out,
    base: Base = "",
    epochs: Annotated[int, typer.Option(min=1, max=100, help="Passes over the pairs.")] = 3,
    batch: Annotated[int, typer.Option(min=2, max=4096, help="Pairs of a step.")] = 32,
    learning_rate: Annotated[float, typer.Option(min=1e-9, max=1.0)] = 2e-5,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(help="Another order of the pairs.")] = 0,
    settings: SettingsFile = None,
) -> None:
    """Tune the embedding model on your own questions.

    It is measured on held-out pairs before and after; a model that finds worse is not kept.
    Broken off, the same command goes on where it ended.

    \b
    Examples:
      kfbot model tune-embedding tuning --out shop-embedding
      kfbot model tune-embedding tuning --out shop-embedding --epochs 5 --device cuda
    """
    from kfbot.cli.output import progress_bar
    from kfbot.model.tuning.embedding import Recipe, tune_embedding
    from kfbot.settings import load_settings

    in_use = load_settings(settings).embedding.model
    recipe = Recipe(
        epochs=epochs, batch=batch, learning_rate=learning_rate, device=device, seed=seed
    )
    with progress_bar() as progress:
        done = tune_embedding(data, out, base or in_use, recipe, progress)
    _say_gains(done, out)


def _say_gains(done: TunedEmbedding, out: Path) -> None:
    """Say what an embedding model gained, and how it is used.

    Raises:
        TuningDataError: It finds worse, and was not kept.
    """
    from kfbot.cli.output import say, say_table
    from kfbot.model.tuning.examples import TuningDataError

    rows = [
        [name, f"{gain.before:.3f}", f"{gain.after:.3f}", f"{gain.low:+.3f} … {gain.high:+.3f}"]
        for name, gain in done.gains.items()
    ]
    say_table(
        ["", "before", "after", "gain, 95 %"],
        rows,
        title=f"{done.held_out} held-out questions among {done.candidates} texts",
        numbers=True,
    )
    if not done.usable:
        raise TuningDataError(
            f"the tuned model finds worse than before, and was not kept; see {out}/report.json:"
            " more pairs, fewer --epochs or a lower --learning-rate may help"
        )
    say(f'Use it: [embedding] model = "{out.resolve()}", then kfbot knowledge load, and calibrate')
