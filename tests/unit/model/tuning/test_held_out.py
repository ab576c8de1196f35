"""How answers to held-out examples are judged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kfbot.chat_model import ChatMessage
from kfbot.conversation import Language
from kfbot.grounding.prompting import NO_ANSWER, answer_prompt
from kfbot.knowledge_base import Passage
from kfbot.model.tuning.examples import ChatExample
from kfbot.model.tuning.held_out import (
    Answered,
    chosen_examples,
    judge,
    passages_of,
    shares,
    table,
    token_f1,
    what_got_worse,
)
from kfbot.model_settings import AnswerSettings

RETURNS = "You can return a kettle within 30 days.\n\nThe parcel is free."
POST = "The post takes 4 days."
GOOD = Answered(text="", language="en", answerable=True, refused=False, supported=True, f1=1.0)


def prompt(question: str, *texts: str, language: Language = "en") -> list[ChatMessage]:
    passages = [
        Passage(
            knowledge_base="shop", document_id=str(n), chunk_id=str(n), kind="document",
            title="Terms", text=text, score=1.0,
        )
        for n, text in enumerate(texts)
    ]  # fmt: skip
    style = AnswerSettings()
    return answer_prompt(
        question, passages, history=(), language=language, style=style, budget_tokens=4000
    )[0]


def example(answer: str, question: str = "How long may I return it?") -> ChatExample:
    asked = [{"role": m.role, "content": m.text} for m in prompt(question, RETURNS, POST)]
    messages = (*asked, {"role": "assistant", "content": answer})
    return ChatExample(messages=messages, source="documents")


def test_the_passages_of_a_prompt_are_found_again_as_they_were_put_in() -> None:
    found = passages_of(prompt("How long?", RETURNS, POST)[-1].text)
    assert len(found) == 2
    assert RETURNS in found[0]
    assert POST in found[1]


def test_words_of_another_prompt_are_no_passages() -> None:
    assert passages_of("[1] is the number that I was given") == ()


@pytest.mark.parametrize(
    ("text", "supported"),
    [
        ("You can return a kettle within 30 days. [1]", True),
        ("You can return a kettle within 30 days.", True),
        ("You can return a kettle within 90 days. [1]", False),
        ("You can return a kettle within 30 days. [1] The kettle is red and blue. [1]", False),
        ("You can return a kettle within 30 days. [2]", False),
        ("Gladly!", False),
        ("", False),
    ],
)
def test_an_answer_is_supported_where_each_sentence_is_in_the_passage_it_cites(
    text: str, supported: bool
) -> None:
    judged = judge(example("You can return a kettle within 30 days. [1]"), text)
    assert judged.supported is supported
    assert not judged.refused


def test_refusals_are_right_where_the_example_refuses_and_wrong_elsewhere() -> None:
    judged = [
        judge(example(NO_ANSWER), NO_ANSWER),
        judge(example(NO_ANSWER), "It is blue. [1]"),
        judge(example("Within 30 days. [1]"), NO_ANSWER),
        judge(example("Within 30 days. [1]"), "Within 30 days. [1]"),
    ]
    found = shares(judged)["all"]
    assert (found.right_refusals, found.wrong_refusals) == (0.5, 0.5)
    assert found.f1 == 0.5


def test_an_apology_is_the_refusal_that_customers_would_make_of_it() -> None:
    judged = judge(example(NO_ANSWER), "The passages do not say what colour it is.")
    assert (judged.refused, judged.supported) == (True, None)


def test_languages_are_told_apart_by_the_question() -> None:
    rows = shares([judge(example("x", "多少天内可以退货？"), "x"), judge(example("x"), "x")])
    assert {name: row.examples for name, row in rows.items()} == {"all": 2, "en": 1, "zh": 1}


def test_overlap_counts_words_and_characters_of_chinese() -> None:
    assert token_f1("return within 30 days", "Return within 30 days.") == 1.0
    assert token_f1("三十天", "三十日") == pytest.approx(2 / 3)
    assert token_f1("", "") == 0.0


def test_one_answer_that_changed_is_chance_and_four_are_not() -> None:
    bad = replace(GOOD, supported=False)
    before = [GOOD] * 10
    assert what_got_worse(before, [bad] + [GOOD] * 9) == []
    (line,) = what_got_worse(before, [bad] * 4 + [GOOD] * 6)
    assert "0 before, 4 after, of 10" in line


def test_lost_refusals_and_new_wrong_ones_are_each_called_worse() -> None:
    refusal = replace(GOOD, answerable=False, refused=True, supported=None)
    invention = replace(refusal, refused=False, supported=False)
    silent = replace(GOOD, refused=True, supported=None)
    before = [refusal] * 5 + [GOOD] * 5
    worse = what_got_worse(before, [invention] * 5 + [silent] * 5)
    assert [line.split(":")[0] for line in worse] == [
        "answers where no passage answers",
        "refusals where a passage answers",
    ]
    assert what_got_worse([invention] * 5 + [silent] * 5, before) == []


def test_the_table_has_a_dash_where_no_example_tells() -> None:
    rows = table(shares([GOOD]), shares([GOOD]))
    refusals = next(row for row in rows if row[1].startswith("right refusals"))
    assert refusals[2:] == ["–", "–"]


def test_a_sample_of_examples_keeps_refusals_and_is_the_same_each_time() -> None:
    examples = [example(NO_ANSWER)] * 10 + [example("Within 30 days. [1]")] * 90
    drawn = chosen_examples(examples, 20, seed=1)
    assert len(drawn) == 20
    assert sum(one.messages[-1]["content"] == NO_ANSWER for one in drawn) == 2
    assert drawn == chosen_examples(examples, 20, seed=1)
    assert chosen_examples(examples, 0, seed=1) == []
