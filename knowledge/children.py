"""Child processes of this very installation, for work that would hold up the answers."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, Process
from contextlib import suppress
from pathlib import Path

#: What a child may take to end by itself once its input is closed.
_MOMENT_SECONDS = 0.5
_ROOT = Path(__file__).resolve().parents[1]


async def start(
    module: str, *arguments: str, stdin: int = DEVNULL, stdout: int, stderr: int
) -> Process:
    """Run `python -m module arguments`; the streams are as asyncio.subprocess has them.

    Raises:
        OSError: The machine has no room for it.
    """
    # -P and the path: whatever folder the server runs in, the child finds these very modules.
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        module,
        *arguments,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, sys.path)])},
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
    )


async def end(child: Process) -> int:
    """Have a child gone; its exit code, negative for the signal that ended it.

    What is ending by itself is given a moment: its own code says more than a kill.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(_MOMENT_SECONDS):
            if child.stdin is not None:
                child.stdin.close()
            return await child.wait()
    with suppress(ProcessLookupError):
        child.kill()
    return await child.wait()


def step_back() -> None:
    """Called in a child: let whoever answers customers go first."""
    with suppress(OSError, AttributeError):
        os.nice(10)


def limit_memory(size: int) -> None:
    """Called in a child: refuse it more than this many bytes of address space."""
    # Not on every platform.
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (size, size))
