"""What a question takes from the messages before it."""

from __future__ import annotations

import numpy as np
import pytest

from knowledge.earlier import MESSAGES, NOTHING_EARLIER, READ_LENGTH, Earlier, embedded


async def embed(text: str) -> np.ndarray:
    """A vector for each text of a test: its first letter decides the direction."""
    vector = np.zeros(26, np.float32)
    vector[ord(text[0].lower()) - ord("a")] = 1
    return vector


def earlier(*texts: str) -> Earlier:
    said = tuple("".join(text.split()) for text in texts)
    return Earlier(texts, np.zeros((len(texts), 26), np.float32), said)


@pytest.mark.asyncio
async def test_the_nearest_message_weighs_most_and_the_question_more_than_any() -> None:
    vector, before = await embedded("question", ["alpha", "beta"], embed)
    mixed = before.mixed_into(vector)
    alpha, beta, question = (float(mixed[ord(letter) - ord("a")]) for letter in "abq")
    assert 0 < alpha < beta < question
    assert np.linalg.norm(mixed) == pytest.approx(1)


@pytest.mark.asyncio
async def test_without_messages_a_question_stays_exactly_what_it_is() -> None:
    vector, before = await embedded("question", ["", " \n"], embed)
    assert before is NOTHING_EARLIER
    assert before.mixed_into(vector) is vector


@pytest.mark.asyncio
async def test_only_the_last_messages_are_read_and_of_each_the_beginning() -> None:
    said = [f"m{number}" + "x" * 10_000 for number in range(40)]
    _, before = await embedded("question", said, embed)
    assert [text[:3] for text in before.texts] == [text[:3] for text in said[-MESSAGES:]]
    assert {len(text) for text in before.texts} == {READ_LENGTH}


def test_a_text_has_been_said_where_a_message_holds_all_of_it() -> None:
    before = earlier("Here it is:\nWe ship to many countries, and to Canada.", "Yes.")
    assert before.has("We ship to many  countries,\nand to Canada.")
    assert not before.has("We ship to many countries, and to Canada, and to Peru.")
    assert not before.has("")


def test_a_short_text_has_been_said_only_by_itself() -> None:
    before = earlier("Yes. That is so.", "No.")
    assert before.has("No.")
    assert not before.has("Yes.")


@pytest.mark.asyncio
async def test_of_a_question_that_stands_alone_nothing_is_made_but_what_was_said_is_known() -> None:
    vector, before = await embedded("question", ["alpha and so on, and on"], embed, standalone=True)
    assert before.mixed_into(vector) is vector
    assert before.texts == ()
    assert before.has("alpha and so on, and on")
