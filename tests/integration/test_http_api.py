"""The HTTP API from outside: questions, agents, knowledge, access, health."""

from __future__ import annotations

import asyncio
import io
import json
import re
import socket
import stat
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from kfbot.errors import ChannelUnauthorized, SettingsError
from kfbot.knowledge_base import Retrieval
from kfbot.messages import ConversationId, MessageReceived, Sender
from kfbot.store.conversations import add_address
from kfbot.testing import FakeAdapter, FakeKnowledgeBase
from kfbot.web import health
from tests.conftest import Clock
from tests.integration.conftest import ANSWER_FIELDS, DOUBTFUL, ENTRIES, Served, ServedBot

pytestmark = pytest.mark.asyncio

ASK = "/api/v1/ask"
QUESTION = {"query": "When will my refund arrive?"}
REFUND = ENTRIES[QUESTION["query"]]
JSON = {"Content-Type": "application/json"}


def assert_refused(answer: tuple[int, dict[str, Any]], status: int) -> str:
    """An error has its form; returns what it says."""
    assert answer[0] == status, answer
    body = answer[1]
    assert (set(body), body["code"], body["data"]) == ({"code", "msg", "data"}, status, None)
    assert body["msg"]
    assert "\n" not in body["msg"]
    return str(body["msg"])


# --- questions -----------------------------------------------------------------------------------


async def test_a_question_without_a_conversation_is_answered_and_nothing_is_stored(
    bot: ServedBot,
) -> None:
    status, body = await bot.post(ASK, QUESTION)
    assert (status, body["code"], body["msg"]) == (200, 200, "success")
    data = body["data"]
    assert set(data) == ANSWER_FIELDS
    assert (data["text"], data["decision"], data["choices"]) == (REFUND, "answer", [])
    [citation] = data["citations"]
    assert set(citation) == {"id", "title", "heading", "url", "quote", "score"}
    assert citation["id"] == "entry-2"
    assert 0.5 < data["confidence"] <= 1
    assert set((await bot.stored()).values()) == {0}


async def test_a_question_in_a_conversation_is_a_full_turn(bot: ServedBot) -> None:
    data = await bot.ask(QUESTION["query"], "c-1")
    assert set(data) == ANSWER_FIELDS
    assert (data["text"], data["decision"]) == (REFUND, "answer")
    _, body = await bot.get(f"/api/v1/conversations/{await bot.id_of('c-1')}")
    said = [(message["role"], message["text"]) for message in body["data"]["transcript"]]
    assert said == [("customer", QUESTION["query"]), ("bot", REFUND)]


async def test_a_doubtful_question_gets_choices_that_can_be_answered_by_number(
    bot: ServedBot,
) -> None:
    data = await bot.ask(DOUBTFUL, "c-1")
    assert data["decision"] == "clarify"
    assert [set(choice) for choice in data["choices"]] == [{"id", "label"}] * len(data["choices"])
    assert 2 <= len(data["choices"]) <= 3
    assert (await bot.ask("1", "c-1"))["text"] == ENTRIES[data["choices"][0]["label"]]


async def test_questions_of_many_conversations_are_answered_side_by_side(bot: ServedBot) -> None:
    answers = await asyncio.gather(*(bot.ask(QUESTION["query"], f"c-{n}") for n in range(20)))
    assert {answer["text"] for answer in answers} == {REFUND}


async def test_the_bot_is_silent_while_an_agent_has_the_conversation(bot: ServedBot) -> None:
    await bot.ask("转人工", "c-1")
    await bot.post(f"/api/v1/conversations/{await bot.id_of('c-1')}/claim", {"agent": "ann"})
    data = await bot.ask(QUESTION["query"], "c-1")
    assert set(data) == ANSWER_FIELDS
    assert (data["decision"], data["text"]) == ("silent", "")


@pytest.mark.parametrize("query", ["", "   ", "？？", "🙂", "a\0b?", "\ufeff?"])
async def test_an_odd_question_gets_a_polite_answer(bot: ServedBot, query: str) -> None:
    status, body = await bot.post(ASK, {"query": query})
    assert (status, set(body["data"])) == (200, ANSWER_FIELDS)
    assert (await bot.ask(query, "c-1"))["text"]


async def test_a_question_of_100_kb_is_answered(bot: ServedBot) -> None:
    long = "退货" * 17_000 + "？"
    status, body = await bot.post(ASK, {"query": long})
    assert (status, body["data"]["decision"]) == (200, "handoff")
    assert (await bot.ask(long, "c-1"))["decision"] == "handoff"


async def test_a_knowledge_base_that_fails_means_a_handoff_not_an_error(bot: ServedBot) -> None:
    bot.knowledge.broken = True
    status, body = await bot.post(ASK, QUESTION)
    assert (status, body["data"]["decision"]) == (200, "handoff")


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({}, "query"),
        ({"query": 1}, "query"),
        ({"query": None}, "query"),
        ({"query": ["a"]}, "query"),
        ({"query": "a" * 200_001}, "query"),
        ({"query": "a", "conversation": 7}, "conversation"),
        ({"query": "a", "conversation": ""}, "conversation"),
        ({"query": "a", "conversation": "c" * 201}, "conversation"),
        ({"query": "a", "histroy": []}, "histroy"),
        ([], "body"),
        ("a", "body"),
    ],
)
async def test_a_body_of_the_wrong_form_is_refused_by_name(
    bot: ServedBot, body: object, fault: str
) -> None:
    message = assert_refused(await bot.post(ASK, body), 400)
    assert fault in message
    assert "setting" not in message
    assert ": :" not in message


@pytest.mark.parametrize(
    "data",
    [
        b'{"query": "\xff\xfe"}',
        b"\xff",
        b"{",
        b"{'query': 'a'}",
        b'{"query": "\\ud800"}',
        b'{"query": NaN}',
        b'{"query": ' + b"[" * 100_000,
        b'{"query": ' + b'{"a":' * 100_000,
        b'{"query": ' + b"9" * 100_000 + b"}",
    ],
    ids=["utf8", "byte", "cut", "quotes", "surrogate", "nan", "lists", "objects", "digits"],
)
async def test_a_body_that_is_no_json_is_refused(bot: ServedBot, data: bytes) -> None:
    assert_refused(await bot.post(ASK, data=data, headers=JSON), 400)


async def test_a_body_over_one_mebibyte_is_refused(bot: ServedBot) -> None:
    data = io.BytesIO(json.dumps({"query": "a" * 1_100_000}).encode())
    assert_refused(await bot.post(ASK, data=data, headers=JSON), 413)


async def test_what_does_not_exist_is_said_in_the_same_form(bot: ServedBot) -> None:
    assert_refused(await bot.get("/api/v1/nothing"), 404)
    assert_refused(await bot.get("/nothing"), 404)
    assert_refused(await bot.get(ASK), 405)


# --- access --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "shop.example"}, 403),
        ({"Host": "127.0.0.1.shop.example"}, 403),
        ({"Host": "[::1"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "https://shop.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"X-Forwarded-For": "10.0.0.7"}, 401),
        ({"X-Real-IP": "10.0.0.7"}, 401),
        ({"Forwarded": "for=10.0.0.7"}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Bearer ü"}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": ""}, 401),
    ],
)
async def test_without_tokens_only_programs_of_this_machine_get_in(
    bot: ServedBot, headers: dict[str, str], status: int
) -> None:
    data = json.dumps(QUESTION).encode()
    assert_refused(await bot.post(ASK, data=data, headers=JSON | headers), status)


async def test_bytes_that_are_no_text_in_a_header_are_refused(bot: ServedBot) -> None:
    host, port = bot.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"GET /api/v1/knowledge HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        b"Authorization: Bearer \xff\xfe\r\n\r\n"
    )
    async with asyncio.timeout(60):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST:8080"])
async def test_every_name_of_this_machine_gets_in(bot: ServedBot, host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert (await bot.post(ASK, QUESTION, headers=headers))[0] == 200


async def test_with_tokens_only_their_bearers_get_in(served: Served) -> None:
    async with served(web={"tokens": ["first-token", "second-token"]}) as bot:
        assert_refused(await bot.post(ASK, QUESTION), 401)
        for wrong in (
            "Bearer third-token",
            "Basic first-token",
            "first-token",
            "Bearer first-toke",
        ):
            answer = await bot.post(ASK, QUESTION, headers={"Authorization": wrong})
            assert_refused(answer, 401)
        for right in ("Bearer first-token", "bearer second-token"):
            answer = await bot.post(ASK, QUESTION, headers={"Authorization": right})
            assert answer[0] == 200
        headers = {"Authorization": "Bearer first-token", "X-Forwarded-For": "10.0.0.7"}
        assert (await bot.post(ASK, QUESTION, headers=headers))[0] == 200


async def test_with_tokens_every_path_of_the_api_wants_one(served: Served) -> None:
    async with served(web={"tokens": ["first-token"]}) as bot:
        for path in ("/conversations", "/conversations/1", "/knowledge", "/jobs/1", "/nothing"):
            assert_refused(await bot.get(f"/api/v1{path}"), 401)
        assert (await bot.get("/healthz"))[0] == 200


@pytest.mark.parametrize("tokens", [[], ["first-token"]])
async def test_the_token_in_the_servers_own_file_works_and_goes_with_the_server(
    served: Served, tokens: list[str]
) -> None:
    async with served(web={"tokens": tokens}) as bot:
        file = bot.data_dir / "server.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        known = json.loads(file.read_text())
        assert known["url"] == bot.url
        headers = {"Authorization": f"Bearer {known['token']}"}
        assert (await bot.post(ASK, QUESTION, headers=headers))[0] == 200
    assert not file.exists()


async def test_every_answer_tells_browsers_not_to_guess_its_type(bot: ServedBot) -> None:
    for path in ("/healthz", "/api/v1/knowledge", "/api/v1/nothing", "/chat", "/widget.js"):
        async with bot.http.get(bot.url + path) as response:
            assert response.headers["X-Content-Type-Options"] == "nosniff", path


async def test_no_answer_may_be_read_by_pages_of_other_origins(bot: ServedBot) -> None:
    for path in (ASK, "/api/v1/knowledge", "/chat", "/chat/config"):
        async with bot.http.options(bot.url + path) as response:
            assert "Access-Control-Allow-Origin" not in response.headers


async def test_an_open_address_without_tokens_is_refused(served: Served) -> None:
    with pytest.raises(SettingsError, match="tokens") as refused:
        async with served(web={"host": "0.0.0.0"}):
            raise AssertionError("it started")
    assert "\n" not in str(refused.value)


async def test_an_open_address_with_tokens_is_served(served: Served) -> None:
    async with served(web={"host": "0.0.0.0", "tokens": ["first-token"]}) as bot:
        assert bot.url.startswith("http://127.0.0.1:")
        assert_refused(await bot.post(ASK, QUESTION), 401)


async def test_a_taken_port_is_said_in_one_line(served: Served) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"{port}.*port") as refused:
            async with served(port=port):
                raise AssertionError("it started")
    assert "\n" not in str(refused.value)


# --- agents --------------------------------------------------------------------------------------


async def test_an_agent_sees_who_waits_and_why(bot: ServedBot) -> None:
    await bot.ask("Do you sell elephants?", "c-1")
    await bot.ask(QUESTION["query"], "c-2")
    status, body = await bot.get("/api/v1/conversations")
    [waiting] = body["data"]
    assert (status, waiting["state"], waiting["agent"]) == (200, "waiting", None)
    assert waiting["last_text"] == "Do you sell elephants?"
    assert waiting["case"]["reason"] == "unsure"
    _, body = await bot.get("/api/v1/conversations?state=bot,closed")
    assert [one["last_text"] for one in body["data"]] == [QUESTION["query"]]


async def test_conversations_are_looked_up_by_their_chat(bot: ServedBot) -> None:
    await bot.ask(QUESTION["query"], "c-1")
    _, body = await bot.get("/api/v1/conversations", params={"chat": "c-1"})
    assert [(one["state"], one["channel"]) for one in body["data"]] == [("bot", "api")]
    for params in ({"chat": "c-2"}, {"chat": "c-1", "channel": "web"}, {"chat": ""}):
        assert (await bot.get("/api/v1/conversations", params=params))[1]["data"] == []


async def test_all_conversations_of_a_chat_are_found_by_it(served: Served, clock: Clock) -> None:
    shop = FakeAdapter("shop")
    async with served(channels={"shop": shop}, clock=clock) as bot:
        places = [("group", None, None), ("group", "topic-1", None), ("group", None, "kim")]
        for number, place in enumerate([*places, ("other", "topic-1", None)]):
            event = MessageReceived(
                event_id=f"e-{number}",
                conversation=ConversationId("shop", *place),
                message_id=f"m-{number}",
                sender=Sender("kim"),
                sent_at=clock(),
                text=QUESTION["query"],
            )
            await bot.application.inbox.accept(event)
        await bot.quiet()
        query = {"channel": "shop", "chat": "group"}
        _, body = await bot.get("/api/v1/conversations", params=query)
        ids = {one["id"] for one in body["data"]}
        assert len(ids) == 3
        assert [one["last_text"] for one in body["data"]] == [QUESTION["query"]] * 3
        # One that moved is found by both names, once.
        number, moved = min(ids), ConversationId("shop", "renamed")
        await bot.database.write(lambda c: add_address(c, number, moved))
        for chat in ("group", "renamed"):
            params = {"channel": "shop", "chat": chat}
            _, body = await bot.get("/api/v1/conversations", params=params)
            assert [one["id"] for one in body["data"]].count(number) == 1


async def test_an_unknown_state_is_refused(bot: ServedBot) -> None:
    for state in ("asleep", "", "bot,"):
        assert "state" in assert_refused(await bot.get(f"/api/v1/conversations?state={state}"), 400)


async def test_an_agent_claims_replies_and_hands_back(bot: ServedBot) -> None:
    await bot.ask("转人工", "c-1")
    one = f"/api/v1/conversations/{await bot.id_of('c-1')}"
    status, body = await bot.post(f"{one}/claim", {"agent": "ann"})
    assert (status, body["data"]["state"], body["data"]["agent"]) == (200, "agent", "ann")
    status, body = await bot.post(f"{one}/reply", {"agent": "ann", "text": "您好，我是安。"})
    assert (status, set(body["data"])) == (200, {"message_id"})
    _, body = await bot.get(one)
    assert body["data"]["case"]["reason"] == "asked_for_person"
    last = body["data"]["transcript"][-1]
    assert (last["role"], last["name"], last["text"]) == ("agent", "ann", "您好，我是安。")
    status, body = await bot.post(f"{one}/handback", {"agent": "ann"})
    assert (body["data"]["state"], body["data"]["agent"]) == ("bot", None)
    assert (await bot.get(one))[1]["data"]["case"] is None
    assert (await bot.ask("运费是多少", "c-1"))["decision"] == "answer"


async def test_a_resolved_conversation_is_taken_up_by_the_next_question(bot: ServedBot) -> None:
    await bot.ask("转人工", "c-1")
    one = f"/api/v1/conversations/{await bot.id_of('c-1')}"
    _, body = await bot.post(f"{one}/resolve", {"agent": "ann"})
    assert body["data"]["state"] == "closed"
    assert_refused(await bot.post(f"{one}/resolve", {"agent": "ann"}), 409)
    assert_refused(await bot.post(f"{one}/handback", {"agent": "ann"}), 409)
    assert (await bot.ask(QUESTION["query"], "c-1"))["decision"] == "answer"
    assert (await bot.get(one))[1]["data"]["state"] == "bot"


async def test_a_note_is_in_the_transcript_and_changes_no_owner(bot: ServedBot) -> None:
    await bot.ask("转人工", "c-1")
    one = f"/api/v1/conversations/{await bot.id_of('c-1')}"
    note = {"agent": "bob", "text": "known customer", "internal": True}
    assert (await bot.post(f"{one}/reply", note))[0] == 200
    _, body = await bot.get(one)
    assert body["data"]["state"] == "waiting"
    assert body["data"]["transcript"][-1]["internal"] is True


async def test_only_messages_after_an_id_are_listed(bot: ServedBot) -> None:
    await bot.ask(QUESTION["query"], "c-1")
    one = f"/api/v1/conversations/{await bot.id_of('c-1')}"
    first, second = (await bot.get(one))[1]["data"]["transcript"]
    after = (await bot.get(f"{one}?after={first['id']}"))[1]["data"]["transcript"]
    assert after == [second]
    for wrong in ("x", "-1", "9" * 30):
        assert "after" in assert_refused(await bot.get(f"{one}?after={wrong}"), 400)


async def test_of_two_agents_who_claim_at_once_one_is_too_late(bot: ServedBot) -> None:
    await bot.ask("转人工", "c-1")
    path = f"/api/v1/conversations/{await bot.id_of('c-1')}/claim"
    answers = await asyncio.gather(*(bot.post(path, {"agent": name}) for name in ("ann", "bob")))
    late, first = sorted(answers, key=lambda answer: -answer[0])
    assert first[1]["data"]["agent"] in assert_refused(late, 409)
    other = {"agent": "eve", "text": "hello"}
    assert_refused(await bot.post(path.replace("claim", "reply"), other), 409)


async def test_a_claim_repeated_by_the_same_agent_succeeds(bot: ServedBot) -> None:
    await bot.ask("转人工", "c-1")
    path = f"/api/v1/conversations/{await bot.id_of('c-1')}/claim"
    answers = [await bot.post(path, {"agent": "ann"}) for _ in range(2)]
    assert [status for status, _ in answers] == [200, 200]


@pytest.mark.parametrize("number", ["7", "9" * 18, "9" * 19, "9" * 5000, "-1", "x", "1.5", "٣"])
async def test_an_id_that_nothing_has_is_not_found(bot: ServedBot, number: str) -> None:
    one = f"/api/v1/conversations/{number}"
    assert_refused(await bot.get(one), 404)
    for action in ("claim", "handback", "resolve"):
        assert_refused(await bot.post(f"{one}/{action}", {"agent": "ann"}), 404)
    assert_refused(await bot.post(f"{one}/reply", {"agent": "ann", "text": "hello"}), 404)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({"agent": "ann"}, "text"),
        ({"agent": "ann", "text": ""}, "text"),
        ({"agent": "ann", "text": " \n"}, "text"),
        ({"agent": "", "text": "hello"}, "agent"),
        ({"agent": "ann", "text": "hello", "internal": "yes"}, "internal"),
        ({"agent": "ann", "text": "a" * 20_001}, "text"),
        ({"agent": "ann", "text": "hello", "loud": True}, "loud"),
    ],
)
async def test_a_reply_of_the_wrong_form_is_refused(
    bot: ServedBot, body: dict[str, Any], fault: str
) -> None:
    await bot.ask("转人工", "c-1")
    path = f"/api/v1/conversations/{await bot.id_of('c-1')}/reply"
    before = await bot.stored()
    assert fault in assert_refused(await bot.post(path, body), 400)
    assert await bot.stored() == before


# --- knowledge -----------------------------------------------------------------------------------


async def test_a_reload_is_a_job_that_can_be_asked_about(bot: ServedBot) -> None:
    for path in ("/api/v1/knowledge/fake/reload", "/api/v1/knowledge/reload"):
        status, body = await bot.post(path)
        assert (status, body["code"], body["msg"]) == (202, 202, "accepted")
        job = await _finished(bot, body["data"]["job"])
        assert (job["state"], job["error"]) == ("done", "")
        [report] = job["reports"]
        assert report["unchanged"] == len(ENTRIES)


async def _finished(bot: ServedBot, job_id: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            status, body = await bot.get(f"/api/v1/jobs/{job_id}")
            assert status == 200
            job: dict[str, Any] = body["data"]
            if job["state"] != "running":
                return job


async def test_an_unknown_knowledge_base_or_job_is_not_found(bot: ServedBot) -> None:
    message = assert_refused(await bot.post("/api/v1/knowledge/toys/reload"), 404)
    assert "fake" in message
    assert_refused(await bot.get("/api/v1/jobs/nothing"), 404)


async def test_the_knowledge_bases_are_listed_and_searched(bot: ServedBot) -> None:
    _, body = await bot.get("/api/v1/knowledge")
    assert [(one["name"], one["documents"]) for one in body["data"]] == [("fake", len(ENTRIES))]
    _, body = await bot.get("/api/v1/knowledge/search", params={"q": QUESTION["query"]})
    assert body["data"]["passages"][0]["id"] == "entry-2"
    assert body["data"]["evidence"]
    assert "q" in assert_refused(await bot.get("/api/v1/knowledge/search?q=%20"), 400)
    bot.knowledge.broken = True
    assert_refused(await bot.get("/api/v1/knowledge/search?q=a"), 503)


# --- health and description ----------------------------------------------------------------------


async def test_health_is_good_while_questions_are_answered(bot: ServedBot) -> None:
    assert await bot.get("/healthz") == (200, {"status": "ok"})
    status, body = await bot.get("/readyz")
    assert (status, body["status"], body["reasons"]) == (200, "ok", [])


async def test_however_many_ask_for_health_there_is_one_search(
    monkeypatch: pytest.MonkeyPatch, bot: ServedBot
) -> None:
    monkeypatch.setattr(health, "KEPT_SECONDS", 3600.0)
    answers = await asyncio.gather(*(bot.get("/healthz") for _ in range(20)))
    assert answers == [(200, {"status": "ok"})] * 20
    assert bot.knowledge.searched == ["health"]


async def test_health_is_bad_as_soon_as_its_verdict_is_old_and_nothing_is_found(
    monkeypatch: pytest.MonkeyPatch, bot: ServedBot
) -> None:
    monkeypatch.setattr(health, "KEPT_SECONDS", 0.0)
    for broken, status in ((False, 200), (True, 503), (True, 503), (False, 200)):
        bot.knowledge.broken = broken
        assert (await bot.get("/healthz"))[0] == status


class HeldBase(FakeKnowledgeBase):
    """Finds something once it is allowed to."""

    def __init__(self) -> None:
        super().__init__(ENTRIES)
        self.asked, self.allowed = asyncio.Event(), asyncio.Event()

    async def search(self, query: str, **options: Any) -> Retrieval:
        self.asked.set()
        await self.allowed.wait()
        return await super().search(query, **options)


async def test_health_is_bad_while_a_search_does_not_come_to_an_end(
    monkeypatch: pytest.MonkeyPatch, served: Served
) -> None:
    monkeypatch.setattr(health, "SEARCH_SECONDS", 0.0)
    async with served(base=HeldBase()) as bot:
        assert_refused(await bot.get("/healthz"), 503)


async def test_who_asks_for_health_and_is_broken_off_takes_it_from_nobody_else() -> None:
    base = HeldBase()
    checking, request = health.Health(base), make_mocked_request("GET", "/healthz")
    impatient, patient = (asyncio.create_task(checking.check(request)) for _ in range(2))
    await base.asked.wait()
    impatient.cancel()
    base.allowed.set()
    assert (await patient).status == 200
    assert impatient.cancelled()
    assert base.searched == ["health"]


async def test_readiness_is_degraded_while_a_channels_credentials_are_refused(
    served: Served, clock: Clock
) -> None:
    shop = FakeAdapter("shop")
    shop.failures.append(ChannelUnauthorized("shop", "token revoked"))
    async with served(channels={"shop": shop}, clock=clock) as bot:
        event = MessageReceived(
            event_id="e-1",
            conversation=ConversationId("shop", "chat-1"),
            message_id="m-1",
            sender=Sender("customer-1"),
            sent_at=clock(),
            text=QUESTION["query"],
        )
        await bot.application.inbox.accept(event)
        await bot.quiet()
        status, body = await bot.get("/readyz")
        assert (status, body["status"]) == (503, "degraded")
        assert re.search("shop.*token revoked", body["reasons"][0])
        assert (await bot.get("/healthz"))[0] == 200
        clock.advance(minutes=15)
        await bot.quiet()
        assert (await bot.get("/readyz"))[0] == 200
        assert [message.text for message in shop.sent] == [REFUND]


async def test_the_description_is_valid_and_names_every_path(bot: ServedBot) -> None:
    from openapi_spec_validator import validate

    _, description = await bot.get("/api/v1/openapi.json")
    validate(description)
    described = {
        (method.upper(), path)
        for path, methods in description["paths"].items()
        for method in methods
    }
    ours = ("/api/", "/desk/api/")
    api = {(method, path) for method, path in described if path.startswith(ours)}
    assert api == await _routes(bot)


async def _routes(bot: ServedBot) -> set[tuple[str, str]]:
    from kfbot.jobs import Jobs
    from kfbot.web.access import Access, Visitors
    from kfbot.web.chat import Chat
    from kfbot.web.desk import Desk
    from kfbot.web.server import create_app

    app = create_app(
        bot.application,
        Access((), "token"),
        Chat(bot.application, Visitors(b"key")),
        Desk(bot.application),
        Jobs(bot.application.jobs, bot.application.knowledge),
    )
    return {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None
        and route.resource.canonical.startswith(("/api/", "/desk/api/"))
        and route.method != "HEAD"
    }


async def test_answers_have_the_described_form(bot: ServedBot) -> None:
    _, description = await bot.get("/api/v1/openapi.json")
    schemas = description["components"]["schemas"]
    await bot.ask("转人工", "c-1")
    _, listed = await bot.get("/api/v1/conversations")
    _, one = await bot.get(f"/api/v1/conversations/{listed['data'][0]['id']}")
    _, status = await bot.get("/api/v1/knowledge")
    _, found = await bot.get("/api/v1/knowledge/search?q=refund")
    assert set(schemas["Answer"]["properties"]) == ANSWER_FIELDS
    assert set(schemas["Summary"]["properties"]) == set(listed["data"][0])
    assert set(schemas["Conversation"]["properties"]) == set(one["data"]) - {"case", "transcript"}
    assert set(schemas["Case"]["properties"]) == set(one["data"]["case"])
    assert set(schemas["Message"]["properties"]) == set(one["data"]["transcript"][0])
    assert set(schemas["KnowledgeStatus"]["properties"]) == set(status["data"][0])
    assert set(schemas["Found"]["properties"]) == set(found["data"]["passages"][0])
