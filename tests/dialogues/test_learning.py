"""What an agent answered once, the bot answers from then on."""

from __future__ import annotations

from typing import Any

import pytest

from kfbot.adapter import Capabilities
from kfbot.agents import Agent
from kfbot.errors import Conflict, EntryRejected, KnowledgeBaseUnavailable
from kfbot.messages import ConversationId, OwnershipChanged, Sender
from kfbot.store.engine import Database
from kfbot.store.proposals import Draft, Proposal
from kfbot.testing import FakeAdapter
from kfbot.texts import texts
from tests.dialogues.conftest import CHAT, Stage, staged

pytestmark = pytest.mark.asyncio

ANN = Agent(name="ann", display_name="Ann", role="admin")
BEN = Agent(name="ben", display_name="Ben", role="admin")
OTHER_CHAT = ConversationId("shop", "chat-2")
ISLAND, SHIPPING = "你们送货到冰岛吗", "送，运费 80 元，十天左右到。"


async def asked_and_answered(stage: Stage, question: str, *answers: str, chat: Any = CHAT) -> int:
    """A customer asks, is handed off, and an agent answers and resolves."""
    await stage.customer_says(question, chat=chat)
    conversation = await stage.conversation(chat)
    await stage.application.handoff.claim(conversation.id, "ann")
    for answer in answers:
        await stage.application.handoff.reply(conversation.id, "ann", answer)
    await stage.application.handoff.resolve(conversation.id, "ann")
    await stage.sent_out()
    return conversation.id


async def proposals(stage: Stage, state: Any = "open") -> tuple[Proposal, ...]:
    return await stage.application.teaching.proposals.page(ANN, state)


def as_entry(proposal: Proposal, **changes: Any) -> Draft:
    values = {
        "question": proposal.draft.question,
        "answer": proposal.draft.answer,
        "knowledge_base": "fake",
    }
    return Draft(**values | changes)


async def test_what_an_agent_answered_is_approved_and_answers_the_next_customer(
    stage: Stage, database: Database, clock: Any, channel: FakeAdapter
) -> None:
    conversation_id = await asked_and_answered(stage, ISLAND, "您好，请稍等", SHIPPING)
    [proposal] = await proposals(stage)
    assert (proposal.draft.question, proposal.draft.answer) == (ISLAND, SHIPPING)
    assert (proposal.conversation_id, proposal.channel) == (conversation_id, "shop")
    [unsure] = await stage.customer_says(ISLAND, chat=OTHER_CHAT)
    assert unsure.text == texts("zh").handoff

    await stage.application.teaching.approve(ANN, proposal, as_entry(proposal))
    third = ConversationId("shop", "chat-3")
    [answered] = await stage.customer_says("送货到冰岛吗", chat=third)
    assert answered.text == SHIPPING
    assert await proposals(stage) == ()
    [decided] = await proposals(stage, "approved")
    assert (decided.decided_by, decided.entry_id) == ("ann", f"approved-{proposal.id}")

    [entry] = await stage.application.teaching.entries("fake")
    assert await stage.application.teaching.take_back(ANN, "fake", entry.id)
    assert not await stage.application.teaching.take_back(ANN, "fake", entry.id)
    fourth = ConversationId("shop", "chat-4")
    [unsure_again] = await stage.customer_says(ISLAND, chat=fourth)
    assert unsure_again.text == texts("zh").handoff
    assert [one.id for one in await proposals(stage, "declined")] == [proposal.id]


async def test_a_case_that_is_handed_back_teaches_too_and_each_case_once(stage: Stage) -> None:
    await stage.customer_says(ISLAND)
    conversation = await stage.conversation()
    handoff = stage.application.handoff
    await handoff.reply(conversation.id, "ann", SHIPPING)
    await handoff.hand_back(conversation.id, "ann")
    await asked_and_answered(stage, "有没有赠品送", "没有。")
    assert [one.draft.question for one in await proposals(stage)] == ["有没有赠品送", ISLAND]
    assert [one.draft.answer for one in await proposals(stage)] == ["没有。", SHIPPING]


async def test_a_note_to_other_agents_and_mere_manners_teach_nothing(stage: Stage) -> None:
    await stage.customer_says(ISLAND)
    conversation = await stage.conversation()
    handoff = stage.application.handoff
    await handoff.claim(conversation.id, "ann")
    await handoff.reply(conversation.id, "ann", "not in the list", internal=True)
    await handoff.reply(conversation.id, "ann", "您好，请稍等")
    await handoff.resolve(conversation.id, "ann")
    assert await proposals(stage) == ()


async def test_an_agent_on_the_platform_teaches_as_well(stage: Stage) -> None:
    await stage.customer_says("谢谢")
    agent = Sender("a-1", "agent", "Ann")
    await stage.settle(await stage.accept(stage.message("能开专票吗")))
    await stage.customer_says("可以，在订单页申请。", sender=agent)
    resolved = OwnershipChanged(
        event_id="resolved-1",
        conversation=CHAT,
        change="resolved",
        agent=agent,
        sent_at=stage.clock(),
    )
    await stage.settle(await stage.accept(resolved))
    [proposal] = await proposals(stage)
    assert (proposal.draft.question, proposal.draft.answer) == (
        "能开专票吗",
        "可以，在订单页申请。",
    )


async def test_of_two_agents_one_decides(stage: Stage) -> None:
    await asked_and_answered(stage, ISLAND, SHIPPING)
    [proposal] = await proposals(stage)
    teaching = stage.application.teaching
    await teaching.proposals.reserve(proposal.id, ANN)
    with pytest.raises(Conflict):
        await teaching.decline(BEN, proposal)
    await teaching.approve(ANN, proposal, as_entry(proposal))
    for decide in (
        teaching.approve(BEN, proposal, as_entry(proposal, answer="no")),
        teaching.decline(ANN, proposal),
    ):
        with pytest.raises(Conflict):
            await decide
    [entry] = await teaching.entries("fake")
    assert entry.answer == SHIPPING


async def test_who_began_to_decide_and_went_away_stands_in_nobodys_way_for_long(
    stage: Stage,
) -> None:
    await asked_and_answered(stage, ISLAND, SHIPPING)
    [proposal] = await proposals(stage)
    teaching = stage.application.teaching
    await teaching.proposals.reserve(proposal.id, ANN)
    stage.clock.advance(minutes=2)
    await teaching.decline(BEN, proposal)
    [declined] = await proposals(stage, "declined")
    assert declined.decided_by == "ben"


async def test_an_approval_that_was_broken_off_is_done_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asked_and_answered(stage, ISLAND, SHIPPING)
    [proposal] = await proposals(stage)
    teaching = stage.application.teaching

    async def killed(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as broken:
        broken.setattr(teaching.proposals, "approve", killed)
        with pytest.raises(RuntimeError):
            await teaching.approve(ANN, proposal, as_entry(proposal))
    assert len(await teaching.entries("fake")) == 1
    [still_open] = await proposals(stage)
    assert still_open.decided_by is None
    await teaching.approve(ANN, still_open, as_entry(still_open, answer="送。"))
    [entry] = await teaching.entries("fake")
    assert (entry.id, entry.answer) == (f"approved-{proposal.id}", "送。")


async def test_what_is_declined_after_a_broken_approval_answers_nobody(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asked_and_answered(stage, ISLAND, SHIPPING)
    [proposal] = await proposals(stage)
    teaching = stage.application.teaching

    async def killed(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as broken:
        broken.setattr(teaching.proposals, "approve", killed)
        with pytest.raises(RuntimeError):
            await teaching.approve(ANN, proposal, as_entry(proposal))
    [still_open] = await proposals(stage)
    await teaching.decline(ANN, still_open)
    assert await teaching.entries("fake") == ()


async def test_a_broken_approval_that_is_done_again_elsewhere_leaves_nothing_behind(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asked_and_answered(stage, ISLAND, SHIPPING)
    [proposal] = await proposals(stage)
    teaching = stage.application.teaching

    async def killed(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as broken:
        broken.setattr(teaching.proposals, "approve", killed)
        with pytest.raises(RuntimeError):
            await teaching.approve(ANN, proposal, as_entry(proposal))
    added: list[str] = []

    async def add_entry(name: str, *_: object, **__: object) -> None:
        added.append(name)

    monkeypatch.setattr(stage.knowledge, "add_entry", add_entry)
    [still_open] = await proposals(stage)
    await teaching.approve(ANN, still_open, as_entry(still_open, knowledge_base="toys"))
    assert (added, await teaching.entries("fake")) == (["toys"], ())


@pytest.mark.parametrize("error", [EntryRejected("nothing left"), KnowledgeBaseUnavailable("no")])
async def test_an_entry_that_cannot_be_added_leaves_its_proposal_open_for_everybody(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    await asked_and_answered(stage, ISLAND, SHIPPING)
    [proposal] = await proposals(stage)
    teaching = stage.application.teaching

    async def refuse(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(stage.knowledge, "add_entry", refuse)
        with pytest.raises(type(error)):
            await teaching.approve(ANN, proposal, as_entry(proposal))
    await teaching.approve(BEN, proposal, as_entry(proposal))
    assert len(await teaching.entries("fake")) == 1


async def test_a_proposal_outlives_the_process(
    database: Database, clock: Any, channel: FakeAdapter
) -> None:
    async with staged(database, clock, channel) as before:
        await asked_and_answered(before, ISLAND, SHIPPING)
    async with staged(database, clock, channel) as after:
        [proposal] = await proposals(after)
        assert proposal.draft.question == ISLAND


async def test_what_many_ask_in_vain_is_one_group_until_it_is_answered(stage: Stage) -> None:
    for number in range(3):
        chat = ConversationId("shop", f"asks-{number}")
        sender = Sender(f"customer-{number}")
        await stage.customer_says("Do you ship to Iceland?", chat=chat, sender=sender)
    await stage.customer_says("转人工", chat=OTHER_CHAT)
    teaching = stage.application.teaching
    found = await teaching.groups(ANN, 7)
    [group] = found.groups
    assert (group.questions, group.people, found.left_out) == (("Do you ship to Iceland?",), 3, 0)
    assert (await teaching.groups(ANN, 7, "elsewhere")).groups == ()

    draft = Draft(question="do you ship to iceland?", answer="Yes.", knowledge_base="fake")
    made = await teaching.proposals.add(ANN, draft)
    [group] = (await teaching.groups(ANN, 7)).groups
    assert group.proposal_id == made
    proposal = await teaching.proposals.find(ANN, made)
    assert proposal is not None
    await teaching.approve(ANN, proposal, draft)
    assert list((await teaching.groups(ANN, 7)).groups) == []


async def test_an_answer_that_did_not_help_is_shown_with_its_entry_and_corrected(
    stage: Stage, channel: FakeAdapter
) -> None:
    assert channel.capabilities == Capabilities(buttons=True)
    await stage.customer_says("When will my refund arrive?")
    await stage.customer_presses(texts("en").not_helpful)
    teaching = stage.application.teaching
    [group] = (await teaching.groups(ANN, 7)).groups
    answer = group.asked[0].answer
    assert answer is not None
    assert (answer.text, answer.document_id) == ("Within 2 business days.", "entry-2")
    assert group.knowledge_base == "fake"
    draft = Draft(question=group.questions[0], answer="In 5 days.", knowledge_base="fake")
    made = await teaching.proposals.add(ANN, draft, channel="shop", turn_id=answer.turn_id)
    proposal = await teaching.proposals.find(ANN, made)
    assert proposal is not None
    assert proposal.bot_said == "Within 2 business days."


async def test_a_customer_who_then_asks_for_a_person_is_counted_once(stage: Stage) -> None:
    await stage.customer_says("When will my refund arrive?")
    await stage.customer_presses(texts("en").not_helpful)
    await stage.customer_presses(texts("en").person)
    [group] = (await stage.application.teaching.groups(ANN, 7)).groups
    assert len(group.asked) == 1
    conversation = await stage.conversation()
    await stage.application.handoff.reply(conversation.id, "ann", "In 5 days.")
    await stage.application.handoff.resolve(conversation.id, "ann")
    [proposal] = await proposals(stage)
    assert (proposal.draft.answer, proposal.bot_said) == ("In 5 days.", "Within 2 business days.")
