"""The desk's JSON from outside, on SQLite and PostgreSQL: a case from its opening to its end."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from kfbot.agents import Agent
from kfbot.messages import ConversationId, MessageReceived, Sender
from kfbot.store import tables
from kfbot.store.queue import Listed
from kfbot.testing import FakeAdapter
from tests.conftest import Clock
from tests.integration.conftest import DOUBTFUL, ENTRIES, Served, ServedBot
from tests.integration.desk_client import (
    CONVERSATIONS,
    PASSWORD,
    SESSION,
    DeskClient,
    colleague,
    first_admin,
    waiting,
)

pytestmark = pytest.mark.asyncio

QUESTION = "When will my refund arrive?"


@pytest_asyncio.fixture
async def desk_bot(served: Served, url: str) -> AsyncIterator[ServedBot]:
    async with served(database={"url": url}) as opened:
        yield opened


@pytest_asyncio.fixture
async def anna(desk_bot: ServedBot) -> DeskClient:
    return await first_admin(desk_bot)


async def shop_waiting(bot: ServedBot) -> int:
    """The conversation of a shop's customer who waits for an agent."""
    event = MessageReceived(
        event_id=secrets.token_hex(8),
        conversation=ConversationId("shop", "chat-1"),
        message_id=secrets.token_hex(8),
        sender=Sender("customer-1"),
        sent_at=bot.clock(),
        text="转人工",
    )
    accepted = await bot.application.inbox.accept(event)
    await bot.quiet()
    return accepted.conversation_id


def said(conversation: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["role"], one["text"]) for one in conversation["transcript"]]


async def test_a_case_goes_from_the_queue_to_an_agent_and_back_to_the_bot(
    anna: DeskClient,
) -> None:
    bot = anna.bot
    number = await waiting(bot)
    listed = await anna.get(CONVERSATIONS)
    [summary] = listed["conversations"]
    assert (summary["id"], summary["state"], summary["case"]["reason"]) == (
        number,
        "waiting",
        "asked_for_person",
    )
    assert (summary["language"], summary["agent"], listed["next"]) == ("zh", None, None)
    assert summary["waiting_since"] == summary["case"]["opened_at"]
    assert listed["counts"] == {"waiting": 1, "mine": 0, "all": 1}
    status, claimed = await anna.act(number, "claim")
    assert (status, claimed["agent"], claimed["agent_name"]) == (200, "anna", "Anna Li")
    assert (await anna.get(CONVERSATIONS))["counts"] == {"waiting": 0, "mine": 1, "all": 1}
    message = await anna.reply(number, "我来帮您。", "m-1")
    assert (message["role"], message["name"], message["client_id"]) == ("agent", "Anna Li", "m-1")
    assert message["delivery"] == "sent"
    note = await anna.reply(number, "VIP", "m-2", internal=True)
    assert (note["internal"], note["delivery"]) == (True, "none")
    whole = await anna.get(f"{CONVERSATIONS}/{number}")
    assert [role for role, _ in said(whole)] == ["customer", "bot", "agent", "agent"]
    assert (whole["may_write"], whole["has_older"]) == (True, False)
    assert whole["transcript"][1]["decision"] == "handoff"
    status, back = await anna.act(number, "handback")
    assert (status, back["state"], back["case"]["outcome"]) == (200, "bot", "handed_back")
    assert (await bot.ask(QUESTION, "c-1"))["text"] == ENTRIES[QUESTION]


async def test_a_case_shows_what_the_bot_saw(anna: DeskClient) -> None:
    number = await waiting(anna.bot, text="refund")
    whole = await anna.get(f"{CONVERSATIONS}/{number}")
    case = whole["case"]
    assert case["reason"] == "unsure"
    assert case["passages"][0]["quote"] in ENTRIES.values()
    assert case["passages"][0]["knowledge_base"] == case["knowledge_base"]
    assert 0 <= case["confidence"] <= 1
    [listed] = (await anna.get(CONVERSATIONS))["conversations"]
    assert listed["case"]["passages"] == []


async def test_a_claim_race_has_one_winner_and_the_other_is_told_who_it_is(
    anna: DeskClient,
) -> None:
    number = await waiting(anna.bot)
    desks = [anna] + [await colleague(anna, name) for name in ("bo", "cy")]
    answers = await asyncio.gather(*(desk.act(number, "claim") for desk in desks))
    assert sorted(status for status, _ in answers) == [200, 409, 409]
    [winner] = [data["agent"] for status, data in answers if status == 200]
    assert all(winner in message for status, message in answers if status == 409)
    [loser, _] = [desk for desk, (status, _) in zip(desks, answers, strict=True) if status == 409]
    for what in ("handback", "resolve"):
        status, message = await loser.act(number, what)
        assert (status, winner in message) == (409, True)


async def test_nobody_closes_what_a_colleague_claimed_a_moment_before(
    anna: DeskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = await waiting(anna.bot)
    bo = await colleague(anna, "bo")
    queue = anna.bot.application.desk.queue
    find = queue.find

    async def find_late(agent: Agent, conversation_id: int) -> Listed | None:
        found = await find(agent, conversation_id)
        if agent.name == "anna":
            await bo.act(number, "claim")
        return found

    monkeypatch.setattr(queue, "find", find_late)
    for what in ("handback", "resolve"):
        status, message = await anna.act(number, what)
        assert (status, message) == (409, f"conversation {number} is bo's")
    assert (await bo.get(f"{CONVERSATIONS}/{number}"))["agent"] == "bo"


async def test_what_the_bearer_of_a_token_does_is_on_record(anna: DeskClient) -> None:
    number = await waiting(anna.bot)
    one = f"/api/v1/conversations/{number}"
    for path, body in (
        ("claim", {"agent": "bo"}),
        ("reply", {"agent": "bo", "text": "a secret"}),
        ("reply", {"agent": "bo", "text": "a secret", "internal": True}),
        ("handback", {"agent": "bo"}),
        ("resolve", {}),
    ):
        assert (await anna.bot.post(f"{one}/{path}", body))[0] == 200
    deeds = [deed for deed in await anna.get("/desk/api/audit") if deed["actor"] == "token"]
    assert [(deed["action"], deed["details"]["agent"]) for deed in reversed(deeds)] == [
        ("case_claimed", "bo"),
        ("reply_written", "bo"),
        ("note_written", "bo"),
        ("case_handed_back", "bo"),
        ("case_resolved", "agent"),
    ]
    assert {deed["target"] for deed in deeds} == {f"conversation {number}"}
    assert "secret" not in str(deeds)


async def test_a_repeated_send_is_the_same_message(anna: DeskClient) -> None:
    number = await waiting(anna.bot)
    sends = [anna.reply(number, "Here.", "same") for _ in range(5)]
    ids = {message["id"] for message in await asyncio.gather(*sends)}
    assert len(ids) == 1
    assert (await anna.reply(number, "Here.", "other"))["id"] not in ids
    whole = await anna.get(f"{CONVERSATIONS}/{number}")
    assert [text for role, text in said(whole) if role == "agent"] == ["Here.", "Here."]


async def test_a_long_reply_goes_in_parts_and_is_stored_once(served: Served, url: str) -> None:
    shop = FakeAdapter("shop")
    async with served(database={"url": url}, channels={"shop": shop}) as bot:
        anna = await first_admin(bot)
        number = await shop_waiting(bot)
        limit = shop.capabilities.text_length
        text = "a long story. " * (limit // 10)
        last = await anna.reply(number, text, "long")
        assert (await anna.reply(number, text, "long"))["id"] == last["id"]
        await bot.quiet()
        parts = [message.text for message in shop.sent if message.sender.role == "agent"]
        assert len(parts) == 2
        assert shop.sent[-1].sender.display_name == "Anna Li"
        whole = await anna.get(f"{CONVERSATIONS}/{number}")
        assert [one["delivery"] for one in whole["transcript"][-2:]] == ["sent", "sent"]


async def test_no_message_is_left_out_or_shown_twice_between_two_reads(anna: DeskClient) -> None:
    number = await waiting(anna.bot)
    many = [{"conversation_id": number, "text": f"text {one}"} for one in range(230)]
    same = {"role": "customer", "created_at": anna.bot.clock()}
    rows = [row | same for row in many]
    await anna.bot.database.write(lambda c: c.execute(tables.message.insert(), rows).rowcount)
    path = f"{CONVERSATIONS}/{number}"
    newest = await anna.get(path)
    assert newest["has_older"]
    seen = newest["transcript"]
    while newest["has_older"]:
        newest = await anna.get(path, params={"before": seen[0]["id"]})
        seen = newest["transcript"] + seen
    after, forwards = 0, []
    while page := (await anna.get(path, params={"after": after}))["transcript"]:
        forwards += page
        after = page[-1]["id"]
    ids = [message["id"] for message in seen]
    assert ids == sorted(set(ids))
    assert [message["id"] for message in forwards] == ids
    assert len(ids) == 232


async def test_a_colleague_is_given_a_case_and_told_of_it(anna: DeskClient) -> None:
    number = await waiting(anna.bot)
    bo = await colleague(anna, "bo")
    async with bo.events() as events:
        await events.until("ready")
        status, summary = await anna.act(number, "assign", {"agent": "bo"})
        assert (status, summary["assigned_to"], summary["state"]) == (200, "bo", "waiting")
        assert await events.until("assigned") == {"id": number, "by": "anna"}
    assert await bo.ids("mine") == [number]
    status, summary = await anna.act(number, "assign", {"agent": None})
    assert (status, summary["assigned_to"]) == (200, None)
    assert await bo.ids("mine") == []


async def test_a_transfer_takes_a_claimed_conversation_to_the_other(anna: DeskClient) -> None:
    number = await waiting(anna.bot)
    bo = await colleague(anna, "bo")
    await anna.act(number, "claim")
    async with bo.events() as events:
        await events.until("ready")
        status, summary = await anna.act(number, "assign", {"agent": "bo"})
        assert (status, summary["state"], summary["agent"]) == (200, "waiting", None)
        assert summary["assigned_to"] == "bo"
        assert (await anna.ids("mine"), await bo.ids("mine")) == ([], [number])
        assert (await bo.act(number, "claim"))[0] == 200


async def test_the_closed_are_listed_newest_first_and_led_on_from_page_to_page(
    anna: DeskClient,
) -> None:
    numbers = [await waiting(anna.bot, f"c-{one}") for one in range(5)]
    for number in numbers:
        await anna.act(number, "resolve")
    first = await anna.get(CONVERSATIONS, params={"view": "closed", "limit": 2})
    found, further = [one["id"] for one in first["conversations"]], first["next"]
    while further:
        query = {"view": "closed", "limit": 2, "before": further}
        page = await anna.get(CONVERSATIONS, params=query)
        found += [one["id"] for one in page["conversations"]]
        further = page["next"]
    assert found == numbers[::-1]


async def test_the_longest_waiting_comes_first(served: Served, url: str, clock: Clock) -> None:
    async with served(database={"url": url}, clock=clock) as bot:
        anna = await first_admin(bot)
        numbers = []
        for one in range(3):
            numbers.append(await waiting(bot, f"c-{one}"))
            clock.advance(seconds=5)
        # Who writes again does not lose their place.
        await bot.ask("还在吗", "c-0")
        assert await anna.ids("waiting") == numbers


async def test_words_are_found_in_what_was_said_also_by_the_bot_alone(anna: DeskClient) -> None:
    bot = anna.bot
    await bot.ask(QUESTION, "alone")
    alone = await bot.id_of("alone")
    number = await waiting(bot)
    await anna.reply(number, "100%_sure about the Refund policy")
    assert await anna.ids("all", q="refund POLICY") == [number]
    assert await anna.ids("closed", q="business days") == [alone]
    assert await anna.ids("closed") == []


async def test_words_to_look_for_are_taken_literally(anna: DeskClient) -> None:
    number = await waiting(anna.bot)
    await anna.reply(number, "100%_sure\\")
    attempts = ["1%e", "100__sure", "%%", "' OR 1=1 --", '"; DROP TABLE message; --', "𝕏🙂", "\\\\"]
    for words in attempts:
        assert await anna.ids("all", q=words) == [], words
    # Nothing is left of a NUL alone: that asks for everything.
    for words in ("100%_sure", "_", "\\", "%_", "\0"):
        assert await anna.ids("all", q=words) == [number], words


async def test_a_customers_earlier_cases_are_shown(served: Served, url: str) -> None:
    shop = FakeAdapter("shop")
    async with served(database={"url": url}, channels={"shop": shop}) as bot:
        anna = await first_admin(bot)
        number = await shop_waiting(bot)
        await anna.act(number, "resolve")
        assert await shop_waiting(bot) == number
        path = f"{CONVERSATIONS}/{number}/earlier"
        [case] = (await anna.get(path))["cases"]
        assert (case["conversation_id"], case["channel"], case["outcome"]) == (
            number,
            "shop",
            "resolved",
        )


async def test_canned_answers_are_kept_under_titles_of_their_own(anna: DeskClient) -> None:
    path = "/desk/api/canned"
    hello = {"title": "hello", "text": "您好！"}
    [one] = await anna.done("POST", path, hello)
    assert {key: one[key] for key in hello} | {"by": "anna"} == hello | {"by": one["updated_by"]}
    assert (await anna.call("POST", path, hello))[0] == 409
    await anna.done("POST", path, {"title": "bye", "text": "Bye."})
    changed = await anna.done("PUT", f"{path}/{one['id']}", {"title": "hello", "text": "Hi."})
    assert [answer["text"] for answer in changed] == ["Bye.", "Hi."]
    taken = {"title": "bye", "text": "x"}
    assert (await anna.call("PUT", f"{path}/{one['id']}", taken))[0] == 409
    assert len(await anna.done("DELETE", f"{path}/{one['id']}")) == 1
    assert (await anna.call("DELETE", f"{path}/{one['id']}"))[0] == 404


async def test_everything_that_changes_something_is_on_record(anna: DeskClient) -> None:
    number = await waiting(anna.bot)
    await colleague(anna, "bo")
    await anna.act(number, "claim")
    await anna.reply(number, "a secret of the customer")
    await anna.act(number, "assign", {"agent": "bo"})
    await anna.act(number, "resolve")
    await anna.done("PUT", "/desk/api/teams/day", {"channels": ["api"]})
    deeds = await anna.get("/desk/api/audit")
    assert [deed["action"] for deed in reversed(deeds)] == [
        "agent_added",
        "sign_in",
        "agent_added",
        "sign_in",
        "case_claimed",
        "reply_written",
        "case_assigned",
        "case_resolved",
        "team_changed",
    ]
    assert "secret" not in str(deeds)
    assert PASSWORD not in str(deeds)
    rest = await anna.get("/desk/api/audit", params={"before": deeds[2]["id"]})
    assert rest == deeds[3:]


async def test_who_is_there_is_seen_by_the_others(anna: DeskClient) -> None:
    bo = await colleague(anna, "bo")

    async def present() -> dict[str, bool]:
        return {one["name"]: one["present"] for one in await anna.get("/desk/api/agents")}

    assert await present() == {"anna": False, "bo": False}
    async with bo.events() as events:
        await events.until("ready")
        assert await present() == {"anna": False, "bo": True}
        await bo.done("PATCH", SESSION, {"away": True})
        assert await present() == {"anna": False, "bo": False}


async def test_two_admins_who_take_each_others_role_leave_one(anna: DeskClient) -> None:
    bo = await colleague(anna, "bo", role="admin")
    answers = await asyncio.gather(
        anna.call("PATCH", "/desk/api/agents/bo", {"role": "agent"}),
        bo.call("PATCH", "/desk/api/agents/anna", {"role": "agent"}),
    )
    # The second is too late: as an agent they may not, as the last admin they cannot.
    assert sorted(status for status, _ in answers)[0] == 200
    roles = [one["role"] for one in await anna.get("/desk/api/agents")]
    assert "admin" in roles


async def test_the_last_admin_stays(anna: DeskClient) -> None:
    await colleague(anna, "bo")
    for body in ({"role": "agent"}, {"active": False}):
        status, message = await anna.call("PATCH", "/desk/api/agents/anna", body)
        assert (status, "last active admin" in message) == (409, True)
    assert (await anna.get(SESSION))["agent"]["role"] == "admin"


async def test_changes_of_one_agent_at_the_same_time_are_all_made(anna: DeskClient) -> None:
    await colleague(anna, "bo")
    path = "/desk/api/agents/bo"
    bodies: list[dict[str, Any]] = [{"capacity": 9}, {"display_name": "Bo Wu"}, {"role": "viewer"}]
    await asyncio.gather(*(anna.done("PATCH", path, body) for body in bodies))
    [bo] = [one for one in await anna.get("/desk/api/agents") if one["name"] == "bo"]
    assert (bo["capacity"], bo["display_name"], bo["role"]) == (9, "Bo Wu", "viewer")


async def test_a_doubtful_case_keeps_the_buttons_that_were_shown(anna: DeskClient) -> None:
    await anna.bot.ask(DOUBTFUL, "c-1")
    number = await anna.bot.id_of("c-1")
    whole = await anna.get(f"{CONVERSATIONS}/{number}")
    buttons = whole["transcript"][1]["buttons"]
    assert len(buttons) >= 2
    assert {button["pressed"] for button in buttons} == {False}
