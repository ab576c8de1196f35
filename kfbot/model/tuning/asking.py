"""What `kfbot model tune` is asked to do, and how its failures reach a person."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kfbot.errors import KfbotError
from kfbot.model.weights import memory_fault

Method = Literal["lora", "qlora", "dora", "ia3", "full"]
Objective = Literal["sft", "dpo", "ipo"]
Device = Literal["auto", "cpu", "cuda"]

_NO_ROOM = ("No space left", "PytorchStreamWriter failed", "os error 28")


class TuningError(KfbotError):
    """A model cannot be tuned like this: its text says what to do."""


class TuningWorse(TuningError):
    """The model was tuned and kept, and is not fit to answer customers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """One tuning; None leaves a choice to `choices.choose`."""

    #: A folder of examples, see `kfbot.model.tuning.examples`.
    data: Path
    #: A folder, or a Hugging Face name.
    base: str
    out: Path
    method: Method = "lora"
    objective: Objective = "sft"
    epochs: float | None = None
    learning_rate: float | None = None
    rank: int | None = None
    #: Examples at a time on each device.
    batch: int | None = None
    #: Tokens; an example that is longer is left out, never cut.
    length: int | None = None
    device: Device = "auto"
    seed: int = 0
    resume: bool = False
    #: Instead of epochs.
    steps: int | None = None
    #: Whether the data must hold questions that the passages do not answer.
    refusals: bool = True
    #: At most so many held-out examples are answered, before and after.
    test_limit: int | None = None


@contextmanager
def failures_as_lines(out: Path) -> Iterator[None]:
    """Say what a heavy library means.

    Raises:
        TuningError: Out of memory, disk full, layers that 4 bits cannot hold, or stopped at the
            terminal.
    """
    try:
        yield
    except KfbotError:
        raise
    except KeyboardInterrupt as error:
        raise TuningError(f"stopped; the same command with --resume goes on{_kept(out)}") from error
    except Exception as error:
        text = str(error)
        if isinstance(error, MemoryError) or memory_fault(text):
            raise TuningError(
                "out of memory: a smaller --batch or --length, or --method qlora, takes less;"
                f" name a new --out for it, for --resume keeps those{_kept(out)}"
            ) from error
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or any(one in text for one in _NO_ROOM):
            raise TuningError(
                f"the disk of {out} is full: make room, then --resume{_kept(out)}"
            ) from error
        # bitsandbytes on a CPU, where a layer is narrower than its blocks.
        if isinstance(error, AssertionError) and "divisible by block_n" in text:
            raise TuningError(
                "--method qlora: bitsandbytes cannot work with layers of this size without a GPU;"
                " --method lora can"
            ) from error
        raise


def checkpoints(out: Path) -> list[Path]:
    """The whole checkpoints of a tuning, the oldest first."""
    found = (out / "checkpoints").glob("checkpoint-*")
    # The trainer's state is written last: a folder without it was cut off.
    whole = [one for one in found if (one / "trainer_state.json").is_file()]
    return sorted(whole, key=lambda one: int(one.name.rpartition("-")[2]))


def _kept(out: Path) -> str:
    kept = checkpoints(out)
    return f" (kept: {kept[-1]})" if kept else ""
