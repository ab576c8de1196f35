"""Parses files in child processes: `python -m knowledge.parsing`, orders in, results out.

Parsers of hostile or huge files may hang, eat memory or crash; the bot goes on answering, and
the file is named. Frames on both pipes: the length as 4 bytes, big-endian, then a pickle.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import struct
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, BinaryIO

from kfbot.errors import KnowledgeBaseUnavailable
from knowledge import children
from knowledge.cleaning import CleaningPolicy
from knowledge.documents import SourceFile
from knowledge.reading import Parsed, parse

#: A file that takes longer is left out: 200 pages by OCR take less on a slow core.
FILE_SECONDS = 900.0
#: A child that needs more is refused memory.
MEMORY_BYTES = 4 * 1024**3
#: Children at once, at most; one core is left to whoever answers customers.
MOST_CHILDREN = 4
#: The module that a child runs.
CHILD = "knowledge.parsing"
#: So few files are not worth a second child's start.
_FILES_A_CHILD = 8


async def parse_files(
    files: Sequence[SourceFile],
    policy: CleaningPolicy,
    done: Callable[[int, Parsed, float], Awaitable[None]],
) -> list[Parsed]:
    """Parse files, and return what each gave in their order.

    A file that breaks its parser is unreadable, no more. `done` is told the place of each file
    that is parsed, what it gave, and how many seconds that took.

    Raises:
        KnowledgeBaseUnavailable: The machine has no room for a child process.
    """
    results: list[Parsed] = [Parsed()] * len(files)
    waiting = iter(range(len(files)))

    async def work() -> None:
        async with _Child() as child:
            for number in waiting:
                began = time.perf_counter()
                results[number] = await child.parse(files[number], policy)
                await done(number, results[number], time.perf_counter() - began)

    spare_cores = max((os.cpu_count() or 1) - 1, 1)
    count = min(-(-len(files) // _FILES_A_CHILD), spare_cores, MOST_CHILDREN)
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(work())
    except* OSError as faults:
        reason = f"files cannot be read: {faults.exceptions[0]}"
        raise KnowledgeBaseUnavailable(reason) from faults
    return results


class _Child:
    """A child process that parses one file after the other, started again when it breaks."""

    def __init__(self) -> None:
        self._process: Process | None = None

    async def __aenter__(self) -> _Child:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._end()

    async def parse(self, file: SourceFile, policy: CleaningPolicy) -> Parsed:
        try:
            async with asyncio.timeout(FILE_SECONDS):
                result = await self._ask(file, policy)
        except TimeoutError:
            await self._end()
            return _left_out(file, f"took longer than {FILE_SECONDS:.0f} s")
        except (asyncio.IncompleteReadError, ConnectionError):
            return _left_out(file, _reason(await self._end()))
        except BaseException:
            await self._end()
            raise
        return result

    async def _ask(self, file: SourceFile, policy: CleaningPolicy) -> Parsed:
        if self._process is None:
            self._process = await children.start(CHILD, stdin=PIPE, stdout=PIPE, stderr=DEVNULL)
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(_frame((file, policy)))
        await stdin.drain()
        (length,) = struct.unpack(">I", await stdout.readexactly(4))
        content = await stdout.readexactly(length)
        # Unpacking what a large file gave takes a while.
        result: Parsed = await asyncio.to_thread(pickle.loads, content)
        return result

    async def _end(self) -> int | None:
        """End the process; how it ended."""
        process, self._process = self._process, None
        return None if process is None else await children.end(process)


def _left_out(file: SourceFile, reason: str) -> Parsed:
    return Parsed(unreadable=(f"{file.name}: {reason}, left out",), is_complete=False)


def _reason(code: int | None) -> str:
    with suppress(ValueError):
        if code is not None and code < 0:
            return f"its parser broke down ({signal.Signals(-code).name})"
    return "its parser broke down"


def _frame(value: Any) -> bytes:
    content = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return struct.pack(">I", len(content)) + content


# The child


def main() -> None:
    """Answer orders on stdin until it is closed."""
    children.step_back()
    children.limit_memory(MEMORY_BYTES)
    # Libraries print: their words must not get among the frames.
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for file, policy in _orders(sys.stdin.buffer):
        results.write(_frame(_parsed(file, policy)))
        results.flush()


def _parsed(file: SourceFile, policy: CleaningPolicy) -> Parsed:
    try:
        return parse(file, policy)
    except MemoryError:
        return _left_out(file, f"needs more than {MEMORY_BYTES // 1024**3} GB of memory")
    except RecursionError:
        return _left_out(file, "is nested too deeply")
    except Exception as error:
        # A parser's fault that nobody foresaw must not take the other files with it.
        return _left_out(file, f"its parser failed ({type(error).__name__})")


def _orders(stream: BinaryIO) -> Iterator[tuple[SourceFile, CleaningPolicy]]:
    while header := stream.read(4):
        (length,) = struct.unpack(">I", header)
        # Only the parent writes here.
        yield pickle.loads(stream.read(length))  # noqa: S301


if __name__ == "__main__":
    main()
