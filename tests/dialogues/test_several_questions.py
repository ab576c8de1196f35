"""Messages with several questions, and written answers to "which of these do you mean?"."""

from __future__ import annotations

import pytest

from tests.dialogues.conftest import Stage

pytestmark = pytest.mark.asyncio


async def test_two_questions_in_one_message_get_both_answers(stage: Stage) -> None:
    [reply] = await stage.customer_says("How do I return an item? When will my refund arrive?")
    assert reply.text == "Open the order and press Return.\n\nWithin 2 business days."
    assert len(reply.citations) == 2


async def test_two_chinese_questions_in_one_sentence_get_both_answers(stage: Stage) -> None:
    [reply] = await stage.customer_says("运费是多少，怎么开发票？")
    assert reply.text == "满 99 元包邮，否则 8 元。\n\n在订单页申请电子发票。"


async def test_a_person_answers_what_the_bot_cannot_of_several_questions(stage: Stage) -> None:
    [reply] = await stage.customer_says("运费是多少？你们招人吗？")
    assert reply.kind == "handoff"
    assert reply.text.startswith("满 99 元包邮，否则 8 元。")
    assert "“你们招人吗？”" in reply.text
    [case] = stage.desk.opened
    assert "你们招人吗" in case.question


async def test_the_same_question_twice_is_answered_once(stage: Stage) -> None:
    [reply] = await stage.customer_says("怎么开发票？？怎么开发票？")
    assert reply.text == "在订单页申请电子发票。"


async def test_a_choice_is_made_by_saying_which(stage: Stage) -> None:
    [offer] = await stage.customer_says("return an item")
    labels = [button.label for button in offer.buttons if button.action == "choice"]
    assert len(labels) > 1
    [reply] = await stage.customer_says("the second one")
    assert (
        reply.text
        == {
            "How long do I have to return an item?": "You have 15 days.",
            "How do I return an item?": "Open the order and press Return.",
        }[labels[1]]
    )


async def test_a_customer_who_means_none_of_the_choices_gets_a_person(stage: Stage) -> None:
    await stage.customer_says("return an item")
    [reply] = await stage.customer_says("none of these")
    assert reply.kind == "handoff"
    [case] = stage.desk.opened
    assert case.question == "return an item"
