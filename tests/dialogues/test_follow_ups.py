"""Questions that lean on earlier ones, in whole conversations with the sample shop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from kfbot.answer import Answering, answer_question
from kfbot.conversation import HistoryMessage, Turn
from kfbot.messages import Role
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.engine import Database
from knowledge.embedding import open_embedder
from knowledge.intake import Intake
from knowledge.load import Knowledge
from tests.cache import MODEL_CACHE
from tests.dialogues.conftest import Stage

SAMPLES = Path(__file__).parents[2] / "knowledge" / "samples"


@dataclass
class Talk:
    """One conversation with the shop's bot."""

    knowledge: Knowledge
    history: list[HistoryMessage] = field(default_factory=list)

    async def ask(self, question: str) -> Turn:
        """Let the customer ask; what the bot says is part of the conversation from then on."""
        turn = await answer_question(question, Answering(self.knowledge), history=self.history)
        self.said("customer", question)
        self.said("bot", turn.text)
        return turn

    def said(self, role: Role, text: str) -> None:
        self.history.append(HistoryMessage(role, text))


def first(turn: Turn) -> str:
    """The document that was found first."""
    return turn.ranked[0][1]


def offered(turn: Turn) -> set[str]:
    """All documents that the customer is shown or offered."""
    if turn.decision == "answer":
        return {first(turn)}
    return {choice.id for choice in turn.choices}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Knowledge]:
    folder = tmp_path_factory.mktemp("shop")
    MODEL_CACHE.mkdir(exist_ok=True)
    embedder = open_embedder("bundled", MODEL_CACHE)
    async with Database(f"sqlite:///{folder / 'shop.sqlite3'}") as database:
        await database.upgrade()
        intakes = {"shop": Intake((str(SAMPLES),))}
        async with Knowledge(intakes, KnowledgeStore(database), embedder, folder) as knowledge:
            await knowledge.load()
            yield knowledge


@pytest.fixture
def talk(shop: Knowledge) -> Talk:
    return Talk(shop)


with_the_shop = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


class TestInTheShop:
    """With real knowledge."""

    pytestmark = with_the_shop

    @pytest.mark.parametrize(
        ("opening", "follow_up", "wanted"),
        [
            # By pronoun.
            ("Do you ship abroad?", "how much does it cost?", "en-intl-shipping-fee"),
            ("How long is the warranty?", "what does it cover?", "en/warranty.md"),
            # By ellipsis.
            ("How long does delivery take?", "and to Canada?", "en-intl-destinations"),
            ("运费是多少", "那国际的呢？", "zh-intl-shipping-fee"),
            ("怎么申请退货", "运费谁出？", "zh-returns-fee"),
            ("How do I return an item?", "how long do I have?", "en-returns-window"),
            # In another language.
            ("What is the shipping fee?", "那国际的呢？", "zh-intl-shipping-fee"),
        ],
    )
    async def test_a_follow_up_is_understood(
        self, talk: Talk, opening: str, follow_up: str, wanted: str
    ) -> None:
        await talk.ask(opening)
        turn = await talk.ask(follow_up)
        assert wanted in {document for _, document in turn.ranked[:3]}
        assert turn.decision in ("answer", "clarify")
        # What is clear by itself needs no opening.
        assert turn.question.splitlines() in ([opening, follow_up], [follow_up])

    @pytest.mark.parametrize(
        ("opening", "question", "wanted"),
        [
            ("怎么申请退货", "能改发票抬头吗", "zh-invoice-correct"),
            ("How do I get an invoice?", "Is my data sold to others?", "en-privacy-data-use"),
        ],
    )
    async def test_a_new_topic_is_answered_by_itself(
        self, talk: Talk, opening: str, question: str, wanted: str
    ) -> None:
        alone = await talk.ask(question)
        talk.history.clear()
        await talk.ask(opening)
        turn = await talk.ask(question)
        assert (first(turn), turn.question) == (wanted, question)
        assert (turn.decision, turn.confidence) == (alone.decision, alone.confidence)

    @pytest.mark.parametrize(
        ("opening", "question"),
        [
            ("How do I return an item?", "Do you rent out elephants by the month?"),
            ("Can I pay by PayPal?", "Which planet has the most moons?"),
            ("怎么开发票", "我想买一头大象"),
            ("会员有什么好处", "你们招人吗"),
        ],
    )
    async def test_the_old_topic_is_never_offered_for_a_question_of_its_own(
        self, talk: Talk, opening: str, question: str
    ) -> None:
        await talk.ask(opening)
        turn = await talk.ask(question)
        assert (turn.decision, offered(turn)) == ("handoff", set())
        assert turn.question == question

    @pytest.mark.parametrize(
        ("opening", "fix", "wanted", "rejected"),
        [
            ("怎么退货", "不是退货，是换货", "zh-exchange", "zh-returns-how"),
            ("How do I return an item?", "no, I meant exchange", "en-exchange", "en-returns-how"),
            (
                "How do I cancel my order?",
                "I meant change the address, not cancel",
                "en-order-change-address",
                "en-order-cancel",
            ),
        ],
    )
    async def test_a_correction_replaces_what_was_asked(
        self, talk: Talk, opening: str, fix: str, wanted: str, rejected: str
    ) -> None:
        await talk.ask(opening)
        turn = await talk.ask(fix)
        assert first(turn) == wanted
        assert rejected not in offered(turn)
        assert turn.question.splitlines()[-1] == fix

    async def test_a_follow_up_after_a_clarification_is_understood(self, talk: Talk) -> None:
        clarified = await talk.ask("How do I return an item?")
        assert clarified.decision == "clarify"
        turn = await talk.ask("and for international orders?")
        assert first(turn) in ("en-intl-returns", "en/international-orders.md")

    async def test_a_follow_up_on_what_an_agent_said_is_understood(self, talk: Talk) -> None:
        talk.said("customer", "转人工")
        talk.said("agent", "您好，您的灯具还在质保期内。")
        turn = await talk.ask("那质保多久？")
        assert "warranty" in first(turn)

    async def test_a_long_history_does_not_hide_what_was_said_last(self, talk: Talk) -> None:
        for _ in range(30):
            talk.said("customer", "How do I get an invoice?")
            talk.said("bot", "Apply for it on the order page. " * 50)
        talk.said("customer", "Do you ship abroad?")
        talk.said("bot", "We ship to many countries.")
        turn = await talk.ask("how much does it cost?")
        assert "intl" in first(turn) or "international" in first(turn)

    async def test_what_the_bot_just_said_is_not_said_again(self, talk: Talk) -> None:
        opening = await talk.ask("Do you ship abroad?")
        turn = await talk.ask("and what else about that?")
        assert opening.decision == "answer"
        assert turn.text != opening.text

    @pytest.mark.parametrize("question", ["thanks", "谢谢", "a person please", "转人工", "hello"])
    async def test_small_talk_and_the_wish_for_a_person_stay_what_they_are(
        self, talk: Talk, question: str
    ) -> None:
        alone = await talk.ask(question)
        talk.history.clear()
        await talk.ask("怎么申请退货")
        turn = await talk.ask(question)
        assert (turn.decision, turn.text) == (alone.decision, alone.text)

    @pytest.mark.parametrize(
        "evil", ["", " \n ", "\x00\x07", "😀" * 500, "\u202e(?:a+)+$", "x" * 100_000, "不是" * 5000]
    )
    async def test_a_hostile_history_changes_nothing(self, talk: Talk, evil: str) -> None:
        talk.said("customer", evil)
        talk.said("bot", evil)
        turn = await talk.ask("能改发票抬头吗")
        assert first(turn) == "zh-invoice-correct"
        assert (await talk.ask("and that?")).text


@pytest.mark.asyncio
async def test_an_empty_conversation_has_nothing_to_lean_on(stage: Stage) -> None:
    [reply] = await stage.customer_says("and to Canada?")
    assert reply.kind == "handoff"
    assert stage.knowledge.searched == ["and to Canada?"]


@pytest.mark.asyncio
async def test_a_follow_up_after_a_person_gave_back_leans_on_what_was_asked(stage: Stage) -> None:
    await stage.customer_says("How long do I have to return?")
    await stage.customer_presses("A person please")
    conversation = await stage.conversation()
    await stage.application.handoff.claim(conversation.id, "ann")
    await stage.application.handoff.reply(conversation.id, "ann", "What do you mean?")
    await stage.application.handoff.hand_back(conversation.id, "ann")
    await stage.sent_out()
    [reply] = await stage.customer_says("an item?")
    assert reply.text == "You have 15 days."


@pytest.mark.asyncio
async def test_an_edit_of_a_follow_up_that_changes_its_form_alone_is_no_new_question(
    stage: Stage,
) -> None:
    from kfbot.messages import MessageEdited
    from tests.dialogues.conftest import CHAT

    await stage.customer_says("How long do I have to return?")
    asked = stage.message("an item?")
    await stage.settle(await stage.accept(asked))
    before = len(stage.channel.sent)
    edit = MessageEdited(
        event_id="edit-1", conversation=CHAT, message_id=asked.message_id,
        sender=asked.sender, sent_at=stage.clock(), text="An item??",
    )  # fmt: skip
    await stage.settle(await stage.accept(edit))
    assert len(stage.channel.sent) == before
