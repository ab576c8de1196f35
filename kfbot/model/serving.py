"""`kfbot model serve`: `transformers serve` with continuous batching, as a child process.

Flags: `transformers serve --help` of transformers 5.23. It knows no key and loads any model that a
request names, so it listens on loopback unless the operator says otherwise.
"""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from kfbot.errors import ChatModelUnavailable, SettingsError
from kfbot.extras import how_to_install
from kfbot.knowledge_base import Progress
from kfbot.model.served import MARK, STOP_SECONDS
from kfbot.model.tuning.record import warning_of
from kfbot.model.weights import check_installed, check_model, memory_fault, merge_adapter

#: A model of hundreds of gigabytes from a slow disk, or from the hub, takes so long.
START_SECONDS = 3600.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SHARE = re.compile(r"(\d+)%\|")
_QUANTIZATION = f"--quantization needs {how_to_install('tune')}"
_CAUSES = (
    (f"{MARK}no CUDA", "there is no CUDA here: --device cpu, or install the driver and torch"),
    ("contains custom code", "it needs code of its own, which is not run here: serve it with vLLM"),
    ("is not a valid model identifier", "there is no such model on the hub, or it is private"),
    ("couldn't connect to", "it cannot be downloaded: name a folder that holds it"),
    ("offlinemode", "it cannot be downloaded: name a folder that holds it"),
    ("address already in use", "the port is taken: --port N"),
    ("requires the latest version of bitsandbytes", _QUANTIZATION),
    ("bitsandbytes package is not", _QUANTIZATION),
)
_MEMORY_ADVICE = (
    "out of memory: --dtype bfloat16, --quantization bnb-4bit, a smaller model, or "
    "kfbot model serve --print vllm with --max-model-len"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What is to be served, and where."""

    #: A folder, or a name on the Hugging Face hub.
    model: str
    adapter: Path | None = None
    host: str = "127.0.0.1"
    #: 0: any that is free.
    port: int = 8000
    device: str = "auto"
    dtype: str = "auto"
    #: bnb-4bit, bnb-8bit, or "" for the weights as they are.
    quantization: str = ""
    #: Whether it may be reached from other machines, where everybody may use it.
    unprotected: bool = False


@dataclass(slots=True)
class Serving:
    """A model that is served."""

    url: str
    #: As requests name it.
    name: str
    #: As it calls itself, as in "NVIDIA H200".
    device: str
    _process: Process = field(repr=False)
    _tail: deque[str] = field(repr=False)

    async def until_broken(self) -> None:
        """Return never.

        Raises:
            ChatModelUnavailable: It has stopped, or answers no more.
        """
        ended = asyncio.ensure_future(self._process.wait())
        try:
            while not ended.done():
                await asyncio.wait([ended], timeout=10.0)
                # Its worker may die, for want of memory, while the server lives on.
                if not ended.done() and await _health(self.url) == 503:
                    break
        finally:
            ended.cancel()
        raise ChatModelUnavailable(f"{self.name} has stopped: {_cause(self._tail, self._process)}")


@asynccontextmanager
async def serving(
    served: Served, cache: Path, *, progress: Progress, report: Callable[[str], None]
) -> AsyncIterator[Serving]:
    """Serve a model while the block runs; it has answered once when the block begins.

    Args:
        cache: Where a model is kept that an adapter was merged into.
        report: Told what takes long, and what the server complains about.

    Raises:
        SettingsError: It cannot be served like this.
        ChatModelUnavailable: It did not start.
    """
    check_installed(extra="model")
    port = _free_port(served)
    folder = await asyncio.to_thread(_folder, served, cache, report)
    # Its name is that of the folder: a path has no place in a request.
    name = folder.name if folder else served.model
    report(f"Starting {name}…")
    process = await asyncio.create_subprocess_exec(
        *_command(served, name, port),
        cwd=folder.parent if folder else None,
        stdin=PIPE,
        stdout=PIPE,
        stderr=STDOUT,
        # Ctrl-C is ours to handle; it would end the child before its answers are.
        start_new_session=True,
    )
    tail: deque[str] = deque(maxlen=200)
    started = asyncio.Event()
    reading = asyncio.create_task(_read(process, tail, started, progress, report))
    here = "127.0.0.1" if served.host == "0.0.0.0" else served.host  # noqa: S104 (asked for)
    url = f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"
    try:
        await _until_ready(process, url, name, tail)
        started.set()
        yield Serving(f"{url}/v1", name, _device(tail), process, tail)
    finally:
        await _end(process)
        reading.cancel()


def _folder(served: Served, cache: Path, report: Callable[[str], None]) -> Path | None:
    if served.adapter is None:
        return check_model(served.model)
    folder, remark = merge_adapter(served.model, served.adapter, cache, report)
    if remark:
        report(f"Note: {remark}.")
    if warning := warning_of(served.adapter):
        report(f"WARNING: {warning}.")
    return folder


def _free_port(served: Served) -> int:
    if served.host not in _LOOPBACK and not served.unprotected:
        raise SettingsError(
            f"--host {served.host}: there is no key, whoever reaches the port may use the model "
            "and load others; say --unprotected if only friends can reach it"
        )
    try:
        family = socket.AF_INET6 if ":" in served.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((served.host, served.port))
            return int(probe.getsockname()[1])
    except OSError as error:
        fault = "is taken" if error.errno == 98 else f"cannot be used ({error.strerror})"
        raise SettingsError(f"{served.host} port {served.port} {fault}: --port N") from error


def _command(served: Served, name: str, port: int) -> list[str]:
    command = [sys.executable, "-P", "-m", "kfbot.model.served", served.device, "serve", name]
    command += ["--continuous-batching", "--host", served.host, "--port", str(port)]
    # Customers wait: models that can think before they answer are told not to.
    command += ["--reasoning", "off", "--dtype", served.dtype, "--log-level", "error"]
    return command + (["--quantization", served.quantization] if served.quantization else [])


async def _read(
    process: Process,
    tail: deque[str],
    started: asyncio.Event,
    progress: Progress,
    report: Callable[[str], None],
) -> None:
    """Keep what the child says; its bars are progress, its complaints are passed on."""
    assert process.stdout is not None
    rest = ""
    while block := await process.stdout.read(4096):
        *lines, rest = re.split(r"[\r\n]+", rest + block.decode("utf-8", "replace"))
        for line in lines:
            if share := _SHARE.search(line):
                progress("loading", int(share[1]), 100)
            elif line.strip():
                tail.append(line)
                if started.is_set() and not line.startswith("INFO"):
                    report(line)


async def _until_ready(process: Process, url: str, name: str, tail: deque[str]) -> None:
    try:
        async with asyncio.timeout(START_SECONDS):
            while await _health(url) != 200:
                if process.returncode is not None:
                    # What it said last is still on its way.
                    await asyncio.sleep(0.2)
                    raise ChatModelUnavailable(f"{name} did not start: {_cause(tail, process)}")
                await asyncio.sleep(0.2)
            await _first_completion(url, name, tail, process)
    except TimeoutError as error:
        raise ChatModelUnavailable(f"{name} was not ready in {START_SECONDS:.0f} s") from error


async def _first_completion(url: str, name: str, tail: deque[str], process: Process) -> None:
    """Have it say one token: only then it takes its memory, and how it samples for good."""
    body = {
        "model": name,
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 1,
        "temperature": 0,
    }
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=START_SECONDS) as client:
            answer = await client.post(f"{url}/v1/chat/completions", json=body)
    except httpx.HTTPError as error:
        await asyncio.sleep(0.2)
        raise ChatModelUnavailable(f"{name} does not answer: {_cause(tail, process)}") from error
    if answer.status_code != 200:
        raise ChatModelUnavailable(f"{name} does not answer: {_cause(tail, process)}")


async def _health(url: str) -> int:
    """Its HTTP status; 0: none."""
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=5.0) as client:
            return (await client.get(f"{url.removesuffix('/v1')}/health")).status_code
    except httpx.HTTPError:
        return 0


def _cause(tail: deque[str], process: Process) -> str:
    """What a child that failed died of, and what to do."""
    said = "\n".join(tail)
    if memory_fault(said) or process.returncode == -9:
        return _MEMORY_ADVICE
    for sign, cause in _CAUSES:
        if sign.casefold() in said.casefold():
            return cause
    last = [line.strip() for line in tail if not line.startswith(("INFO", " ", MARK))]
    return last[-1] if last else f"it ended with status {process.returncode}"


def _device(tail: deque[str]) -> str:
    sign = f"{MARK}device "
    return next((line.removeprefix(sign) for line in tail if line.startswith(sign)), "")


async def _end(process: Process) -> None:
    """End the child, also where it does not want to."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS + 2):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
