"""The examples of a tuning: read, and without those that its model cannot hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kfbot.grounding.prompting import NO_ANSWER
from kfbot.model.tuning.asking import Tuning, TuningError
from kfbot.model.tuning.chat_tokens import example_tokens
from kfbot.model.tuning.examples import ChatExample, Preference, read_chat, read_preferences
from kfbot.model.tuning.held_out import chosen_examples
from kfbot.model.tuning.record import hash_of_data


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What is learned, what tells when to stop, and what is asked before and after."""

    train: Sequence[ChatExample] | Sequence[Preference]
    validation: Sequence[ChatExample] | Sequence[Preference]
    test: Sequence[ChatExample]
    #: Of the folder that they come from, all of it.
    sha256: str


def gather(tuning: Tuning) -> Gathered:
    """Read the examples of a tuning.

    Raises:
        TuningError: There are none, or none without an answer.
        TuningDataError: One cannot be used.
    """
    folder = tuning.data
    if not folder.is_dir():
        raise TuningError(f"{folder} does not exist: kfbot model data build makes such a folder")
    train: list[ChatExample] | list[Preference]
    validation: list[ChatExample] | list[Preference]
    if tuning.objective == "sft":
        name = "train.jsonl"
        train = read_chat(folder / name)
        validation = read_chat(folder / "validation.jsonl")
    else:
        name = "preferences.train.jsonl"
        train = read_preferences(folder / name)
        validation = read_preferences(folder / "preferences.validation.jsonl")
    if not train:
        raise TuningError(f"{folder / name} holds no examples: see kfbot model data build")
    if tuning.refusals and not any(map(_refuses, train)):
        raise TuningError(
            f"{folder / name} has no example whose right answer is {NO_ANSWER}: the model would"
            " learn to answer always, true or not; add some, or say --no-refusals"
        )
    test = read_chat(folder / "test.jsonl")
    return Gathered(train=train, validation=validation, test=test, sha256=hash_of_data(folder))


def short_enough(
    tokenizer: Any,
    data: Gathered,
    *,
    length: int,
    context: int,
    test_limit: int,
    seed: int,
    say: Callable[[str], None],
) -> Gathered:
    """Leave out what would have to be cut: half a passage teaches to answer without one.

    Args:
        length: Tokens that an example to learn from may have.
        context: Tokens that a held-out example may have.

    Raises:
        TuningError: Nothing is left to learn.
    """

    def kept(examples: Sequence[Any], most: int) -> list[Any]:
        return [one for one in examples if tokens_of(tokenizer, one) <= most]

    train, validation = kept(data.train, length), kept(data.validation, length)
    test = chosen_examples(kept(data.test, context), test_limit, seed)
    if left_out := len(data.train) - len(train):
        say(f"{left_out} of {len(data.train)} examples are left out: over {length} tokens.")
    if not train:
        raise TuningError(f"every example has more than {length} tokens: give a larger --length")
    if not validation:
        say("No validation examples: it learns to the end and keeps the last checkpoint.")
    if not test:
        say("No held-out examples: nothing is measured before and after.")
    return replace(data, train=train, validation=validation, test=test)


def tokens_of(tokenizer: Any, example: ChatExample | Preference) -> int:
    """Tokens of an example, in the longer of its forms.

    Raises:
        TuningError: The chat template does not take it.
    """
    if isinstance(example, ChatExample):
        return len(example_tokens(tokenizer, example.messages)[0])
    return max(
        len(example_tokens(tokenizer, [*example.prompt, *answer])[0])
        for answer in (example.chosen, example.rejected)
    )


def _refuses(example: ChatExample | Preference) -> bool:
    last = (example.messages if isinstance(example, ChatExample) else example.chosen)[-1]
    return NO_ANSWER in last["content"]
