"""What agents teach, over HTTP: proposals, entries, what was asked in vain, exports."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
import sqlalchemy as sa

from kfbot.knowledge_base import Entry, EntrySource
from kfbot.store import tables
from tests.integration.conftest import ServedBot
from tests.integration.desk_client import PASSWORD, DeskClient
from tests.integration.stores import listening

pytestmark = pytest.mark.asyncio

ISLAND, SHIPPING = "Do you ship to Iceland, 13812345678?", "Yes, for 20 euros."


class Desk:
    """What a signed-in agent sends; answers are the status with the data, or what went wrong."""

    def __init__(self, bot: ServedBot) -> None:
        self.bot = bot
        self._client = DeskClient(bot)

    async def sign_in(self, path: str, name: str, **more: str) -> Desk:
        body = {"name": name, "password": PASSWORD} | more
        self._client.csrf = (await self._client.done("POST", f"/desk/api/{path}", body))["csrf"]
        return self

    async def get(self, path: str) -> tuple[int, Any]:
        return await self._client.call("GET", f"/desk/api/{path}")

    async def post(self, path: str, body: Any = None) -> tuple[int, Any]:
        return await self._client.call("POST", f"/desk/api/{path}", body)

    async def remove(self, path: str) -> tuple[int, Any]:
        return await self._client.call("DELETE", f"/desk/api/{path}")

    async def lines(self, form: str) -> list[dict[str, Any]]:
        url = f"{self.bot.url}/desk/api/learned.jsonl?format={form}"
        headers = {"Cookie": f"kfbot_desk={self._client.token}"}
        async with self.bot.http.get(url, headers=headers) as response:
            assert response.status == 200, await response.text()
            assert "attachment" in response.headers["Content-Disposition"]
            return [json.loads(line) for line in (await response.text()).splitlines()]


@pytest_asyncio.fixture
async def desk(bot: ServedBot) -> Desk:
    return await Desk(bot).sign_in("setup", "ann", display_name="Ann")


async def colleague(desk: Desk, name: str, role: str, teams: list[str]) -> Desk:
    body = {"name": name, "display_name": name, "role": role, "password": PASSWORD}
    status, told = await desk.post("agents", {**body, "teams": teams, "capacity": 5})
    assert status in (200, 201), told
    return await Desk(desk.bot).sign_in("session", name)


async def answered_case(bot: ServedBot, chat: str, question: str, *answers: str) -> int:
    await bot.ask(question, chat)
    conversation_id = await bot.id_of(chat)
    handoff = bot.application.handoff
    await handoff.claim(conversation_id, "ann")
    for answer in answers:
        await handoff.reply(conversation_id, "ann", answer)
    await handoff.resolve(conversation_id, "ann")
    return conversation_id


def entry(question: str = ISLAND, answer: str = SHIPPING, **more: Any) -> dict[str, Any]:
    return {"question": question, "answer": answer, "knowledge_base": "fake", **more}


async def test_a_proposal_is_listed_counted_edited_and_approved(desk: Desk) -> None:
    number = await answered_case(desk.bot, "c-1", ISLAND, "Hello!", SHIPPING)
    _, listed = await desk.get("proposals")
    assert (listed["open"], listed["next"], listed["knowledge_bases"]) == (1, None, ["fake"])
    [one] = listed["proposals"]
    assert (one["question"], one["answer"], one["state"]) == (ISLAND, SHIPPING, "open")
    assert (one["conversation_id"], one["channel"], one["decided_by"]) == (number, "api", None)
    edited = entry("Shipping\nto Iceland?", variants=["冰岛送吗", "冰岛送吗", " "])
    status, told = await desk.post(f"proposals/{one['id']}/approve", edited)
    assert (status, told["state"], told["decided_by"]) == (200, "approved", "ann")
    _, found = await desk.get("entries?knowledge_base=fake")
    [made] = found["entries"]
    assert made == {
        "knowledge_base": "fake",
        "id": f"approved-{one['id']}",
        "question": "Shipping to Iceland?",
        "answer": SHIPPING,
        "variants": ["冰岛送吗"],
    }
    assert (await desk.bot.ask("shipping to iceland", "c-2"))["text"] == SHIPPING
    status, told = await desk.post(f"proposals/{one['id']}/approve", edited)
    assert status == 409
    assert (await desk.get("proposals/count")) == (200, {"open": 0})
    assert (await desk.remove(f"entries/fake/{made['id']}"))[0] == 200
    assert (await desk.remove(f"entries/fake/{made['id']}"))[0] == 404
    _, deeds = await desk.get("audit")
    written = [deed["action"] for deed in deeds]
    assert written[:2] == ["entry_removed", "proposal_approved"]
    assert ISLAND not in json.dumps(deeds)


async def test_what_is_declined_while_its_entry_is_made_answers_nobody(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await answered_case(desk.bot, "c-1", ISLAND, SHIPPING)
    [one] = (await desk.get("proposals"))[1]["proposals"]
    add = desk.bot.knowledge.add_entry

    async def add_late(name: str, entry: Entry, *, source: EntrySource) -> None:
        assert (await desk.post(f"proposals/{one['id']}/decline", {}))[0] == 200
        await add(name, entry, source=source)

    monkeypatch.setattr(desk.bot.knowledge, "add_entry", add_late)
    assert (await desk.post(f"proposals/{one['id']}/approve", entry()))[0] == 409
    assert (await desk.get("entries"))[1]["entries"] == []


async def test_a_proposal_is_declined_once(desk: Desk) -> None:
    await answered_case(desk.bot, "c-1", ISLAND, SHIPPING)
    [one] = (await desk.get("proposals"))[1]["proposals"]
    assert (await desk.post(f"proposals/{one['id']}/decline"))[1]["state"] == "declined"
    assert (await desk.post(f"proposals/{one['id']}/decline"))[0] == 409
    [declined] = (await desk.get("proposals?state=declined"))[1]["proposals"]
    assert declined["id"] == one["id"]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({}, "question"),
        (entry(question=" "), "question"),
        (entry(answer=""), "answer"),
        (entry(question="a" * 2001), "question"),
        (entry(answer="a" * 20_001), "answer"),
        (entry(knowledge_base="toys"), "fake"),
        (entry(variants=["a"] * 51), "variants"),
        (entry(variants="a"), "variants"),
        (entry(turn_id=77), "turn"),
        (entry(turn_id=2**70), "turn_id"),
        (entry(state="approved"), "state"),
    ],
)
async def test_a_proposal_of_the_wrong_form_is_refused_by_name(
    desk: Desk, body: dict[str, Any], fault: str
) -> None:
    status, told = await desk.post("proposals", body)
    assert status == 400
    assert fault in told
    assert "\n" not in told
    assert (await desk.get("proposals/count"))[1] == {"open": 0}


@pytest.mark.parametrize(
    "path",
    [
        "proposals?state=lost",
        "proposals?before=x",
        "unanswered?days=0",
        "unanswered?days=367",
        "unanswered?days=x",
        "learned.jsonl?format=xml",
        "learned.jsonl?days=-1",
    ],
)
async def test_a_query_of_the_wrong_form_is_refused(desk: Desk, path: str) -> None:
    assert (await desk.get(path))[0] == 400


@pytest.mark.parametrize("path", ["proposals/77/approve", "proposals/x/approve"])
async def test_what_is_not_there_cannot_be_decided(desk: Desk, path: str) -> None:
    assert (await desk.post(path, entry()))[0] == 404
    assert (await desk.get("entries?knowledge_base=toys"))[0] == 404
    assert (await desk.remove("entries/toys/x"))[0] == 404


async def test_without_a_session_nothing_is_shown(bot: ServedBot) -> None:
    for path in ("proposals", "entries", "unanswered", "learned.jsonl", "proposals/count"):
        status, body = await bot.get(f"/desk/api/{path}")
        assert (status, body["data"]) == (401, None)


async def test_viewers_read_and_change_nothing_and_only_admins_export(desk: Desk) -> None:
    await answered_case(desk.bot, "c-1", ISLAND, SHIPPING)
    viewer = await colleague(desk, "vera", "viewer", [])
    agent = await colleague(desk, "ben", "agent", [])
    [one] = (await viewer.get("proposals"))[1]["proposals"]
    assert (await viewer.post(f"proposals/{one['id']}/approve", entry()))[0] == 403
    assert (await viewer.post("proposals", entry()))[0] == 403
    assert (await viewer.remove("entries/fake/x"))[0] == 403
    assert (await agent.get("learned.jsonl"))[0] == 403
    assert (await agent.post(f"proposals/{one['id']}/approve", entry()))[0] == 200


async def test_hostile_words_are_kept_as_they_are(desk: Desk) -> None:
    hostile = "<img src=x onerror=alert(1)> '; DROP TABLE proposal; -- \0 \u202e ${7*7}"
    status, told = await desk.post("proposals", entry(hostile, hostile))
    assert status == 201
    assert "<img src=x onerror=alert(1)>" in told["question"]
    assert (await desk.post(f"proposals/{told['id']}/approve", entry(hostile, hostile)))[0] == 200


async def test_entries_by_hand_are_listed_and_taken_back_whatever_their_id(desk: Desk) -> None:
    odd = Entry(id="a/b 冰岛?#%", question="q", answer="a")
    await desk.bot.knowledge.add_entry("fake", odd, source="chat")
    [found] = (await desk.get("entries"))[1]["entries"]
    assert found["id"] == odd.id
    assert (await desk.remove(f"entries/fake/{quote(odd.id, safe='')}"))[0] == 200
    # PostgreSQL takes no NUL, not even in a question.
    await desk.bot.knowledge.add_entry("fake", replace(odd, id="ab"), source="chat")
    assert (await desk.remove("entries/fake/a%00b"))[0] == 200
    assert (await desk.get("entries"))[1]["entries"] == []


async def test_what_was_asked_in_vain_is_grouped_and_answered_from_there(desk: Desk) -> None:
    for number in range(3):
        await desk.bot.ask("Do you ship to Iceland?", f"c-{number}")
    _, found = await desk.get("unanswered")
    [group] = found["groups"]
    assert (group["question"], group["people"], group["count"]) == (
        "Do you ship to Iceland?",
        3,
        3,
    )
    assert (group["channels"], len(group["conversation_ids"])) == (["api"], 3)
    assert found["left_out"] == 0
    status, made = await desk.post("proposals", entry(group["question"], variants=["Iceland?"]))
    assert (status, made["variants"], made["case_id"]) == (201, ["Iceland?"], None)
    [group] = (await desk.get("unanswered"))[1]["groups"]
    assert group["proposal_id"] == made["id"]
    await desk.post(f"proposals/{made['id']}/approve", entry(group["question"]))
    assert (await desk.get("unanswered"))[1]["groups"] == []


async def test_exports_hold_what_was_taught_without_private_data(desk: Desk) -> None:
    number = await answered_case(desk.bot, "c-1", ISLAND, f"{SHIPPING} Call 13812345678.")
    [one] = (await desk.get("proposals"))[1]["proposals"]
    [chat] = await desk.lines("sft")
    assert [message["role"] for message in chat["messages"]] == ["system", "user", "assistant"]
    assert chat["messages"][2]["content"] == f"{SHIPPING} Call [mobile]."
    assert chat["conversation"] == f"conversation-{number}"
    assert await desk.lines("questions") == []
    await desk.post(f"proposals/{one['id']}/approve", entry("Shipping to Iceland?"))
    [question] = await desk.lines("questions")
    assert question == {
        "text": "Do you ship to Iceland, [mobile]?",
        "gold_ids": [f"approved-{one['id']}"],
        "in_scope": True,
        "history": [],
        "kb": "fake",
        "conversation": f"conversation-{number}",
    }
    _, deeds = await desk.get("audit")
    assert [deed["target"] for deed in deeds if deed["action"] == "learned_exported"] == [
        "questions", "questions", "sft"
    ]  # fmt: skip
    [faq] = await desk.lines("entries")
    assert (faq["id"], faq["answer"], faq["variants"]) == (question["gold_ids"][0], SHIPPING, [])
    [chat] = await desk.lines("sft")
    assert chat["messages"][1]["content"] == "Shipping to Iceland?"
    [pair] = await desk.lines("preferences")
    assert pair["chosen"] == [{"role": "assistant", "content": SHIPPING}]
    assert pair["rejected"][0]["content"]
    await desk.remove(f"entries/fake/approved-{one['id']}")
    for form in ("questions", "sft", "preferences", "entries"):
        assert await desk.lines(form) == []


async def test_a_helpful_answer_is_an_evaluation_question_with_its_history(
    desk: Desk,
) -> None:
    bot = desk.bot
    await bot.ask("运费是多少", "c-1")
    await bot.ask("怎么开发票", "c-1")
    turn = tables.turn
    button = tables.button
    last = sa.select(sa.func.max(turn.c.id)).scalar_subquery()
    pressed = (
        button.update()
        .where(button.c.turn_id == last, button.c.action == "helpful")
        .values(pressed_at=bot.clock())
    )
    await bot.database.write(lambda c: c.execute(pressed).rowcount)
    [question] = await desk.lines("questions")
    assert (question["text"], question["gold_ids"], question["kb"]) == (
        "怎么开发票",
        ["entry-4"],
        "fake",
    )
    assert [one["role"] for one in question["history"]] == ["customer", "bot"]


async def test_reading_what_was_taught_scans_no_whole_table(desk: Desk) -> None:
    heard: dict[str, Any] = {}

    def hear(connection: Any, cursor: Any, statement: str, parameters: Any, *further: Any) -> None:
        heard[statement] = parameters

    await answered_case(desk.bot, "c-1", ISLAND, SHIPPING)
    await colleague(desk, "ben", "agent", [])
    with listening("before_cursor_execute", hear):
        await answered_case(desk.bot, "c-2", "有没有赠品送", "没有。")
        for path in ("proposals?before=9", "unanswered?channel=api", "proposals/count"):
            assert (await desk.get(path))[0] == 200
        await desk.lines("questions")
        await desk.lines("preferences")
    about = ("FROM proposal", "FROM button", 'FROM "case"', "INSERT INTO proposal")
    read = {said: given for said, given in heard.items() if any(one in said for one in about)}
    assert len(read) >= 8
    whole = set()
    for statement, parameters in read.items():
        explain = partial(_plan, statement=statement, parameters=parameters)
        plan = await desk.bot.database.read(explain)
        scanned = [step.split()[1] for step in plan if step.startswith("SCAN")]
        whole |= {(table, statement) for table in scanned if table in tables.metadata.tables}
    assert whole == set()


def _plan(connection: sa.Connection, statement: str, parameters: Any) -> list[str]:
    found = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
    return list(found.scalars("detail"))


async def test_the_description_tells_what_is_answered(desk: Desk) -> None:
    _, description = await desk.bot.get("/api/v1/openapi.json")
    schemas = description["components"]["schemas"]
    await answered_case(desk.bot, "c-1", ISLAND, SHIPPING)
    await desk.bot.ask("When will my refund arrive?", "c-2")
    pressed = (
        tables.button.update()
        .where(tables.button.c.action == "not_helpful")
        .values(pressed_at=desk.bot.clock())
    )
    await desk.bot.database.write(lambda c: c.execute(pressed).rowcount)
    [one] = (await desk.get("proposals"))[1]["proposals"]
    groups = (await desk.get("unanswered"))[1]["groups"]
    [answer] = [answer for group in groups for answer in group["answers"]]
    await desk.post(f"proposals/{one['id']}/approve", entry())
    [added] = (await desk.get("entries"))[1]["entries"]
    assert set(schemas["Proposal"]["properties"]) == set(one)
    assert set(schemas["UnansweredGroup"]["properties"]) == set(groups[0])
    answers = schemas["UnansweredGroup"]["properties"]["answers"]
    assert set(answers["items"]["properties"]) == set(answer)
    assert set(schemas["AddedEntry"]["properties"]) == set(added)
    for path, methods in description["paths"].items():
        if path.startswith(("/desk/api/proposals", "/desk/api/entries", "/desk/api/unanswered")):
            for method in methods.values():
                assert "401" in method["responses"]
