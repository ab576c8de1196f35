"""Voice messages, pictures, places, polls and stickers: a kind word each, and never a handoff."""

from __future__ import annotations

from typing import Any

import pytest

from kfbot.conversation import State
from kfbot.messages import Attachment, ConversationId
from kfbot.texts import texts
from kfbot.understanding.wordless import SMILE
from tests.dialogues.conftest import Stage

pytestmark = pytest.mark.asyncio

EN, ZH = texts("en"), texts("zh")
VOICE = (Attachment("telegram-file:v", "audio/ogg", "voice"),)
STICKER = (Attachment("telegram-file:s", "image/webp", "sticker"),)
GROUP: dict[str, Any] = {"chat": ConversationId("shop", "group-1"), "in_group": True}


@pytest.mark.parametrize(
    "attachment",
    [
        VOICE[0],
        Attachment("telegram-file:p", "image/jpeg", "photo.jpg"),
        Attachment("geo:1.5,-2", name="location"),
        Attachment("telegram-poll:", name="Red or blue?"),
        Attachment("telegram-file:s", "image/webp", "sticker"),
    ],
    ids=lambda one: one.name,
)
async def test_what_has_no_words_gets_one_polite_sentence_and_a_way_to_a_person(
    stage: Stage, attachment: Attachment
) -> None:
    await stage.customer_says("How do I return an item?")
    [reply] = await stage.customer_says("", attachments=(attachment,))
    assert (reply.text, [one.label for one in reply.buttons]) == (EN.only_text, [EN.person])
    assert stage.desk.opened == []
    assert (await stage.conversation()).state is State.BOT
    [handoff] = await stage.customer_presses(EN.person)
    assert handoff.kind == "handoff"


async def test_it_is_said_in_the_customers_language_or_in_both_where_that_is_not_known(
    stage: Stage,
) -> None:
    [reply] = await stage.customer_says("", attachments=VOICE)
    assert reply.text == f"{EN.only_text}\n\n{ZH.only_text}"
    assert [one.label for one in reply.buttons] == [EN.person, ZH.person]
    await stage.customer_says("运费是多少")
    [reply] = await stage.customer_says("", attachments=VOICE)
    assert reply.text == ZH.only_text


@pytest.mark.parametrize("text", ["👍", "🙏🏽", "❤️", "🎉🎉", ":)", ":-)) ;)"])
async def test_thanks_by_sticker_or_emoji_get_a_smile(stage: Stage, text: str) -> None:
    await stage.customer_says("How do I return an item?")
    for attachments in ((), STICKER):
        [reply] = await stage.customer_says(text, attachments=attachments)
        assert (reply.text, reply.buttons) == (SMILE, ())
    assert stage.desk.opened == []


async def test_a_wave_is_a_greeting_and_anger_gets_no_smile(stage: Stage) -> None:
    await stage.customer_says("How do I return an item?")
    [wave] = await stage.customer_says("👋")
    [angry] = await stage.customer_says("😡", attachments=STICKER)
    [puzzled] = await stage.customer_says("???")
    assert wave.text == EN.small_talk["greeting"]
    assert (angry.text, puzzled.text) == (EN.only_text, EN.empty)


async def test_a_picture_and_the_question_to_it_get_one_answer(stage: Stage) -> None:
    await stage.accept(stage.message("", attachments=VOICE))
    [reply] = await stage.customer_says("How do I return an item?")
    assert reply.text == "Open the order and press Return."


async def test_several_pictures_at_once_get_one_sentence(stage: Stage) -> None:
    await stage.customer_says("运费是多少")
    for _ in range(3):
        await stage.accept(stage.message("", attachments=VOICE))
    assert [one.text for one in await stage.customer_says("", attachments=VOICE)] == [ZH.only_text]


async def test_in_a_group_only_what_is_meant_for_the_bot_gets_a_word(stage: Stage) -> None:
    talk: dict[str, Any] = {"attachments": VOICE, "addressed_to_bot": False}
    assert await stage.customer_says("", **GROUP, **talk) == []
    assert len(await stage.customer_says("", **GROUP, attachments=VOICE)) == 1


async def test_while_an_agent_has_the_conversation_the_bot_says_nothing(stage: Stage) -> None:
    await stage.customer_says("A person please")
    assert await stage.customer_says("", attachments=VOICE) == []
    assert await stage.customer_says("👍", attachments=STICKER) == []
