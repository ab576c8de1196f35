"""What is seen of a tuning while it runs: each look at the loss, for a file and for a person."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kfbot.model.tuning.asking import checkpoints

LOSSES = "loss.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A tuning after a step."""

    step: int
    steps: int
    #: Of the examples that are learned, and of those for validation; None: not measured here.
    loss: float | None = None
    validation_loss: float | None = None
    learning_rate: float | None = None
    #: Preferences: by how much the chosen answer is ahead, in nats times beta.
    margin: float | None = None
    tokens_per_second: float = 0.0
    #: Until the end, as it goes.
    remaining_seconds: float = 0.0


#: Told each look.
OnLook = Callable[[Look], None]


def read_losses(out: Path) -> list[dict[str, Any]]:
    """The looks of a tuning, as its file holds them; a line that was cut off is left out."""
    found = []
    try:
        for line in (out / LOSSES).read_text("utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                break
    except OSError:
        return []
    return found


def forget_after(out: Path, step: int) -> None:
    """Leave out what a tuning that goes on from a step will do again."""
    kept = [json.dumps(look) + "\n" for look in read_losses(out) if look["step"] <= step]
    (out / LOSSES).write_text("".join(kept), "utf-8")


def watching(out: Path, on_look: OnLook) -> Any:
    """A callback for a trainer; the first process alone writes and tells."""
    from transformers import TrainerCallback

    watch = _Watch(out, on_look)

    class Watching(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            watch.begin(state)

        def on_log(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if state.is_world_process_zero and {"loss", "eval_loss"} & set(more["logs"]):
                watch.look(state, more["logs"])

    return Watching()


class _Watch:
    """The clock and the counter of a tuning."""

    def __init__(self, out: Path, on_look: OnLook) -> None:
        self._out, self._on_look = out, on_look
        self._began, self._first_step = 0.0, 0
        self._first_tokens: float | None = None
        self._tokens_per_second = 0.0

    def begin(self, state: Any) -> None:
        self._began, self._first_step = time.monotonic(), state.global_step
        if state.is_world_process_zero:
            forget_after(self._out, state.global_step)

    def look(self, state: Any, logs: Mapping[str, Any]) -> None:
        seconds = time.monotonic() - self._began
        if "loss" in logs:
            self._count(logs.get("num_tokens", 0.0), seconds)
        done, left = state.global_step - self._first_step, state.max_steps - state.global_step
        kind = "eval_" if "eval_loss" in logs else ""
        look = Look(
            step=state.global_step,
            steps=state.max_steps,
            loss=logs.get("loss"),
            validation_loss=logs.get("eval_loss"),
            learning_rate=logs.get("learning_rate"),
            margin=logs.get(f"{kind}rewards/margins"),
            tokens_per_second=round(self._tokens_per_second, 1),
            remaining_seconds=round(left * seconds / done, 1) if done else 0.0,
        )
        with (self._out / LOSSES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(look)) + "\n")
        self._on_look(look)

    def _count(self, tokens: float, seconds: float) -> None:
        if self._first_tokens is None:
            # trl counts on from a checkpoint: what was before this look is not of this run.
            self._first_tokens = 0.0 if self._first_step == 0 else tokens
        self._tokens_per_second = (tokens - self._first_tokens) / max(seconds, 1e-9)


def resumed_step(out: Path) -> int:
    """The step of the last whole checkpoint; 0: there is none."""
    kept = checkpoints(out)
    return int(kept[-1].name.rpartition("-")[2]) if kept else 0
