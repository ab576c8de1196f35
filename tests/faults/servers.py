"""`kfbot serve` as processes that are started, stopped, killed and started again."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import IO

import aiohttp

from tests.faults.checker import Fault

#: A start loads libraries, model and knowledge base; a busy machine takes its time.
START_SECONDS = 300.0
#: A graceful stop is to be over by then: compose and systemd give it no longer.
STOP_SECONDS = 15.0
#: What a killed process has sent may still be on its way so long.
_UNDER_WAY_SECONDS = 0.5
#: How a log says that a platform's answer did not come in time.
_TOO_LATE = r"(?:\(\w*TimeoutError\)|no answer in time)"
_CHECKOUT = Path(__file__).resolve().parents[2]


class Server:
    """One `kfbot serve`, always in the same data folder and at the same port."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "serve.log"
        self._settings = folder / "kfbot.toml"
        self._running: asyncio.subprocess.Process | None = None
        self._pid = 0

    @property
    def pid(self) -> int:
        """Its process; 0 while there is none."""
        return self._pid

    @property
    def alive(self) -> bool:
        """It was started, and was not seen to end."""
        return self._pid != 0

    async def start(self) -> None:
        """Start it, and wait until it can answer."""
        await self.launch()
        await self.ready()

    async def launch(self) -> None:
        """Start it, and wait for nothing."""
        assert not self.alive, f"{self.name} is running already"
        async with asyncio.timeout(START_SECONDS):
            self._pid = await self._spawn()

    async def ready(self) -> None:
        """Wait until it can answer."""
        ended = asyncio.create_task(self._ended())
        answers = asyncio.create_task(self._answers())
        tasks = {ended, answers}
        done, _ = await asyncio.wait(
            tasks, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if ended in done:
            self._pid = 0
        assert done == {answers}, f"{self.name} did not get ready\n{self.tail()}"

    async def kill(self) -> Fault:
        """Kill it with SIGKILL; returns once it is gone."""
        start = time.monotonic()
        self.signal(signal.SIGKILL)
        await self._until_ended(STOP_SECONDS)
        return Fault(start, time.monotonic() + _UNDER_WAY_SECONDS)

    async def stop(self) -> int:
        """Stop it with SIGTERM; returns its exit status."""
        self.signal(signal.SIGTERM)
        return await self._until_ended(STOP_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        try:
            assert self.alive
            os.kill(self._pid, number)
        except (AssertionError, ProcessLookupError):
            raise AssertionError(f"{self.name} is not running\n{self.tail()}") from None

    async def close(self) -> None:
        """Leave nothing behind, whatever happened."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            await self._until_ended(STOP_SECONDS)

    def timeouts(self) -> Counter[str]:
        """How often it gave up waiting for the platform's answer, by the message's id."""
        return Counter(re.findall(rf"{_TOO_LATE}.*? message_id=(\S+)", self._logged()))

    def _logged(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def tail(self) -> str:
        """What of its log tells most: how often what happened, its complaints, its last lines."""
        text = self._logged()
        lines = text.splitlines()
        events = Counter(re.findall(r" event=(\w+)", text)).most_common()
        complaints = [line for line in lines if re.match(r"\S+ (warning|error) ", line)]
        counted = ", ".join(f"{event}: {count}" for event, count in events)
        return "\n".join([f"--- {self.log}", counted, *complaints[-10:], "…", *lines[-10:]])

    async def _until_ended(self, seconds: float) -> int:
        try:
            async with asyncio.timeout(seconds):
                status = await self._ended()
        except TimeoutError:
            raise AssertionError(f"{self.name} does not end\n{self.tail()}") from None
        self._pid = 0
        return status

    async def _answers(self) -> None:
        async with aiohttp.ClientSession() as http:
            while True:
                try:
                    async with http.get(f"{self.url}/healthz") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.01)

    async def _spawn(self) -> int:
        command = ["-m", "kfbot", "serve", "--settings", str(self._settings)]
        with self.log.open("ab") as log:
            self._running = await _python(command, stdin=DEVNULL, stdout=log, stderr=log)
        return self._running.pid

    async def _ended(self) -> int:
        assert self._running is not None
        return await self._running.wait()


class HoldingServer(Server):
    """One that needs no model, starts fast, and can stand still; see `serve_and_hold`."""

    def __init__(self, name: str, folder: Path, options: Mapping[str, object]) -> None:
        super().__init__(name, folder)
        self._options = options

    async def close(self) -> None:
        """Leave nothing behind, whatever happened."""
        await super().close()
        if self._running is not None:
            _, running = self._pipes()
            running.close()
            await self._running.wait()

    async def _spawn(self) -> int:
        if self._running is None:
            named = {"name": self.name, "log": self.log} | dict(self._options)
            options = [f"--{key}={value}" for key, value in named.items()]
            command = ["-m", "tests.faults.serve_and_hold", *options, "--", "--settings"]
            self._running = await _python(
                [*command, str(self._settings)], stdin=PIPE, stdout=PIPE, stderr=None
            )
        _, order = self._pipes()
        order.write(b"\n")
        return await self._read("started")

    async def _ended(self) -> int:
        return await self._read("ended")

    async def _read(self, word: str) -> int:
        """The number behind a word of the launcher."""
        said, _ = self._pipes()
        line = (await said.readline()).decode().split()
        assert line[:1] == [word], f"the launcher of {self.name} says {line}\n{self.tail()}"
        return int(line[1])

    def _pipes(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        assert self._running is not None
        assert self._running.stdout is not None
        assert self._running.stdin is not None
        return self._running.stdout, self._running.stdin


async def _python(
    arguments: Sequence[str], *, stdin: int, stdout: int | IO[bytes], stderr: IO[bytes] | None
) -> asyncio.subprocess.Process:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KFBOT_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=_CHECKOUT,
        env=kept | {"PYTHONUTF8": "1"},
    )


def free_port() -> int:
    """A port that nobody listens at, and that nobody is given by chance.

    Ports from 32768 on are lent to outgoing connections, of which a test makes many: one of them
    could have the port of a server while that is dead.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
