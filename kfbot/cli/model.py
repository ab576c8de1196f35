"""`kfbot model`: serve a chat model, measure it, tune it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kfbot.cli import tuning, tuning_data
from kfbot.cli.options import AsJson, SettingsFile, run_with

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(tuning_data.app, name="data")
app.command()(tuning.tune)
app.command()(tuning_data.tune_embedding)


class Device(StrEnum):
    """Where a model runs."""

    AUTO = "auto"
    CUDA = "cuda"
    CPU = "cpu"


class Dtype(StrEnum):
    """Numbers that weights are kept in; "auto": as in the folder."""

    AUTO = "auto"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FLOAT32 = "float32"


class Quantization(StrEnum):
    """Weights made smaller as they are loaded."""

    FOUR = "bnb-4bit"
    EIGHT = "bnb-8bit"


class Recipe(StrEnum):
    """What can serve a model on several GPUs or machines."""

    VLLM = "vllm"
    RAY = "ray"


Model = Annotated[
    str,
    typer.Argument(
        metavar="[PATH|NAME]", help="A folder, or ORG/NAME on the hub; else [chat_model] model."
    ),
]
Adapter = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="What `kfbot model tune` made of it.")
]
Unprotected = Annotated[
    bool, typer.Option("--unprotected", help="Let other machines use it, without any key.")
]
Quantized = Annotated[Quantization | None, typer.Option(help="Less memory, a little worse.")]
Print = Annotated[
    Recipe | None,
    typer.Option("--print", help="Start nothing; print what serves it on several GPUs."),
]


@app.callback()
def _model() -> None:
    """Serve a chat model, measure it, tune it.

    \b
    Examples:
      kfbot model serve ./Qwen3-8B
      kfbot model check
      kfbot model tune data/ --base ./Qwen3-8B --out tuned/
    """


@app.command()
def serve(
    model: Model = "",
    adapter: Adapter = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    unprotected: Unprotected = False,
    device: Annotated[Device, typer.Option(help="auto: the GPU if there is one.")] = Device.AUTO,
    dtype: Annotated[Dtype, typer.Option(help="auto: as in the folder.")] = Dtype.AUTO,
    quantization: Quantized = None,
    recipe: Print = None,
    gpus: Annotated[int, typer.Option(min=1, help="With --print: GPUs that hold a copy.")] = 1,
    settings: SettingsFile = None,
) -> None:
    """Serve a chat model on this machine.

    It stops at Ctrl-C or SIGTERM.

    \b
    Examples:
      kfbot model serve ./Qwen3-8B
      kfbot model serve ./Qwen3-8B --adapter var/tuned/shop
      kfbot model serve ./Qwen3-32B --print vllm --gpus 4
      kfbot model serve ./Qwen3-32B --print ray --gpus 4 > serve_model.py
    """
    from kfbot.cli import model_serving
    from kfbot.model.serving import Served

    served = Served(
        model=model,
        adapter=adapter,
        host=host,
        port=port,
        device=device.value,
        dtype=dtype.value,
        quantization=quantization.value if quantization else "",
        unprotected=unprotected,
    )
    if recipe is None:
        run_with(settings, lambda read: model_serving.serve(read, served))
    else:
        ray = recipe is Recipe.RAY
        run_with(settings, lambda read: model_serving.print_recipe(read, served, gpus, ray=ray))


@app.command()
def check(
    parallel: Annotated[
        list[int] | None,
        typer.Option(min=1, max=512, help="Questions at the same time; 8 and 32. Repeatable."),
    ] = None,
    as_json: AsJson = False,
    settings: SettingsFile = None,
) -> None:
    """Measure the chat model: is it fit to answer customers?

    Exit status 1 where an endpoint cannot be reached or is not fit.

    \b
    Examples:
      kfbot model check
      kfbot model check --parallel 8 --parallel 64 --json
    """
    from kfbot.cli import model_checking

    counts = tuple(parallel or (8, 32))
    if not run_with(settings, lambda read: model_checking.check(read, counts, as_json=as_json)):
        raise typer.Exit(1)
