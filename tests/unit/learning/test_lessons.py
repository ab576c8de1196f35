"""What a case teaches, and what many ask in vain."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kfbot.conversation import HistoryMessage
from kfbot.learning.lessons import (
    LONGEST_QUESTION,
    Known,
    Lesson,
    Unanswered,
    distinct,
    grouped,
    is_question,
    lesson,
    says_nothing,
)

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def said(*lines: str) -> list[HistoryMessage]:
    """ "c: …" for the customer, "a: …" for the agent."""
    roles = {"c": "customer", "a": "agent", "b": "bot"}
    return [HistoryMessage(roles[line[0]], line[3:]) for line in lines]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "Hello, one moment please",
        "您好，请稍等",
        "您好，请稍等一下哦～",
        "Hi! Let me check that for you.",
        "Thanks for your patience!",
        "Sorry for the wait.",
        "Is there anything else I can help you with?",
        "How can I help you today?",
        "Have a nice day!",
        "You're welcome",
        "Bear with me a moment",
        "我帮您查一下",
        "您好，我是客服小王，很高兴为您服务。",
        "请问有什么可以帮您？",
        "请问还有其他问题吗？",
        "感谢您的耐心等待",
        "不好意思，让您久等了！",
        "祝您生活愉快",
        "👍",
        "   ",
    ],
)
def test_manners_alone_teach_nothing(text: str) -> None:
    assert says_nothing(text)


@pytest.mark.parametrize(
    "text",
    [
        "Hello! You have 15 days.",
        "您好，可以退，7 天内都行。",
        "Wait 3 days before you ask for a refund",
        "请等待 3 个工作日",
        "This is free.",
        "I'm afraid that it cannot be returned.",
        "$5",
        "Let me check the order number that you sent: it left our house yesterday.",
        "客服电话是 400-123-4567，周一到周五",
        "Anything else is not covered by the warranty.",
        "https://shop.example/returns",
        "祝您购物愉快的同时提醒您：发票要在 30 天内申请",
    ],
)
def test_an_answer_is_not_taken_for_manners(text: str) -> None:
    assert not says_nothing(text)


@pytest.mark.parametrize("text", ["", " ", "？？", "转人工", "a person please", "你好", "thanks"])
def test_a_wish_for_a_person_is_no_question(text: str) -> None:
    assert not is_question(text)


def test_a_lesson_is_the_question_of_the_case_and_what_the_agent_answered() -> None:
    found = lesson(
        "Do you ship to Iceland?",
        said("c: Do you ship to Iceland?", "a: Hello, one moment please", "a: Yes, for 20 euros."),
    )
    assert found == Lesson("Do you ship to Iceland?", "Yes, for 20 euros.")


def test_several_messages_of_the_agent_are_one_answer() -> None:
    found = lesson("怎么退货", said("a: 您好", "a: 打开订单。", "c: 然后呢", "a: 点退货。"))
    assert found is not None
    assert found.answer == "打开订单。\n\n点退货。"


@pytest.mark.parametrize("asked", ["", "转人工"])
def test_without_a_question_the_customers_last_words_before_the_answer_are_taken(
    asked: str,
) -> None:
    found = lesson(
        asked,
        said("c: 有赠品吗", "c: 转人工", "a: 您好", "c: 能开专票吗", "a: 可以开。", "c: 多久"),
    )
    assert found == Lesson("能开专票吗", "可以开。")


def test_a_case_without_a_question_or_an_answer_teaches_nothing() -> None:
    assert lesson("怎么退货", said("c: 怎么退货", "a: 您好，请稍等")) is None
    assert lesson("", said("c: 转人工", "a: 可以开。")) is None
    assert lesson("怎么退货", said("c: 怎么退货", "b: 打开订单。")) is None


def test_a_question_of_several_lines_becomes_one_that_is_not_endless() -> None:
    found = lesson("my phone\nis it insured?", said("a: Yes."))
    assert found is not None
    assert found.question == "my phone is it insured?"
    long = lesson("a " * 9000, said("a: Yes."))
    assert long is not None
    assert len(long.question) < LONGEST_QUESTION


def asked(question: str, customer: str, minute: int = 0, **fields: Any) -> Unanswered:
    values: dict[str, Any] = {
        "question": question,
        "conversation_id": minute,
        "customer": customer,
        "channel": "shop",
        "at": NOON + timedelta(minutes=minute),
    }
    return Unanswered(**values | fields)


def test_groups_count_people_not_messages_and_the_most_asked_comes_first() -> None:
    questions = [
        asked("Do you ship to Iceland?", "ann", 1),
        asked("do you ship to iceland", "ann", 2),
        asked("有赠品吗", "bo", 3, knowledge_base="toys"),
        asked("送不送赠品", "cy", 4, knowledge_base="toys"),
        asked("赠品", "di", 5),
    ]
    alike = [["Do you ship to Iceland?"], ["有赠品吗", "送不送赠品", "赠品"]]
    gifts, shipping = grouped(questions, [], alike)
    assert (gifts.people, gifts.questions[0], gifts.knowledge_base) == (3, "有赠品吗", "toys")
    assert [one.customer for one in gifts.asked] == ["di", "cy", "bo"]
    assert (shipping.people, len(shipping.asked)) == (1, 2)


def test_what_was_asked_before_its_answer_was_approved_is_answered() -> None:
    questions = [asked("有赠品吗", "bo", 1), asked("送不送赠品", "cy", 9)]
    known = [
        Known(proposal_id=1, question="赠品", approved_at=NOON + timedelta(minutes=5)),
        Known(proposal_id=2, question="有没有赠品", approved_at=None),
    ]
    alike = [["赠品", "有赠品吗", "送不送赠品", "有没有赠品"]]
    [group] = grouped(questions, known, alike)
    assert [one.customer for one in group.asked] == ["cy"]
    assert group.questions == ("送不送赠品",)
    assert group.proposal_id == 2
    assert grouped(questions[:1], known, alike) == []


def test_questions_that_differ_in_form_alone_are_one() -> None:
    assert distinct(["Do you ship?", "do you  SHIP", "怎么退货", "怎么退货？"]) == [
        "Do you ship?",
        "怎么退货",
    ]
