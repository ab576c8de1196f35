"""The adversarial set through the writer: what a scripted model writes, and what is shown of it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kfbot.chat_model import Usage
from kfbot.errors import CompletionInvalid
from kfbot.grounding.support import check
from kfbot.grounding.writing import Writer
from kfbot.knowledge_base import Passage
from kfbot.language import language_of
from kfbot.testing import FakeChatModel
from tests.adversarial.cases import NOTHING, SCENES, TRUE, UNTRUE, Case, Scene


async def shown(question: str, passages: Sequence[str], writes: str) -> tuple[str, list[str]]:
    """The answer, "" if there is none, and all that was shown on the way to it."""
    found = [
        Passage(
            knowledge_base="shop",
            document_id=str(number),
            chunk_id=str(number),
            kind="document",
            title="",
            text=text,
            score=1.0,
        )
        for number, text in enumerate(passages)
    ]
    parts: list[str] = []

    async def on_text(text: str) -> None:
        parts.append(text)

    writer = Writer(FakeChatModel([writes]))
    try:
        written = await writer.write(
            question, found, language=language_of(question), usage=Usage(), on_text=on_text
        )
    except CompletionInvalid:
        return "", parts
    return written.text if written else "", parts


@pytest.mark.asyncio
@pytest.mark.parametrize("case", UNTRUE, ids=lambda case: case.name)
async def test_what_a_document_does_not_say_is_never_shown(case: Case) -> None:
    text, parts = await shown(case.question, [case.document], f"{case.sentence}[1]")
    assert (text, parts) == ("", [])


@pytest.mark.asyncio
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_of_a_whole_completion_only_what_is_said_is_shown(scene: Scene) -> None:
    text, parts = await shown(scene.question, scene.passages, scene.writes)
    for lie in scene.lie:
        assert not any(lie in part for part in [text, *parts])
    for words in scene.says:
        assert words in text


@pytest.mark.asyncio
async def test_true_paraphrases_are_shown() -> None:
    kept = [
        case
        for case in TRUE
        if (await shown(case.question, [case.document], f"{case.sentence}[1]"))[0]
    ]
    assert len(kept) >= 130
    assert len(kept) / len(TRUE) >= 0.9


def test_the_set_is_as_large_as_it_should_be() -> None:
    assert len(UNTRUE) + len(SCENES) >= 300
    assert len(TRUE) >= 140
    assert {case.language for case in UNTRUE} == {"en", "zh"}


@pytest.mark.parametrize("case", NOTHING, ids=lambda case: case.name)
def test_a_greeting_states_nothing(case: Case) -> None:
    assert check(case.sentence, case.document) == "nothing"
