"""`kfbot model tune`: a chat model learns from the bot's own cases and documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kfbot.cli.options import SettingsFile

if TYPE_CHECKING:
    from kfbot.model.tuning.progress import Look, OnLook
    from kfbot.model.tuning.training import Tuned

Data = Annotated[
    Path, typer.Argument(metavar="DATA", help="A folder that `kfbot model data build` made.")
]
Base = Annotated[
    str, typer.Option(metavar="PATH|NAME", help="The model to start from; else [chat_model] model.")
]
Out = Annotated[Path, typer.Option(metavar="FOLDER", help="A new folder for what comes of it.")]
Method = Annotated[
    Literal["lora", "qlora", "dora", "ia3", "full"],
    typer.Option(help="What is learned: a small adapter, or all weights (full)."),
]
Objective = Annotated[
    Literal["sft", "dpo", "ipo"],
    typer.Option(help="From answers (sft), or from better and worse ones (dpo, ipo)."),
]
Epochs = Annotated[float | None, typer.Option(min=0.01, help="Passes over the examples.")]
Rate = Annotated[float | None, typer.Option("--learning-rate", min=1e-9, max=1.0)]
Rank = Annotated[
    int | None, typer.Option(min=1, max=1024, help="Size of the adapter: lora, qlora, dora.")
]
Batch = Annotated[int | None, typer.Option(min=1, help="Examples at a time on each device.")]
Length = Annotated[
    int | None, typer.Option(min=16, help="Tokens; longer examples are left out, never cut.")
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option(help="auto: a GPU where there is one.")
]
Steps = Annotated[int | None, typer.Option(min=1, help="So many steps instead of --epochs.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on in FOLDER from its last checkpoint.")]
NoRefusals = Annotated[
    bool,
    typer.Option("--no-refusals", help="Take data that teaches only answers, never a refusal."),
]
TestLimit = Annotated[
    int | None,
    typer.Option(
        min=0, help="Held-out examples answered before and after; else 200 on a GPU, 20 without."
    ),
]


def tune(
    data: Data,
    out: Out,
    base: Base = "",
    method: Method = "lora",
    objective: Objective = "sft",
    epochs: Epochs = None,
    learning_rate: Rate = None,
    rank: Rank = None,
    batch: Batch = None,
    length: Length = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    steps: Steps = None,
    resume: Resume = False,
    no_refusals: NoRefusals = False,
    test_limit: TestLimit = None,
    settings: SettingsFile = None,
) -> None:
    """Tune a chat model on your own cases and documents.

    Held-out examples are answered before and after. Exit status 1: it got worse (what came of
    it is kept and marked), or it could not be done. What is not said is chosen by the size of
    the data, the model and the memory. Ctrl-C or a crash loses at most a tenth: --resume.

    \b
    Examples:
      kfbot model tune data/ --base ./Qwen3-8B --out tuned/
      kfbot model tune data/ --base ./Qwen3-8B --out tuned/ --method qlora --resume
    All GPUs of a machine:
      accelerate launch --num_processes 4 -m kfbot model tune data/ \\
        --base ./Qwen3-8B --out tuned/
    """
    from kfbot.cli.output import progress_bar, report
    from kfbot.model.tuning.asking import Tuning
    from kfbot.model.tuning.training import tune as run

    _check_rank(method, rank)
    base = _base(base, settings)
    tuning = Tuning(
        data=data, base=base, out=out, method=method, objective=objective, epochs=epochs,
        learning_rate=learning_rate, rank=rank, batch=batch, length=length, device=device,
        seed=seed, resume=resume, steps=steps, refusals=not no_refusals, test_limit=test_limit,
    )  # fmt: skip
    with progress_bar() as progress, _losses(report) as on_look:
        tuned = run(tuning, report=report, on_look=on_look, progress=progress)
    if tuned.first:
        _say(tuned, out)


def _base(named: str, file: Path | None) -> str:
    """The model to start from.

    Raises:
        SettingsError: Nobody names one, or the settings are wrong.
    """
    from kfbot.errors import SettingsError
    from kfbot.settings import load_settings

    section = load_settings(file).chat_model
    # What an endpoint calls its model is no model that could be opened here.
    if base := named or ("" if section.base_url else section.model):
        return base
    raise SettingsError("which model? --base PATH, or [chat_model] model = PATH")


def _check_rank(method: str, rank: int | None) -> None:
    if rank is not None and method in ("ia3", "full"):
        raise typer.BadParameter(f"--rank is for lora, qlora and dora; {method} has none.")


def _say(tuned: Tuned, out: Path) -> None:
    """Say how it went.

    Raises:
        TuningWorse: The tuned model is worse than its base.
    """
    from kfbot.cli.output import say, say_table
    from kfbot.model.tuning.asking import TuningWorse

    if tuned.rows:
        say_table(("questions", "measure", "before", "after"), tuned.rows)
    say(f"{tuned.steps} steps; the model, its card and its losses are in {out}")
    if tuned.worse:
        raise TuningWorse(
            f"NOT FIT: the tuned model got worse ({'; '.join(tuned.worse)});"
            f" it is kept and marked in {out}: more examples of that kind, or a smaller"
            " --learning-rate"
        )


@contextmanager
def _losses(report: Callable[[str], None]) -> Iterator[OnLook]:
    """A bar with loss, speed and remaining time; lines where standard error is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task("", total=None)
    told = -1

    def show(look: Look) -> None:
        nonlocal told
        if not console.is_terminal:
            tenth = 10 * look.step // max(look.steps, 1)
            if tenth > told or look.validation_loss is not None:
                told = tenth
                report(f"step {look.step} of {look.steps}: {_line(look)}")
            return
        bar.start()
        bar.update(task, total=look.steps, completed=look.step, description=_line(look))

    try:
        yield show
    finally:
        bar.stop()


def _line(look: Look) -> str:
    """A look in a few words."""
    parts = []
    if look.loss is not None:
        parts.append(f"loss {look.loss:.4g}")
    if look.validation_loss is not None:
        parts.append(f"validation loss {look.validation_loss:.4g}")
    if look.margin is not None:
        parts.append(f"margin {look.margin:.3g}")
    minutes, seconds = divmod(round(look.remaining_seconds), 60)
    parts += [f"{look.tokens_per_second:.0f} tokens/s", f"{minutes}:{seconds:02} left"]
    return ", ".join(parts)
