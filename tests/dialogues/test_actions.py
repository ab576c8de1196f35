"""Actions: begun by their phrases, asked through, done by the shop's own system, and answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from kfbot.adapter import AdapterSettings, Capabilities
from kfbot.conversation import State
from kfbot.errors import StoreUnavailable
from kfbot.grounding.writing import Writer
from kfbot.messages import ButtonPressed, ConversationId, MessageEdited, Sender
from kfbot.settings import Settings
from kfbot.store import tables
from kfbot.store.engine import Database
from kfbot.store.outcomes import OutcomeStore
from kfbot.testing import FakeAdapter, FakeChatModel
from tests.dialogues.conftest import CHAT, Stage, staged
from tests.dialogues.shop import (
    ASK_ORDER,
    ASK_ORDER_ZH,
    ASK_PHONE,
    ASK_PHONE_ZH,
    SECRET,
    SLOTS,
    actions,
    case_of,
    say,
)
from tests.platforms.order_system import OrderSystem
from tests.platforms.webhook_receiver import Answer

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def system() -> AsyncIterator[OrderSystem]:
    async with OrderSystem(SECRET) as opened:
        yield opened


@pytest_asyncio.fixture
async def shop(database: Database, clock: Any, system: OrderSystem) -> AsyncIterator[Stage]:
    channel = FakeAdapter(capabilities=Capabilities(buttons=True))
    settings = Settings(slots=SLOTS, actions=actions(system.url))
    async with staged(database, clock, channel, settings) as stage:
        yield stage


async def test_what_is_needed_is_asked_for_and_the_system_answers(
    shop: Stage, system: OrderSystem
) -> None:
    [asked] = await say(shop, "Hi, where is my order?")
    assert asked.text == ASK_ORDER
    assert [button.action for button in asked.buttons] == ["person"]
    [asked] = await say(shop, "it's AB123456")
    assert asked.text == ASK_PHONE
    [answer] = await say(shop, "13800138000")
    assert answer.text == "Order AB123456 is shipped, with SF\\_Express."
    assert [button.action for button in answer.buttons] == ["helpful", "not_helpful", "person"]
    [request] = system.requests
    assert request["action"] == "order_status"
    assert request["slots"] == {"order_number": "AB123456", "phone": "13800138000"}
    assert request["language"] == "en"
    assert request["customer"] == {"id": "customer-1", "name": ""}
    assert (request["conversation"]["channel"], request["conversation"]["chat"]) == (
        "shop",
        "chat-1",
    )


async def test_in_chinese_it_asks_and_answers_in_chinese(shop: Stage, system: OrderSystem) -> None:
    [asked] = await say(shop, "请问我的订单到哪里了？")
    assert asked.text == ASK_ORDER_ZH
    [asked] = await say(shop, "AB123456")
    assert asked.text == ASK_PHONE_ZH
    [answer] = await say(shop, "13800138000")
    assert answer.text == "订单 AB123456 的状态：shipped。"
    assert system.requests[0]["language"] == "zh"


@pytest.mark.parametrize(
    "text",
    [
        "where is my order AB123456, my phone is 13800138000",
        "我的订单号AB123456到哪了，手机13800138000",
        "Hello! Can you please track my order? 13800138000 / AB123456",
    ],
)
async def test_all_that_is_needed_may_come_at_once(
    shop: Stage, system: OrderSystem, text: str
) -> None:
    [answer] = await say(shop, text)
    assert "shipped" in answer.text
    assert system.requests[0]["slots"] == {"order_number": "AB123456", "phone": "13800138000"}


async def test_a_question_that_merely_mentions_an_order_is_for_the_documents(
    shop: Stage, system: OrderSystem
) -> None:
    [answer] = await say(shop, "How do I return an item?")
    assert answer.text == "Open the order and press Return."
    [reply] = await say(shop, "what is your return policy for orders")
    assert reply.text != ASK_ORDER
    assert system.requests == []


async def test_what_was_not_found_is_said_in_the_operators_words(shop: Stage) -> None:
    [answer] = await say(shop, "Where is my order ZZ999999? 13800138000")
    assert answer.text == "I find no order ZZ999999 with that phone number."
    assert (await shop.conversation()).state is State.BOT


async def test_a_wrong_value_is_asked_for_again_in_other_words_and_then_a_person_comes(
    shop: Stage, system: OrderSystem
) -> None:
    await say(shop, "where is my order")
    [again] = await say(shop, "12345")
    assert again.text.startswith("That does not look right. It is in the confirmation mail")
    await say(shop, "123456")
    [handoff] = await say(shop, "1234567")
    assert handoff.kind == "handoff"
    case = await case_of(shop)
    assert case.reason == "action_stuck"
    assert case.draft == "Action order_status (–): the customer could not say what is needed"
    assert system.requests == []


async def test_who_does_not_know_the_number_gets_a_person_with_what_is_known(shop: Stage) -> None:
    await say(shop, "我的订单到哪了", "AB123456")
    [handoff] = await say(shop, "不记得了")
    assert handoff.kind == "handoff"
    case = await case_of(shop)
    assert "AB123456" in case.draft


async def test_words_of_failure_that_name_a_missing_slot_keep_nobody_from_a_person(
    database: Database, clock: Any, system: OrderSystem
) -> None:
    own = actions(system.url, failure_en="I cannot look {{order_number}} up now.")
    channel = FakeAdapter(capabilities=Capabilities(buttons=True))
    async with staged(database, clock, channel, Settings(slots=SLOTS, actions=own)) as stage:
        [handoff] = await say(stage, "where is my order", "I don't know")
        assert handoff.kind == "handoff"
        assert (await case_of(stage)).reason == "action_stuck"


@pytest.mark.parametrize("words", ["cancel", "never mind", "算了", "不用了"])
async def test_the_customer_can_break_off(shop: Stage, system: OrderSystem, words: str) -> None:
    await say(shop, "where is my order")
    [reply] = await say(shop, words)
    assert reply.text == "All right, I will leave it at that. What else can I help with?"
    [reply] = await say(shop, "AB123456")
    assert reply.text != ASK_PHONE
    assert system.requests == []


async def test_another_question_is_answered_and_the_action_goes_on(shop: Stage) -> None:
    await say(shop, "where is my order")
    answer, again = await say(shop, "How do I return an item?")
    assert answer.text == "Open the order and press Return."
    assert again.text == ASK_ORDER
    [asked] = await say(shop, "AB123456")
    assert asked.text == ASK_PHONE


async def test_another_question_that_nobody_can_answer_gets_a_person_with_the_values(
    shop: Stage,
) -> None:
    await say(shop, "where is my order AB123456")
    [handoff] = await say(shop, "Why is the moon made of cheese?")
    assert handoff.kind == "handoff"
    case = await case_of(shop)
    assert case.question == "Why is the moon made of cheese?"
    assert case.draft.startswith("Action order_status (order_number: AB123456): not carried out")


async def test_who_asks_for_a_person_in_the_middle_gets_one_with_the_values(shop: Stage) -> None:
    await say(shop, "where is my order AB123456")
    [handoff] = await say(shop, "a person please")
    assert handoff.kind == "handoff"
    case = await case_of(shop)
    assert case.reason == "asked_for_person"
    assert "AB123456" in case.draft


async def test_after_a_person_took_over_nothing_is_taken_up_again(
    shop: Stage, system: OrderSystem
) -> None:
    await say(shop, "where is my order AB123456")
    conversation = await shop.conversation()
    handoff = shop.application.handoff
    await handoff.claim(conversation.id, "ann")
    assert await say(shop, "13800138000") == []
    await handoff.hand_back(conversation.id, "ann")
    *_, asked = await say(shop, "where is my order")
    assert asked.text == ASK_ORDER
    assert system.requests == []


async def test_a_value_that_was_given_is_used_again_for_a_while(
    shop: Stage, system: OrderSystem, clock: Any
) -> None:
    await say(shop, "where is my order AB123456", "13800138000")
    [answer] = await say(shop, "where is my order?")
    assert "shipped" in answer.text
    clock.advance(minutes=31)
    [asked] = await say(shop, "where is my order?")
    assert asked.text == ASK_ORDER
    assert len(system.requests) == 2


async def test_what_was_said_before_the_action_began_is_not_asked_for(shop: Stage) -> None:
    await say(shop, "Hello, I am writing about AB123456. How do I return an item?")
    [asked] = await say(shop, "and where is my order?")
    assert asked.text == ASK_PHONE


async def test_another_value_alone_asks_for_the_same_once_more(
    shop: Stage, system: OrderSystem
) -> None:
    await say(shop, "where is my order AB123456", "13800138000")
    [answer] = await say(shop, "and AB000002?")
    assert answer.text == "I find no order AB000002 with that phone number."
    assert system.requests[1]["slots"] == {"order_number": "AB000002", "phone": "13800138000"}


async def test_a_value_can_be_set_right_while_another_is_asked_for(
    shop: Stage, system: OrderSystem
) -> None:
    await say(shop, "where is my order AB123457")
    [asked] = await say(shop, "sorry, it is AB123456")
    assert asked.text == ASK_PHONE
    await say(shop, "13800138000")
    assert system.requests[0]["slots"]["order_number"] == "AB123456"


async def test_an_edited_value_counts_as_it_reads_now(shop: Stage, system: OrderSystem) -> None:
    await say(shop, "where is my order")
    await shop.customer_says("AB123457", message_id="the-number")
    edit = MessageEdited(
        event_id="edit-1", conversation=CHAT, message_id="the-number",
        sender=Sender("customer-1"), sent_at=shop.clock(), text="AB123456", in_group=False,
    )  # fmt: skip
    await shop.settle(await shop.accept(edit))
    assert shop.channel.sent[-1].text == ASK_PHONE
    await say(shop, "13800138000")
    assert system.requests[0]["slots"]["order_number"] == "AB123456"


async def test_what_changes_something_is_done_only_after_a_yes(
    shop: Stage, system: OrderSystem
) -> None:
    [asked] = await say(shop, "cancel my order AB123456")
    assert asked.text == "Where shall the money go?"
    assert [button.label for button in asked.buttons][:2] == ["My card / 原卡", "Balance / 余额"]
    [confirm] = await shop.customer_presses("Balance / 余额")
    assert confirm.text == "Shall I cancel order AB123456?"
    assert [button.label for button in confirm.buttons][:2] == ["Yes", "No"]
    assert system.requests == []
    [answer] = await shop.customer_presses("Yes")
    assert answer.text == "Order AB123456 is cancelled."
    assert system.requests[0]["slots"] == {"order_number": "AB123456", "refund_to": "balance"}
    assert await shop.customer_presses("Yes") == []
    assert system.cancelled == ["AB123456"]


@pytest.mark.parametrize(
    ("choice", "value"), [("2", "balance"), ("余额", "balance"), ("my card", "card")]
)
async def test_a_choice_may_be_written(
    shop: Stage, system: OrderSystem, choice: str, value: str
) -> None:
    [confirm] = await say(shop, "取消订单 AB123456", choice)
    assert confirm.text.startswith("取消订单（AB123456、")
    await say(shop, "好的")
    assert system.requests[0]["slots"]["refund_to"] == value


async def test_a_no_leaves_everything_as_it_is(shop: Stage, system: OrderSystem) -> None:
    await say(shop, "cancel my order AB123456", "1")
    [reply] = await say(shop, "no, don't")
    assert reply.text.startswith("All right")
    assert system.requests == []


@pytest.mark.parametrize(
    ("words", "done"), [("1", True), ("2", False), ("yes, AB123456 please", True), ("确认", True)]
)
async def test_where_there_are_no_buttons_a_yes_is_written(
    database: Database, clock: Any, system: OrderSystem, words: str, done: bool
) -> None:
    given = Settings(slots=SLOTS, actions=actions(system.url))
    async with staged(database, clock, FakeAdapter(), given) as shop:
        [confirm] = await say(shop, "cancel my order AB123456", "2")
        assert confirm.text == "Shall I cancel order AB123456?\n1. Yes\n2. No"
        await say(shop, words)
    assert system.cancelled == (["AB123456"] if done else [])


async def test_what_was_begun_under_other_settings_is_forgotten(
    database: Database, clock: Any, system: OrderSystem
) -> None:
    before = actions(system.url)
    after = actions(system.url, slots=("order_number",))
    for given, text in ((before, "cancel my order AB123456"), (after, "How do I return an item?")):
        settings = Settings(slots=SLOTS, actions=given)
        async with staged(database, clock, FakeAdapter(), settings) as shop:
            [reply] = await say(shop, text, event_id=text, message_id=text)
    assert reply.text == "Open the order and press Return."


async def test_an_old_yes_says_yes_to_nothing_else(shop: Stage, system: OrderSystem) -> None:
    await say(shop, "cancel my order AB123456", "1")
    old = next(one for one in shop.channel.sent[-1].buttons if one.label == "Yes")
    await say(shop, "no", "cancel my order AB000001", "2")
    event = ButtonPressed(
        event_id="old-yes", conversation=CHAT, token=old.token,
        sender=Sender("customer-1"), sent_at=shop.clock(),
    )  # fmt: skip
    await shop.settle(await shop.accept(event))
    assert "expired" in shop.channel.sent[-1].text
    assert system.requests == []


@pytest.mark.parametrize("words", ["cancel", "cancel it", "取消"])
async def test_a_cancel_that_may_mean_yes_or_no_is_asked_about(
    shop: Stage, system: OrderSystem, words: str
) -> None:
    await say(shop, "cancel my order AB123456", "1")
    [again] = await say(shop, words)
    assert again.text == "Shall I cancel order AB123456?"
    assert system.requests == []


async def test_an_agent_reads_what_was_done_before_the_customer_asked_for_a_person(
    shop: Stage,
) -> None:
    await say(shop, "where is my order AB123456, 13800138000", "a person please")
    case = await case_of(shop)
    account = "Action order_status (order_number: AB123456, phone: •••): answered"
    assert case.draft.startswith(account)


async def test_what_was_remembered_is_removed_once_it_has_expired(
    shop: Stage, database: Database, clock: Any
) -> None:
    await say(shop, "where is my order AB123456, 13800138000")
    rows = sa.select(tables.action_memory.c.data)
    assert "13800138000" in str(await database.read(lambda c: c.execute(rows).all()))
    clock.advance(minutes=31)
    await shop.application.upkeep.purge()
    assert await database.read(lambda c: c.execute(rows).all()) == []


async def test_another_action_takes_the_place_of_the_first(
    shop: Stage, system: OrderSystem
) -> None:
    await say(shop, "where is my order")
    [asked] = await say(shop, "actually, please cancel my order AB123456")
    assert asked.text == "Where shall the money go?"


async def test_a_second_question_in_the_same_message_is_answered_too(shop: Stage) -> None:
    answer, asked = await say(shop, "Where is my order? And how do I return an item?")
    assert answer.text == "Open the order and press Return."
    assert asked.text == ASK_ORDER


async def test_a_wish_that_is_only_near_is_offered_with_its_values(shop: Stage) -> None:
    [offer] = await say(shop, "where is my order AB123456 from Tuesday with the blue socks")
    assert offer.text.endswith("Do you mean “Where is my order?” (AB123456)?")
    assert [button.label for button in offer.buttons][:1] == ["Where is my order?"]
    [asked] = await shop.customer_presses("Where is my order?", in_group=False)
    assert asked.text == ASK_PHONE


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=401),
        Answer(body=b"<html>"),
        Answer(body=b'{"order": {"status": "x"}}'),
        Answer(status=302, headers={"location": "/elsewhere"}),
        Answer(body=b" " * 300_000 + b"{}"),
    ],
    ids=["refused", "no JSON", "a field is missing", "redirect", "too long"],
)
async def test_what_fails_gets_a_person_who_reads_what_was_asked(
    shop: Stage, system: OrderSystem, answer: Answer
) -> None:
    system.answers = [answer]
    [handoff] = await say(shop, "Where is my order AB123456? 13800138000")
    assert handoff.kind == "handoff"
    assert handoff.text.startswith("Sorry, I could not get that just now.")
    case = await case_of(shop)
    assert case.reason == "action_failed"
    assert "order_number: AB123456" in case.draft
    assert "13800138000" not in case.draft + case.question
    assert system.elsewhere == 0


async def test_one_order_that_breaks_the_system_shuts_nobody_else_out(
    shop: Stage, system: OrderSystem
) -> None:
    system.broken = {"AB000009"}
    for chat in ("first", "second"):
        here = ConversationId("shop", chat)
        [handoff] = await say(shop, "Where is my order AB000009? 13800138000", chat=here)
        assert handoff.kind == "handoff"
    asked = "Where is my order AB123456? 13800138000"
    [answer] = await say(shop, asked, chat=ConversationId("shop", "third"))
    assert "shipped" in answer.text


async def test_a_system_that_fails_for_two_customers_is_left_alone(
    shop: Stage, system: OrderSystem
) -> None:
    system.broken = {"AB000008", "AB000009", "AB123456"}
    for number, order in enumerate(("AB000008", "AB000009", "AB123456")):
        here = ConversationId("shop", f"chat-{number}")
        [handoff] = await say(shop, f"Where is my order {order}? 13800138000", chat=here)
        assert handoff.kind == "handoff"
    asked = {request["slots"]["order_number"] for request in system.requests}
    assert asked == {"AB000008", "AB000009"}


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"[]"])
async def test_an_empty_answer_is_nothing_found(
    shop: Stage, system: OrderSystem, body: bytes
) -> None:
    system.answers = [Answer(body=body)]
    [reply] = await say(shop, "Where is my order AB123456? 13800138000")
    assert reply.text == "I find no order AB123456 with that phone number."


async def test_what_could_not_be_taken_is_sent_again_under_the_same_id(
    shop: Stage, system: OrderSystem
) -> None:
    system.answers = [Answer(status=503)]
    [answer] = await say(shop, "Where is my order AB123456? 13800138000")
    assert "shipped" in answer.text
    first, second = system.webhook_ids
    assert first == second


async def test_a_turn_that_is_taken_again_asks_under_the_same_id(
    shop: Stage, system: OrderSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a crash between the call and the commit: the shop can drop the repeat."""
    await say(shop, "cancel my order AB123456", "1")
    commit, failures = OutcomeStore.commit, [StoreUnavailable("gone for a moment")]

    async def failing(self: OutcomeStore, *given: Any) -> Any:
        if failures:
            raise failures.pop()
        return await commit(self, *given)

    monkeypatch.setattr(OutcomeStore, "commit", failing)
    accepted = await shop.accept(shop.message("yes"))
    for _ in range(4):
        shop.clock.advance(seconds=5)
        shop.application.inbox.wake()
        await shop.sent_out()
    await shop.settle(accepted)
    assert shop.channel.sent[-1].text == "Order AB123456 is cancelled."
    assert len(system.webhook_ids) == 2
    assert len(set(system.webhook_ids)) == 1
    assert system.cancelled == ["AB123456"]


async def test_in_a_group_only_who_began_is_listened_to(shop: Stage, system: OrderSystem) -> None:
    group: dict[str, Any] = {"chat": ConversationId("shop", "group", "thread-1"), "in_group": True}
    other = Sender("customer-2")
    [confirm] = await say(shop, "cancel my order AB123456", "1", **group)
    assert confirm.text == "Shall I cancel order AB123456?"
    [reply] = await say(shop, "ok", sender=other, **group)
    assert "cancel" not in reply.text
    yes = next(one for one in confirm.buttons if one.label == "Yes")
    press = ButtonPressed(
        event_id="press-of-another", conversation=group["chat"], token=yes.token,
        sender=other, sent_at=shop.clock(),
    )  # fmt: skip
    await shop.settle(await shop.accept(press))
    assert system.requests == []
    [answer] = await say(shop, "ok", **group)
    assert answer.text == "Order AB123456 is cancelled."


async def test_what_is_private_is_not_asked_for_where_others_read_along(shop: Stage) -> None:
    group = ConversationId("shop", "group", None, "customer-1")
    [reply] = await say(shop, "where is my order AB123456", chat=group, in_group=True)
    assert "private chat" in reply.text
    assert [button.action for button in reply.buttons] == ["person"]


async def test_what_is_private_is_not_kept_with_the_turn(shop: Stage, database: Database) -> None:
    await say(shop, "Where is my order AB123456? 13800138000", "How do I return 13800138000?")
    turns = await database.read(lambda c: c.execute(sa.select(tables.turn)).all())
    assert len(turns) == 2
    assert "13800138000" not in str(turns)
    assert "AB123456" in str(turns)


async def test_an_admin_reads_what_was_called_and_what_came_back(
    database: Database, clock: Any, system: OrderSystem
) -> None:
    settings = AdapterSettings(platform="fake", admins=("boss",))
    channel = FakeAdapter(settings=settings)
    given = Settings(slots=SLOTS, actions=actions(system.url))
    async with staged(database, clock, channel, given) as shop:
        await say(shop, "Where is my order AB123456? 13800138000")
        [why] = await say(shop, "/why", sender=Sender("boss"))
    assert "order\\_status" in why.text
    assert "shipped" in why.text
    assert "13800138000" not in why.text


async def test_a_question_without_a_conversation_is_asked_back_and_answered_alone(
    shop: Stage, system: OrderSystem
) -> None:
    asked = await shop.application.ask("where is my order AB123456")
    assert (asked.decision, asked.text) == ("clarify", ASK_PHONE)
    answer = await shop.application.ask("where is my order AB123456? 13800138000")
    assert answer.decision == "answer"
    assert "shipped" in answer.text
    [request] = system.requests
    assert (request["conversation"], request["customer"]) == (None, None)
    await shop.application.ask("where is my order AB123456? 13800138000")
    assert len(set(system.webhook_ids)) == 2
    confirm = await shop.application.ask("cancel my order AB123456, money to my card")
    assert (confirm.decision, confirm.text) == ("clarify", "Shall I cancel order AB123456?")
    assert len(system.requests) == 2


async def test_what_is_private_is_hidden_from_the_chat_model(
    database: Database, clock: Any, system: OrderSystem
) -> None:
    model = FakeChatModel(["The items go back by mail [1]."] * 3)
    given = Settings(slots=SLOTS, actions=actions(system.url))
    async with staged(database, clock, FakeAdapter(), given, writer=Writer(model)) as shop:
        shop.knowledge.kind = "document"
        await say(shop, "where is my order AB123456, 13800138000")
        await say(shop, "How do I return an item? 13800138000")
    assert model.prompts
    assert "13800138000" not in str(model.prompts)
