"""Replies that are suggested to agents: by a model from documents, or as documents say it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kfbot.conversation import HistoryMessage
from kfbot.grounding.suggestions import open_question, suggested
from kfbot.grounding.writing import Writer
from kfbot.knowledge_base import EVERYTHING, Passage, Retrieval, Scope
from kfbot.testing import FakeChatModel, FakeKnowledgeBase, evidence_for

QUESTION = "How long does shipping take?"
TEXT = "Shipping takes 5 business days."


class Shop(FakeKnowledgeBase):
    """Knows one document."""

    async def search(self, query: str, **how: Any) -> Retrieval:
        found = await super().search(query, **how)
        passages = tuple(_document(one) for one in found.passages)
        return replace(found, passages=passages, evidence={"document": evidence_for("answer")})


def _document(passage: Passage) -> Passage:
    return replace(passage, kind="document", question="", title="Shipping", quote=passage.text)


def shop(answer: str = TEXT) -> Shop:
    return Shop({QUESTION: answer})


async def suggestion(knowledge: FakeKnowledgeBase, *completions: str, asked: str = QUESTION) -> Any:
    writer = Writer(FakeChatModel(list(completions)))
    return await suggested(asked, (), knowledge, scope=EVERYTHING, writer=writer)


@pytest.mark.asyncio
async def test_a_model_writes_from_documents_and_its_marks_are_not_in_the_reply() -> None:
    found = await suggestion(shop(), "Shipping takes 5 business days [1].")
    assert (found.text, found.by) == ("Shipping takes 5 business days.", "model")
    assert [one.title for one in found.citations] == ["Shipping"]


@pytest.mark.asyncio
async def test_what_no_document_says_is_never_suggested() -> None:
    found = await suggestion(shop(), "Shipping takes 9 business days [1].")
    assert (found.text, found.by) == (TEXT, "passage")


@pytest.mark.asyncio
async def test_where_the_model_sees_no_answer_nothing_is_suggested() -> None:
    assert (await suggestion(shop(), "NO_ANSWER")).by == "nobody"


@pytest.mark.asyncio
async def test_without_a_model_and_with_a_dead_one_the_passage_is_quoted() -> None:
    for found in (
        await suggestion(shop()),
        await suggested(QUESTION, (), shop(), scope=EVERYTHING, writer=None),
    ):
        assert (found.text, found.by, len(found.citations)) == (TEXT, "passage", 1)


@pytest.mark.asyncio
async def test_an_entry_in_the_customers_language_is_quoted_without_a_model() -> None:
    writer = Writer(FakeChatModel([]))
    knowledge = FakeKnowledgeBase({QUESTION: TEXT})
    found = await suggested(QUESTION, (), knowledge, scope=EVERYTHING, writer=writer)
    assert (found.text, found.by) == (TEXT, "passage")
    assert isinstance(writer.model, FakeChatModel)
    assert writer.model.prompts == []


@pytest.mark.asyncio
async def test_a_broken_knowledge_base_suggests_nothing() -> None:
    knowledge = FakeKnowledgeBase({QUESTION: TEXT}, broken=True)
    found = await suggested(QUESTION, (), knowledge, scope=Scope(), writer=None)
    assert (found.text, found.by) == ("", "nobody")


def test_the_open_question_is_the_last_one_that_asks_something() -> None:
    said = [
        HistoryMessage("customer", "Do you ship abroad?"),
        HistoryMessage("bot", "Yes."),
        HistoryMessage("customer", "and to Canada?"),
        HistoryMessage("bot", "I am getting a person for you."),
        HistoryMessage("customer", "转人工"),
        HistoryMessage("customer", "hello"),
    ]
    assert open_question(said, "of the case") == ("and to Canada?", tuple(said[:2]))
    assert open_question(said[-2:], "before\nof the case") == ("of the case", ())
    assert open_question([], "") == ("", ())


class Abroad(Shop):
    """Knows what is asked where Canada is named."""

    async def search(self, query: str, **how: Any) -> Retrieval:
        found = await super().search(query, **how)
        decision = "answer" if "Canada" in query else "handoff"
        return replace(found, evidence={"document": evidence_for(decision, "document")})


@pytest.mark.asyncio
async def test_a_follow_up_is_searched_for_as_a_question_of_its_own() -> None:
    said = [HistoryMessage("customer", "How much is shipping to Canada?")]
    standalone = "How long does shipping to Canada take?"
    answer = "Shipping to Canada takes 9 days."
    knowledge = Abroad({standalone: answer})
    model = FakeChatModel([standalone, f"{answer} [1]"])
    asked = "and how long does it take?"
    found = await suggested(asked, said, knowledge, scope=EVERYTHING, writer=Writer(model))
    assert (found.text, found.by) == (answer, "model")
    assert standalone in knowledge.searched
    # Asked to rewrite once and to write once; nothing is written twice.
    assert len(model.prompts) == 2


@pytest.mark.asyncio
async def test_what_was_never_asked_is_not_searched_for_as_a_follow_up() -> None:
    said = [HistoryMessage("customer", "How much is shipping to Canada?")]
    dishonest = "How long does shipping from Canada to Peru take?"
    knowledge, model = Abroad({dishonest: TEXT}), FakeChatModel([dishonest])
    asked = "and how long does it take?"
    await suggested(asked, said, knowledge, scope=EVERYTHING, writer=Writer(model))
    assert dishonest not in knowledge.searched
