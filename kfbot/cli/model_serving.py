"""`kfbot model serve`: a model served until Ctrl-C, or what to run elsewhere."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from kfbot.cli.output import progress_bar, report, say
from kfbot.cli.serving import stop_on_signals
from kfbot.errors import SettingsError
from kfbot.model.recipes import ray_deployment, vllm_command
from kfbot.model.serving import Served, serving
from kfbot.model.tuning.record import warning_of
from kfbot.model.weights import check_model, merge_adapter
from kfbot.settings import Settings


async def serve(settings: Settings, served: Served) -> None:
    """Serve until SIGTERM or SIGINT; without a model in `served` that of the settings.

    Raises:
        SettingsError: It cannot be served like this.
        ChatModelUnavailable: It did not start, or stopped.
    """
    served = _of_settings(settings, served)
    working = asyncio.create_task(_serve(served, settings.data_dir / "models"))
    stop_on_signals(working)
    with suppress(asyncio.CancelledError):
        await working


async def print_recipe(settings: Settings, served: Served, gpus: int, *, ray: bool) -> None:
    """Print vLLM's command, or a file for Ray; nothing but that on standard output.

    Standard error has the lines for the settings, and what speaks against the adapter.

    Raises:
        SettingsError: It cannot be served like this.
    """
    served = _of_settings(settings, served)
    tokens = settings.chat_model.context_tokens
    if not ray:
        command, name = vllm_command(served, gpus=gpus, context_tokens=tokens)
        say(command)
    else:
        folder = await asyncio.to_thread(_merged, served, settings.data_dir / "models")
        say(ray_deployment(served, folder, gpus=gpus, context_tokens=tokens))
        name = folder.name if folder else served.model
    if served.adapter is not None and (warning := warning_of(served.adapter)):
        report(f"WARNING: {warning}.")
    report(_lines(f"http://{served.host}:{served.port or 8000}/v1", name))


def _of_settings(settings: Settings, served: Served) -> Served:
    model = served.model or settings.chat_model.model
    if not model:
        raise SettingsError("which model? kfbot model serve PATH, or [chat_model] model = PATH")
    return replace(served, model=model)


def _merged(served: Served, cache: Path) -> Path | None:
    if served.adapter is None:
        return check_model(served.model)
    return merge_adapter(served.model, served.adapter, cache, report)[0]


async def _serve(served: Served, cache: Path) -> None:
    with ExitStack() as bar:
        progress = bar.enter_context(progress_bar())
        async with serving(served, cache, progress=progress, report=report) as model:
            bar.close()
            say(f"{model.name} is ready at {model.url} ({model.device}). Stop with Ctrl-C.")
            say(_lines(model.url, model.name))
            await model.until_broken()


def _lines(url: str, name: str) -> str:
    return f'For the settings file:\n\n[chat_model]\nbase_url = "{url}"\nmodel = "{name}"\n'
