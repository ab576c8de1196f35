"""Keywords, anger, complaints and repeated questions: what calls for a person."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kfbot.conversation import Turn
from kfbot.handoff.grievances import LastTurn, asks_again, complains, has_keyword, is_angry
from kfbot.messages import Citation

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "keyword", "found"),
    [
        ("I will call my lawyer.", "lawyer", True),
        ("My LAWYER's letter", "lawyer", True),
        ("ＬＡＷＹＥＲ", "lawyer", True),
        ("lawyers", "lawyer", False),
        ("the small   claims court", "small claims", True),
        ("small and big claims", "small claims", False),
        ("Straße", "STRASSE", True),
        ("我要投诉你们", "投诉", True),
        ("我要投 诉", "投诉", True),
        ("投票申诉", "投诉", False),
        ("訴訟", "投诉", False),
        ("a+b", "a b", True),
    ],
)
def test_a_keyword_is_a_whole_word_or_a_part_where_there_are_no_spaces(
    text: str, keyword: str, found: bool
) -> None:
    assert has_keyword(text, [keyword]) is found


@pytest.mark.parametrize(
    "text",
    ["WTF", "this is bullshit", "You are useless!", "WHY IS MY ORDER NOT HERE!!", "你们这群骗子",
     "你们是什么垃圾客服", "你去死吧", "YOU ARE SCAMMERS", "放什么屁"],
)  # fmt: skip
def test_insults_and_shouting_are_angry(text: str) -> None:
    assert is_angry(text)


@pytest.mark.parametrize(
    "text",
    ["HOW DO I RETURN AN ITEM?", "Where is it??!", "谢谢！！！", "USB-C OK?!", "怎么防骗子",
     "Is this bull market stitched?", "How do I report a scam?", "垃圾分类怎么做",
     "退款多久到账！！", "去死皮膏怎么用", "什么垃圾桶好用", "废物回收怎么预约", "宝宝老放屁怎么办",
     "体操你们有教练吗", "你有病历模板吗", "How do I tell scammers from your staff?",
     "Where you people are located?"],
)  # fmt: skip
def test_hurry_capitals_and_scams_are_not_angry(text: str) -> None:
    assert not is_angry(text)


@pytest.mark.parametrize(
    "text",
    ["That did not help.", "It still doesn't work", "not helpful at all", "还是不行", "没用",
     "问题还是没解决", "答非所问", "试过了，还是不行"],
)  # fmt: skip
def test_a_complaint_is_known_as_a_whole(text: str) -> None:
    assert complains(text)


@pytest.mark.parametrize("text", ["My card does not work", "不行驶证可以吗", "What is not right?"])
def test_a_question_about_what_does_not_work_is_no_complaint(text: str) -> None:
    assert not complains(text)


def test_endless_texts_come_to_an_end() -> None:
    for text in ("！! " * 300_000, "fuck" * 300_000, "WHY " * 300_000, "but " * 20, "试了" * 40):
        assert not complains(text)
        assert not has_keyword(text, ["a b"] * 500)
        is_angry(text)


def last(question: str, *, decision: str = "answer", cited: str = "a") -> LastTurn:
    return LastTurn(question, decision, None, (cited,), NOW - timedelta(minutes=1))


def turn(document_id: str = "a", decision: str = "answer") -> Turn:
    return Turn(
        question="", decision=decision, confidence=1.0, text="",  # type: ignore[arg-type]
        citations=(Citation(id=document_id, title=""),),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("question", "before", "again"),
    [
        ("How do I return it?", "how do I RETURN it", True),
        ("How do I return an item please?", "How do I return an item?", True),
        ("Where is order 123?", "Where is order 124?", False),
        ("And to France?", "And to Canada?", False),
        ("怎么退货？", "怎么 退货", True),
        ("怎么退换货呢", "怎么开发票呢", False),
        ("to France?", "How much is sending?\nto France?", True),
        ("???", "!!!", False),
    ],
)
def test_the_same_question_is_known_by_its_words(question: str, before: str, again: bool) -> None:
    assert asks_again(question, turn(), last(before), NOW) is again


def test_nearly_the_same_words_count_only_for_the_same_answer() -> None:
    asked, before = "How do I return an item please?", "How do I return an item?"
    assert not asks_again(asked, turn("b"), last(before), NOW)
    assert not asks_again(asked, turn(decision="clarify"), last(before), NOW)


@pytest.mark.parametrize(("seconds", "again"), [(1, False), (4, False), (6, True), (3000, False)])
def test_who_asks_at_once_or_much_later_did_not_mind_the_answer(seconds: int, again: bool) -> None:
    now = NOW - timedelta(minutes=1) + timedelta(seconds=seconds)
    assert asks_again("same", turn(), last("same"), now) is again


@pytest.mark.parametrize("decision", ["handoff", "smalltalk", "silent"])
def test_only_what_was_answered_is_asked_again(decision: str) -> None:
    assert not asks_again("same", turn(), last("same", decision=decision), NOW)
    assert not asks_again("same", turn(), None, NOW)


@pytest.mark.data
def test_hardly_any_question_of_the_public_sets_is_taken_for_anger(shared_data: Path) -> None:
    questions = set(_questions(shared_data))
    assert len(questions) > 20_000
    assert sum(map(complains, questions)) == 0
    # Four, of 36,801 questions and phrasings, and they are.
    assert sum(map(is_angry, questions)) <= len(questions) / 5000


def _questions(folder: Path) -> Iterator[str]:
    for name in ("queries", "questions", "turns", "questions_zh", "questions_en"):
        for file in folder.glob(f"*/{name}.jsonl"):
            for line in filter(None, file.read_text("utf-8").split("\n")):
                row = json.loads(line)
                yield row.get("text") or row.get("question") or ""
                yield from (
                    one["text"] for one in row.get("history", ()) if one["role"] == "customer"
                )
