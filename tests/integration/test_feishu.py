"""The whole bot in Feishu: the stand-in on one side, a fake knowledge base on the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio

from adapters.feishu.adapter import FeishuAdapter
from tests.conftest import Clock
from tests.dialogues.test_streaming import until
from tests.dialogues.writing import ANSWER, FIRST, HeldWriter, documents
from tests.dialogues.writing import QUESTION as WRITTEN
from tests.integration.conftest import DOUBTFUL, ENTRIES, Served, ServedBot
from tests.platforms.feishu import ANN, BOB, DIRECT, GROUP, Failure, Feishu
from tests.platforms.feishu_forms import buttons_of, card_of, sealed, words_of

pytestmark = pytest.mark.asyncio

QUESTION = "When will my refund arrive?"
REFUND = "Within **2 business days**."
RETURN = "How do I return an item?"


@dataclass
class Office:
    """Feishu, the bot in it, and the time that both have."""

    feishu: Feishu
    bot: ServedBot
    clock: Clock

    async def tell(self, *events: dict[str, Any]) -> list[int]:
        """Let Feishu tell of events; waits for what comes of them."""
        tries = [tried for event in events for tried in await self.feishu.tell(event)]
        await self.settle()
        return tries

    async def settle(self) -> None:
        """Until nothing is left to be sent."""
        await self.bot.quiet()
        for _ in range(3):
            self.clock.advance(seconds=2)
            await self.bot.quiet()

    def said(self, chat: str = DIRECT, thread: str | None = None) -> list[str]:
        return [words_of(message) for message in self.feishu.said(chat, thread)]


@asynccontextmanager
async def opened(
    served: Served, clock: Clock, feishu: Feishu, **options: Any
) -> AsyncIterator[Office]:
    async with served(clock=clock, sections={"shop": feishu.section()}, **options) as bot:
        feishu.request_url = f"{bot.url}/webhooks/shop"
        yield Office(feishu, bot, clock)


@pytest_asyncio.fixture
async def feishu() -> AsyncIterator[Feishu]:
    async with Feishu() as stand_in:
        yield stand_in


@pytest_asyncio.fixture
async def shop(served: Served, clock: Clock, feishu: Feishu) -> AsyncIterator[Office]:
    async with opened(served, clock, feishu) as office:
        yield office


# --- private chats -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "answer"),
    [(QUESTION, REFUND), ("怎么开发票", "在订单页申请电子发票。")],
)
async def test_a_private_message_is_answered_with_a_card_that_shows_its_source(
    shop: Office, question: str, answer: str
) -> None:
    assert await shop.tell(shop.feishu.says(question)) == [1]
    [message] = shop.feishu.said()
    words, sources, actions = card_of(message)["elements"]
    assert words == {"tag": "markdown", "content": answer}
    assert sources["tag"] == "note"
    assert "&#91;1&#93;" in sources["elements"][0]["content"]
    assert actions["tag"] == "action"
    # It stands right below the question, so it quotes nothing.
    assert "parent_id" not in message


async def test_a_message_that_comes_twice_is_answered_once(shop: Office) -> None:
    event = shop.feishu.says(QUESTION)
    again = event | {"header": event["header"] | {"event_id": "ev_another"}}
    await shop.tell(event, event, again)
    assert shop.said() == [REFUND]


async def test_an_answer_that_got_lost_is_not_shown_twice(shop: Office) -> None:
    shop.feishu.failures["create"].append(Failure(status=502, body="<html>", after=True))
    await shop.tell(shop.feishu.says(QUESTION))
    assert [name for name, *_ in shop.feishu.calls].count("create") == 2
    assert shop.said() == [REFUND]


async def test_a_button_is_pressed_for_its_choice(shop: Office) -> None:
    await shop.tell(shop.feishu.says(DOUBTFUL))
    [offer] = shop.feishu.said()
    label = buttons_of(offer)[0]["text"]["content"]
    assert await shop.tell(shop.feishu.presses(offer, label)) == [1]
    assert shop.feishu.answers[-1] == {}
    assert shop.said()[-1] == ENTRIES[label]


async def test_a_question_that_is_taken_back_before_its_turn_is_not_answered(shop: Office) -> None:
    event = shop.feishu.says("and")
    await shop.feishu.tell(event)
    await shop.tell(shop.feishu.recalls(event))
    assert shop.said() == []


async def test_a_person_is_called_and_the_bot_falls_silent(shop: Office) -> None:
    await shop.tell(shop.feishu.says("I want to talk to a human, please."))
    assert len(shop.said()) == 1
    number = await shop.bot.id_of(DIRECT, "shop")
    await shop.bot.post(f"/api/v1/conversations/{number}/claim", {"agent": "Bea"})
    await shop.bot.post(f"/api/v1/conversations/{number}/reply", {"agent": "Bea", "text": "Hello!"})
    await shop.tell(shop.feishu.says(QUESTION))
    # Above a person's words stands the person's name.
    assert shop.said()[1:] == ["**Bea**\n\nHello!"]


# --- answers that grow ---------------------------------------------------------------------------


@pytest.fixture
def unpaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """As fast as the stand-in can take it."""
    monkeypatch.setattr(FeishuAdapter, "seconds_between", lambda *_: 0.0)
    at_once = replace(FeishuAdapter.capabilities, edit_interval_seconds=0)
    monkeypatch.setattr(FeishuAdapter, "capabilities", at_once)


@pytest.mark.usefixtures("unpaced")
async def test_an_answer_grows_in_one_card(served: Served, clock: Clock, feishu: Feishu) -> None:
    writer = HeldWriter()
    async with opened(served, clock, feishu, base=documents(), writer=writer) as shop:
        await feishu.tell(feishu.says(WRITTEN))
        writer.says(FIRST)
        await until(lambda: shop.said() == [FIRST])
        writer.says(ANSWER)
        await until(lambda: shop.said() == [ANSWER])
        writer.ends(ANSWER)
        await shop.settle()
    [message] = feishu.said()
    assert words_of(message) == ANSWER
    assert [one["tag"] for one in card_of(message)["elements"]] == ["markdown", "note", "action"]
    called = [name for name, *_ in feishu.calls]
    assert (called.count("create"), called.count("patch")) == (1, 2)


@pytest.mark.usefixtures("unpaced")
async def test_an_answer_that_cannot_grow_comes_whole(
    served: Served, clock: Clock, feishu: Feishu
) -> None:
    feishu.failures["patch"] += [Failure(230031, "too old")] * 10
    writer = HeldWriter()
    async with opened(served, clock, feishu, base=documents(), writer=writer) as shop:
        await feishu.tell(feishu.says(WRITTEN))
        writer.says(FIRST)
        await until(lambda: shop.said() == [FIRST])
        writer.ends(ANSWER)
        await until(lambda: len(shop.said()) == 2)
    assert shop.said() == [FIRST, ANSWER]


# --- groups --------------------------------------------------------------------------------------


async def test_in_a_group_a_mention_is_answered_under_the_question(shop: Office) -> None:
    event = shop.feishu.says(f"@bot {QUESTION}", GROUP)
    await shop.tell(event)
    [answer] = shop.feishu.said(GROUP)
    assert words_of(answer) == REFUND
    assert answer["parent_id"] == event["event"]["message"]["message_id"]
    # No topic is made of a talk that was none.
    assert "thread_id" not in answer


async def test_talk_of_people_in_a_group_is_left_alone(shop: Office) -> None:
    feishu = shop.feishu
    other = feishu.says(QUESTION, GROUP)
    asked = feishu.messages[other["event"]["message"]["message_id"]]
    await shop.tell(
        other,
        feishu.says(f"@bob {QUESTION}", GROUP),
        feishu.says(f"@_all {QUESTION}", GROUP),
        feishu.says(QUESTION, GROUP, sender=BOB, parent=asked),
        feishu.says(QUESTION, GROUP, topic=True),
    )
    assert shop.said(GROUP) == []


async def test_a_reply_to_the_bot_is_answered_after_a_restart_too(
    served: Served, clock: Clock, feishu: Feishu
) -> None:
    async with opened(served, clock, feishu) as shop:
        await shop.tell(feishu.says(f"@bot {QUESTION}", GROUP))
        [answer] = feishu.said(GROUP)
        await shop.tell(feishu.says(RETURN, GROUP, parent=answer))
        assert "get" not in [name for name, *_ in feishu.calls]
    async with opened(served, clock, feishu) as shop:
        await shop.tell(feishu.says("运费是多少", GROUP, parent=answer))
    assert shop.said(GROUP) == [REFUND, ENTRIES[RETURN], ENTRIES["运费是多少"]]


async def test_members_of_a_group_have_conversations_of_their_own(shop: Office) -> None:
    await shop.tell(shop.feishu.says("@bot I want to talk to a human, please.", GROUP, sender=ANN))
    await shop.tell(shop.feishu.says(f"@bot {QUESTION}", GROUP, sender=BOB))
    assert shop.said(GROUP)[1:] == [REFUND]


async def test_a_topic_is_answered_inside_of_it(shop: Office) -> None:
    feishu = shop.feishu
    first = feishu.says(f"@bot {QUESTION}", GROUP, topic=True)["event"]["message"]
    message = feishu.messages[first["message_id"]]
    await shop.tell(feishu.says(f"@bot {RETURN}", GROUP, sender=BOB, parent=message))
    [answer] = feishu.said(GROUP, thread=first["message_id"])
    assert words_of(answer) == ENTRIES[RETURN]
    assert answer["thread_id"] == first["thread_id"]


async def test_a_choice_in_a_topic_is_answered_inside_of_it(shop: Office) -> None:
    feishu = shop.feishu
    asked = feishu.says(f"@bot {DOUBTFUL}", GROUP, topic=True)
    await shop.tell(asked)
    root = asked["event"]["message"]["message_id"]
    [offer] = feishu.said(GROUP, root)
    label = buttons_of(offer)[0]["text"]["content"]
    await shop.tell(feishu.presses(offer, label))
    assert shop.said(GROUP, root)[1:] == [ENTRIES[label]]


async def test_a_choice_in_a_group_belongs_to_who_asked(shop: Office) -> None:
    feishu = shop.feishu
    asked = feishu.says(f"@bot {DOUBTFUL}", GROUP)
    await shop.tell(asked)
    [offer] = feishu.said(GROUP)
    label = buttons_of(offer)[0]["text"]["content"]
    await shop.tell(feishu.presses(offer, label, presser=BOB))
    answer = feishu.said(GROUP)[-1]
    assert words_of(answer) == ENTRIES[label]
    assert answer["parent_id"] == asked["event"]["message"]["message_id"]


# --- the door ------------------------------------------------------------------------------------


async def test_feishu_can_try_the_address_out(shop: Office) -> None:
    await shop.tell(shop.feishu.trial())
    assert shop.feishu.answers == [{"challenge": "ajls384kdjx98XX"}]


async def test_what_is_not_feishus_is_refused_and_not_stored(shop: Office) -> None:
    event = shop.feishu.says(QUESTION)
    before = await shop.bot.stored()
    body, headers = sealed(event, "another key")
    status, _ = await shop.bot.post("/webhooks/shop", data=body, headers=headers)
    assert status == 401
    assert await shop.bot.stored() == before


async def test_kfbot_check_names_the_bot(shop: Office) -> None:
    assert await shop.bot.application.channels["shop"].check() == "kfbot"
