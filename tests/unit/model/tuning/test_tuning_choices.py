"""What a tuning chooses by itself, and what it does not change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kfbot.model.tuning.asking import Tuning
from kfbot.model.tuning.choices import Surroundings, choose

ASKED = Tuning(data=Path("data"), base="base", out=Path("out"))
AROUND = Surroundings(
    examples=2_000,
    longest=900,
    context=32_768,
    parameters=8_000_000_000,
    layers=36,
    hidden=4096,
    memory_bytes=80_000_000_000,
)


def test_what_is_asked_for_is_kept() -> None:
    asked = replace(ASKED, epochs=2.0, learning_rate=3e-5, rank=4, batch=2, length=512)
    chosen = choose(asked, AROUND)
    assert (chosen.learning_rate, chosen.rank, chosen.batch, chosen.length) == (3e-5, 4, 2, 512)
    assert chosen.epochs == 2.0
    assert chosen.steps == 250


def test_steps_stand_instead_of_epochs() -> None:
    chosen = choose(replace(ASKED, steps=25, batch=8), AROUND)
    assert chosen.steps == 25
    assert chosen.epochs == 0.2


def test_less_memory_makes_the_batch_smaller_and_learns_from_as_many_examples_together() -> None:
    wide, tight = choose(ASKED, AROUND), choose(ASKED, replace(AROUND, memory_bytes=24_000_000_000))
    assert wide.batch > tight.batch >= 1
    assert wide.batch * wide.accumulation == tight.batch * tight.accumulation == 16


def test_several_gpus_share_what_is_learned_from_together() -> None:
    chosen = choose(ASKED, replace(AROUND, devices=4))
    assert chosen.batch * chosen.accumulation * 4 == 16


def test_few_examples_get_a_smaller_adapter_and_more_passes() -> None:
    few, many = choose(ASKED, replace(AROUND, examples=50)), choose(ASKED, AROUND)
    most = choose(ASKED, replace(AROUND, examples=50_000))
    assert few.rank < many.rank < most.rank
    assert few.epochs > most.epochs


@pytest.mark.parametrize("method", ["lora", "qlora", "dora", "ia3", "full"])
def test_preferences_are_learned_more_slowly_than_answers(method: str) -> None:
    asked = replace(ASKED, method=method)  # type: ignore[arg-type]
    preferring = replace(asked, objective="dpo")
    assert choose(preferring, AROUND).learning_rate < choose(asked, AROUND).learning_rate


def test_the_length_is_that_of_the_longest_example_as_far_as_the_model_reads() -> None:
    assert choose(ASKED, AROUND).length == 900
    assert choose(ASKED, replace(AROUND, context=512)).length == 512


def test_a_tuning_is_looked_at_ten_times_and_a_short_one_at_every_step() -> None:
    assert choose(replace(ASKED, steps=200), AROUND).every == 20
    assert choose(replace(ASKED, steps=3), AROUND).every == 1
