"""Which questions lean on earlier ones, and on what of them."""

from __future__ import annotations

import pytest

from kfbot.conversation import HistoryMessage
from kfbot.texts import texts
from kfbot.understanding.correction import Correction, correction
from kfbot.understanding.follow_up import better_joined, carried, context, leaning, leans


def customer(text: str) -> HistoryMessage:
    return HistoryMessage("customer", text)


def bot(text: str) -> HistoryMessage:
    return HistoryMessage("bot", text)


@pytest.mark.parametrize(
    "question",
    [
        "and to Canada?", "what about lamps?", "how much does it cost", "can I return that?",
        "are they free", "express?", "will it kill him", "那国外呢", "它多少钱", "这个能退吗",
        "运费呢？", "国外", "要是坏了怎么办",
    ],
)  # fmt: skip
def test_these_lean_on_what_was_asked_before(question: str) -> None:
    assert leans(question)


@pytest.mark.parametrize(
    "question",
    [
        "Do you rent out furniture by the month?", "how do I return a lamp", "where is my order",
        "你们招人吗", "发票怎么开", "退货运费谁出", "能开专用发票吗", "can I pay with PayPal",
    ],
)  # fmt: skip
def test_these_stand_on_their_own(question: str) -> None:
    assert not leans(question)


def test_a_question_leans_less_the_more_it_says_and_the_less_of_it_is_known() -> None:
    short = leaning("when does it open", {"length": 0.7, "unknown": 0.0})
    assert short > 0.5
    assert leaning("when does it open", {"length": 2.5, "unknown": 0.0}) < short
    assert leaning("when does it open", {"length": 0.7, "unknown": 0.8}) < short
    assert leaning("when do you open", {"length": 0.7, "unknown": 0.0}) < short


def test_a_question_of_which_nothing_was_found_leans_by_its_words_alone() -> None:
    assert leaning("and that?", {}) > 0.5 > leaning("Do you rent out furniture by the month?", {})


def test_what_hardly_leans_must_be_far_better_joined() -> None:
    assert better_joined(0.9, 0.3, 0.4)
    assert not better_joined(0.1, 0.3, 0.4)
    assert not better_joined(0.9, 0.0, 0.0)


def test_context_is_what_was_said_without_small_talk_and_the_bots_own_phrases() -> None:
    history = [
        bot(texts("en").chat_greeting),
        customer("hello"),
        bot(texts("en").small_talk["greeting"]),
        customer("Do you ship lamps?"),
        bot("Lamps ship within two days."),
        customer("a person please"),
        bot(texts("en").handoff_asked),
        HistoryMessage("agent", "Yes, glass ones too."),
        customer("  "),
        customer("谢谢"),
    ]
    assert context(history) == (
        "Do you ship lamps?",
        "Lamps ship within two days.",
        "Yes, glass ones too.",
    )


def test_only_the_last_messages_are_carried() -> None:
    history = [customer(f"question {number}") for number in range(50)]
    assert context(history) == tuple(f"question {number}" for number in range(44, 50))


def test_only_the_customers_last_questions_are_shown_and_no_small_talk() -> None:
    history = [
        customer("one?"), customer("two?"), bot("an answer"), customer("thanks"),
        customer("three?"), customer("four?"),
    ]  # fmt: skip
    assert carried("and there?", history) == "two?\nthree?\nfour?\nand there?"
    assert carried("and there?", []) == "and there?"


ASKED = [customer("How do returns work?"), bot("Within 15 days."), customer("怎么退货")]


@pytest.mark.parametrize(
    ("text", "meant", "rejected"),
    [
        ("No, I meant to Canada", "to Canada", ""),
        ("I mean the blue one", "the blue one", ""),
        ("What? No, the vegan ones.", "the vegan ones.", ""),
        ("I meant exchanges, not returns", "exchanges", "returns"),
        ("not returns, exchanges", "exchanges", "returns"),
        ("No, not the red one but the blue one", "the blue one", "the red one"),
        ("不是退货，是换货", "换货", "退货"),
        ("不是退货而是换货", "换货", "退货"),
        ("不是，我问的是国际运费", "国际运费", ""),
        ("不对，我是说换货", "换货", ""),
        ("我说的是换货", "换货", ""),
    ],
)
def test_a_correction_says_what_is_meant_and_what_is_not(
    text: str, meant: str, rejected: str
) -> None:
    assert correction(text, [*ASKED[:1], ASKED[2]]) == Correction(meant, rejected)


@pytest.mark.parametrize(
    "text",
    [
        "no", "no thanks", "no problem", "Not sure how to return", "not working, what now?",
        "我不是会员，可以买吗", "不是正品怎么办", "是不是正品", "What do you mean by returns?",
        "No, I meant " + "x" * 500,
    ],
)  # fmt: skip
def test_these_correct_nothing(text: str) -> None:
    assert correction(text, ASKED) is None


def test_nothing_is_corrected_where_nothing_was_asked() -> None:
    assert correction("No, I meant to Canada", []) is None


def test_a_correction_takes_back_the_answer_and_the_rejected_words() -> None:
    history = [customer("How do Returns work for lamps?"), bot("Returns take 15 days.")]
    fix = correction("not the returns, the exchanges", history)
    assert context(history, fix) == ("How do   work for lamps?",)
    history = [customer("怎么退货"), bot("15 天内可以退货。")]
    assert context(history, correction("不是退货，是换货", history)) == ("怎么 ",)


def test_a_rejected_word_inside_another_stays() -> None:
    assert Correction("dogs", "cat").without_rejected("a catalogue") == "a catalogue"


def test_a_hostile_message_is_read_in_no_time() -> None:
    evil = "no, " * 40 + "not " + "a " * 15
    assert correction(evil, ASKED) is None
    assert correction("不是" * 90, ASKED) is None


@pytest.mark.parametrize(
    "message",
    [
        "No, I have to go now", "No! That's wrong", "No, I'm good", "no, thank you, that is all",
        "No, it is still broken", "不是，我要投诉", "不对，算了",
    ],
)  # fmt: skip
def test_not_every_no_corrects_the_question(message: str) -> None:
    assert correction(message, ASKED) is None
