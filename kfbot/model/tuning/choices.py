"""What a tuning is not told: epochs, rates and sizes that fit data and memory. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kfbot.model.tuning.asking import Method, Objective, Tuning

#: By method, for supervised tuning and for preferences. LoRA takes about ten times the rate of
#: full tuning (https://thinkingmachines.ai/blog/lora/); IA3 learns few numbers and wants more.
_RATES: dict[Method, tuple[float, float]] = {
    "lora": (2e-4, 1e-5),
    "qlora": (2e-4, 1e-5),
    "dora": (2e-4, 1e-5),
    "ia3": (3e-3, 3e-4),
    "full": (1e-5, 5e-7),
}
#: (at least so many examples, value), the largest first.
_EPOCHS = ((20_000, 1), (5_000, 2), (0, 3))
_RANKS = ((10_000, 32), (1_000, 16), (0, 8))
_TOGETHER = ((500, 16), (100, 8), (0, 4))
#: Checkpoints and looks at the validation examples in one tuning.
_LOOKS = 10
#: A single example that is far longer than the others should not decide the batch.
_LONGEST = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What choices depend on."""

    examples: int
    #: Tokens of the longest example.
    longest: int
    #: Tokens that the model reads.
    context: int
    parameters: int
    layers: int
    hidden: int
    #: Free on each device, before the model is there.
    memory_bytes: int
    devices: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Every number of a tuning."""

    epochs: float
    learning_rate: float
    rank: int
    batch: int
    #: Batches that are learned from together.
    accumulation: int
    length: int
    steps: int
    #: Steps between two checkpoints.
    every: int


def choose(tuning: Tuning, around: Surroundings) -> Choices:
    """What was asked for, and for the rest what fits."""
    length = tuning.length or min(around.longest, around.context, _LONGEST)
    together = _by_size(_TOGETHER, around.examples)
    batch = tuning.batch or _batch(tuning.method, tuning.objective, length, around, together)
    accumulation = max(1, round(together / (batch * around.devices)))
    batches = math.ceil(around.examples / (batch * around.devices))
    pass_steps = math.ceil(batches / accumulation)
    epochs = tuning.epochs or _by_size(_EPOCHS, around.examples)
    steps = tuning.steps or math.ceil(epochs * pass_steps)
    return Choices(
        epochs=round(steps / pass_steps, 2),
        learning_rate=tuning.learning_rate or _RATES[tuning.method][tuning.objective != "sft"],
        rank=tuning.rank or _by_size(_RANKS, around.examples),
        batch=batch,
        accumulation=accumulation,
        length=length,
        steps=steps,
        every=max(1, steps // _LOOKS),
    )


def weight_bytes(method: Method, parameters: int) -> int:
    """Memory for weights, gradients and Adam's state, before any example, in bytes, about."""
    if method == "full":
        return parameters * 16
    # An adapter's own state is small beside the tenth that is added for it.
    return int(parameters * (0.6 if method == "qlora" else 2) * 1.1)


def _batch(
    method: Method, objective: Objective, length: int, around: Surroundings, together: int
) -> int:
    """A power of two that memory holds, as far as can be said before."""
    # What a checkpointed layer keeps, one layer that is computed again, and some logits.
    per_token = 4 * around.hidden * (around.layers + 32) + 64 * 1024
    per_example = per_token * length * (1 if objective == "sft" else 2)
    room = 0.8 * around.memory_bytes - weight_bytes(method, around.parameters)
    batch = max(1, together // around.devices)
    while batch > 1 and batch * per_example > room:
        batch //= 2
    return min(batch, 8)


def _by_size(table: tuple[tuple[int, int], ...], examples: int) -> int:
    return next(value for least, value in table if examples >= least)
