"""What the desk refuses: forged sessions, foreign pages, other teams, guessing, odd input."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest
import pytest_asyncio
from multidict import CIMultiDict

from kfbot.agents import Agent, Team
from kfbot.store import tables
from kfbot.store.sign_ins import IDLE_LIFE, WHOLE_LIFE
from tests.conftest import Clock
from tests.integration.conftest import Served, ServedBot
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

SETUP = "/desk/api/setup"
ADMIN = {"name": "anna", "display_name": "Anna", "password": PASSWORD}
JSON = {"Content-Type": "application/json"}
#: Everything that changes something, with a body that would do.
CHANGES: list[tuple[str, str, Any]] = [
    ("DELETE", SESSION, None),
    ("PATCH", SESSION, {"away": True}),
    ("POST", f"{CONVERSATIONS}/1/claim", {}),
    ("POST", f"{CONVERSATIONS}/1/handback", {}),
    ("POST", f"{CONVERSATIONS}/1/resolve", {}),
    ("POST", f"{CONVERSATIONS}/1/assign", {"agent": None}),
    ("POST", f"{CONVERSATIONS}/1/reply", {"text": "x", "client_id": "1"}),
    ("POST", f"{CONVERSATIONS}/1/suggest", {}),
    ("POST", f"{CONVERSATIONS}/1/typing", {}),
    ("POST", "/desk/api/canned", {"title": "x", "text": "x"}),
    ("PUT", "/desk/api/canned/1", {"title": "x", "text": "x"}),
    ("DELETE", "/desk/api/canned/1", None),
    ("POST", "/desk/api/agents", ADMIN | {"name": "bo"}),
    ("PATCH", "/desk/api/agents/anna", {"capacity": 1}),
    ("PUT", "/desk/api/teams/day", {}),
    ("DELETE", "/desk/api/teams/day", None),
]
READS = [
    CONVERSATIONS,
    f"{CONVERSATIONS}/1",
    f"{CONVERSATIONS}/1/earlier",
    "/desk/api/canned",
    "/desk/api/agents",
    "/desk/api/teams",
    "/desk/api/audit",
    "/desk/api/events",
]


@pytest_asyncio.fixture
async def anna(bot: ServedBot) -> DeskClient:
    return await first_admin(bot)


# --- the first visit -----------------------------------------------------------------------------


async def test_the_first_visit_makes_the_admin_once(bot: ServedBot) -> None:
    visitor = DeskClient(bot)
    before = {"agent": None, "csrf": None, "first_visit": True}
    assert await visitor.get(SESSION) == before
    await first_admin(bot)
    assert await visitor.get(SESSION) == before | {"first_visit": False}
    assert (await visitor.call("POST", SETUP, ADMIN | {"name": "eve"}))[0] == 403


async def test_of_two_first_visits_at_the_same_time_one_makes_the_admin(bot: ServedBot) -> None:
    bodies = [ADMIN | {"name": name} for name in ("anna", "bo", "cy")]
    answers = await asyncio.gather(*(DeskClient(bot).call("POST", SETUP, one) for one in bodies))
    assert sorted(status for status, _ in answers)[:1] == [200]
    assert {status for status, _ in answers} <= {200, 403, 409}
    assert sum(status == 200 for status, _ in answers) == 1


async def test_from_elsewhere_there_is_no_first_visit(bot: ServedBot) -> None:
    visitor = DeskClient(bot)
    data = json.dumps(ADMIN).encode()
    for headers in (
        {"Host": "shop.example"},
        {"Origin": "https://evil.example"},
        {"X-Forwarded-For": "10.0.0.7"},
        {"Forwarded": "for=10.0.0.7"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Content-Type": "text/plain"},
    ):
        status, _ = await visitor.call("POST", SETUP, data=data, headers=JSON | headers)
        assert status in (403, 415), headers
    assert (await visitor.get(SESSION))["first_visit"]


# --- signing in ----------------------------------------------------------------------------------


async def test_a_session_is_a_cookie_that_no_script_and_no_other_site_gets(
    anna: DeskClient,
) -> None:
    await anna.sign_in("ANNA ")
    cookie = anna.headers["Set-Cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=Strict", "Path=/desk"))
    assert "Secure" not in cookie
    body = {"name": "anna", "password": PASSWORD}
    await anna.done("POST", SESSION, body, headers={"X-Forwarded-Proto": "https"})
    assert "Secure" in anna.headers["Set-Cookie"]


async def test_signing_in_never_takes_up_a_session_that_the_browser_came_with(
    anna: DeskClient,
) -> None:
    desk = DeskClient(anna.bot)
    desk.token = "chosen-by-somebody-else"
    await desk.sign_in("anna")
    assert desk.token != "chosen-by-somebody-else"
    first = desk.token
    await desk.sign_in("anna")
    assert desk.token != first


async def test_signing_out_ends_the_session(anna: DeskClient) -> None:
    stolen = DeskClient(anna.bot)
    stolen.token, stolen.csrf = anna.token, anna.csrf
    await anna.done("DELETE", SESSION)
    assert (await stolen.call("GET", CONVERSATIONS))[0] == 401


async def test_unknown_names_and_wrong_passwords_are_told_alike(anna: DeskClient) -> None:
    desk = DeskClient(anna.bot)
    names = ["anna", "nobody", "", "a" * 200, "a/b", "\ud83d".encode("utf-8", "replace").decode()]
    wrong = {"password": "wrong wrong wrong"}
    answers = {str(await desk.call("POST", SESSION, {"name": n} | wrong)) for n in names}
    assert len(answers) == 1
    assert "401" in answers.pop()


@pytest.mark.parametrize("name", ["anna", "nobody"])
async def test_after_wrong_passwords_a_name_is_locked_longer_and_longer_known_or_not(
    served: Served, clock: Clock, name: str
) -> None:
    async with served(clock=clock) as bot:
        await first_admin(bot)
        desk = DeskClient(bot)
        wrong = {"name": name, "password": "wrong wrong wrong"}
        for _ in range(5):
            assert (await desk.call("POST", SESSION, wrong))[0] == 401
        waits = []
        for _ in range(7):
            status, message = await desk.call("POST", SESSION, wrong)
            assert (status, "too many failed" in message) == (429, True)
            waits.append(int(desk.headers["Retry-After"]))
            clock.advance(seconds=waits[-1] + 1)
            assert (await desk.call("POST", SESSION, wrong))[0] == 401
        assert waits == [30, 60, 120, 240, 480, 900, 900]
        # The right password does not open a lock.
        right = await desk.call("POST", SESSION, {"name": name, "password": PASSWORD})
        assert right[0] == 429


async def test_many_guesses_at_the_same_time_are_no_more_than_one_after_another(
    anna: DeskClient,
) -> None:
    wrong = {"name": "anna", "password": "wrong wrong wrong"}
    answers = await asyncio.gather(
        *(DeskClient(anna.bot).call("POST", SESSION, wrong) for _ in range(20))
    )
    assert sorted(status for status, _ in answers) == [401] * 5 + [429] * 15


async def test_an_address_that_tries_many_names_is_locked_and_others_are_not(
    anna: DeskClient,
) -> None:
    desk = DeskClient(anna.bot)

    async def attempt(name: str, address: str) -> int:
        body = {"name": name, "password": "wrong wrong wrong"}
        headers = {"X-Forwarded-For": f"6.6.6.6, {address}"}
        return (await desk.call("POST", SESSION, body, headers=headers))[0]

    for number in range(30):
        assert await attempt(f"name{number}", "10.0.0.7") == 401
    assert await attempt("another", "10.0.0.7") == 429
    assert await attempt("another", "10.0.0.8") == 401


async def test_an_address_is_known_however_a_proxy_writes_it(anna: DeskClient) -> None:
    async def attempt(name: str, *lines: str) -> int:
        headers = CIMultiDict(("X-Forwarded-For", line) for line in lines)
        body = {"name": name, "password": "wrong wrong wrong"}
        return (await anna.bot.post(SESSION, body, headers=headers))[0]

    for number in range(10):
        # A line of the guesser's own above the proxy's; a port; IPv4 through a socket of IPv6.
        assert await attempt(f"a{number}", f"6.6.6.{number}", "10.0.0.7") == 401
        assert await attempt(f"b{number}", f"10.0.0.7:{5000 + number}") == 401
        assert await attempt(f"c{number}", "::ffff:10.0.0.7") == 401
    failures = await anna.bot.count(tables.sign_in_failure)
    assert await attempt("another", "10.0.0.7") == 429
    # Whoever is locked out fills no table.
    assert await anna.bot.count(tables.sign_in_failure) == failures
    assert await attempt("another", "::ffff:10.0.0.8") == 401


async def test_who_signs_in_is_not_locked_by_their_own_earlier_mistakes(anna: DeskClient) -> None:
    desk = DeskClient(anna.bot)
    for _ in range(3):
        for _ in range(4):
            await desk.call("POST", SESSION, {"name": "anna", "password": "wrong wrong"})
        await desk.sign_in("anna")


async def test_a_session_ends_when_unused_and_at_last_in_any_case(
    served: Served, clock: Clock
) -> None:
    async with served(clock=clock) as bot:
        anna = await first_admin(bot)
        idle = IDLE_LIFE.total_seconds()
        for _ in range(int(WHOLE_LIFE / IDLE_LIFE)):
            clock.advance(seconds=idle - 60)
            assert (await anna.call("GET", CONVERSATIONS))[0] == 200
        clock.advance(seconds=idle - 60)
        assert (await anna.call("GET", CONVERSATIONS))[0] == 401
        await anna.sign_in("anna")
        clock.advance(seconds=idle + 60)
        assert (await anna.call("GET", CONVERSATIONS))[0] == 401


async def test_a_new_password_ends_all_other_sessions(anna: DeskClient) -> None:
    other = DeskClient(anna.bot)
    await other.sign_in("anna")
    new = "a new one, long enough"
    body = {"password": {"old": "wrong wrong wrong", "new": new}}
    assert (await anna.call("PATCH", SESSION, body))[0] == 403
    await anna.done("PATCH", SESSION, {"password": {"old": PASSWORD, "new": new}})
    assert (await other.call("GET", CONVERSATIONS))[0] == 401
    assert (await anna.call("GET", CONVERSATIONS))[0] == 200
    await other.sign_in("anna", new)


async def test_a_new_password_from_an_admin_ends_a_lock_out(anna: DeskClient) -> None:
    bo = await colleague(anna, "bo")
    for _ in range(6):
        status, _ = await bo.call("POST", SESSION, {"name": "bo", "password": "wrong wrong"})
    assert status == 429
    new = "another one, long enough"
    await anna.done("PATCH", "/desk/api/agents/bo", {"password": new})
    await bo.sign_in("bo", new)


async def test_a_password_that_is_easy_to_guess_is_refused(anna: DeskClient) -> None:
    for password in ["short", "aaaaaaaaaaaaa", "bobobobobobo", "x" * 300]:
        body = {"name": "bobobobobobo", "display_name": "Bo", "password": password}
        status, message = await anna.call("POST", "/desk/api/agents", body)
        assert (status, password in message) == (400, False)


async def test_who_is_not_active_any_more_is_signed_out_at_once(anna: DeskClient) -> None:
    bo = await colleague(anna, "bo")
    async with bo.events() as events:
        await events.until("ready")
        await anna.done("PATCH", "/desk/api/agents/bo", {"active": False})
        await events.until("signed_out")
        await events.ended()
    assert (await bo.call("GET", CONVERSATIONS))[0] == 401
    body = {"name": "bo", "password": PASSWORD}
    assert (await bo.call("POST", SESSION, body))[0] == 401


# --- what a session may do -----------------------------------------------------------------------


async def test_without_a_session_nothing_is_read_or_changed(anna: DeskClient) -> None:
    for token in ["", "forged", "é", "x" * 4000]:
        forger = DeskClient(anna.bot)
        forger.token, forger.csrf = token, anna.csrf
        for path in READS:
            assert (await forger.call("GET", path))[0] == 401, path
        for method, path, body in CHANGES:
            assert (await forger.call(method, path, body))[0] == 401, path


async def test_without_its_csrf_token_a_session_changes_nothing(anna: DeskClient) -> None:
    other = await colleague(anna, "bo")
    before = await anna.bot.stored()
    for csrf in ("", other.csrf, "é"):
        foreign = DeskClient(anna.bot)
        foreign.token = anna.token
        for method, path, body in CHANGES:
            headers = {"X-CSRF-Token": csrf}
            assert (await foreign.call(method, path, body, headers=headers))[0] == 403, path
    assert await anna.bot.stored() == before
    assert (await anna.get(SESSION))["agent"]["away"] is False


async def test_pages_of_other_origins_change_nothing(anna: DeskClient) -> None:
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        for method, path, body in CHANGES:
            assert (await anna.call(method, path, body, headers=headers))[0] == 403, path
        body = {"name": "anna", "password": PASSWORD}
        assert (await DeskClient(anna.bot).call("POST", SESSION, body, headers=headers))[0] == 403


async def test_a_form_of_another_site_cannot_send_what_the_desk_reads(anna: DeskClient) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    path = f"{CONVERSATIONS}/1/claim"
    assert (await anna.call("POST", path, data=b"a=b", headers=headers))[0] == 415


async def test_viewers_read_everything_and_change_nothing_but_themselves(anna: DeskClient) -> None:
    number = await waiting(anna.bot)
    assert number == 1
    viewer = await colleague(anna, "vi", role="viewer")
    assert await viewer.ids() == [number]
    assert (await viewer.get(f"{CONVERSATIONS}/{number}"))["may_write"] is False
    for method, path, body in CHANGES[2:]:
        assert (await viewer.call(method, path, body))[0] == 403, path
    assert (await anna.get(f"{CONVERSATIONS}/{number}"))["state"] == "waiting"
    await viewer.done("PATCH", SESSION, {"display_name": "Vi"})
    assert (await anna.act(number, "assign", {"agent": "vi"}))[0] == 400


async def test_only_admins_change_agents_and_teams_and_read_the_record(anna: DeskClient) -> None:
    bo = await colleague(anna, "bo")
    for method, path, body in CHANGES[-4:]:
        assert (await bo.call(method, path, body))[0] == 403, path
    assert (await bo.call("GET", "/desk/api/audit"))[0] == 403
    status, message = await bo.call("PATCH", SESSION, {"role": "admin"})
    assert (status, "role" in message) == (400, True)


async def test_a_case_of_another_team_does_not_exist_for_an_agent(anna: DeskClient) -> None:
    number = await waiting(anna.bot, text="refund")
    await anna.act(number, "resolve")
    await waiting(anna.bot, text="refund")
    await anna.done("PUT", "/desk/api/teams/web", {"channels": ["web"]})
    await anna.done("PUT", "/desk/api/teams/all", {})
    bo = await colleague(anna, "bo", teams=["web"])
    nobody = await colleague(anna, "no", teams=[])
    for desk in (bo, nobody):
        for view in ("waiting", "mine", "all", "closed"):
            assert await desk.ids(view, q="refund") == []
            assert await desk.ids(view) == []
        assert (await desk.get(CONVERSATIONS))["counts"] == {"waiting": 0, "mine": 0, "all": 0}
        for path in (f"{CONVERSATIONS}/{number}", f"{CONVERSATIONS}/{number}/earlier"):
            status, message = await desk.call("GET", path)
            assert (status, message) == (404, f"there is no conversation {number}")
        for method, path, body in CHANGES[2:8]:
            assert (await desk.call(method, path, body))[0] == 404, path
    assert (await anna.act(number, "assign", {"agent": "bo"}))[0] == 400
    await anna.done("PATCH", "/desk/api/agents/bo", {"teams": ["web", "all"]})
    assert await bo.ids() == [number]
    whole = await bo.get(f"{CONVERSATIONS}/{number}")
    assert [one["role"] for one in whole["transcript"]].count("customer") == 2


async def test_what_one_team_takes_from_the_bot_stays_hidden_from_the_others(
    anna: DeskClient,
) -> None:
    await anna.bot.ask("When will my refund arrive?", "c-1")
    number = await anna.bot.id_of("c-1")
    others = (Team(name="others", knowledge_bases=("another",)),)
    bo = Agent(name="bo", display_name="Bo", teams=others)
    queue = anna.bot.application.desk.queue
    assert await queue.find(bo, number) is None
    await anna.done("POST", f"{CONVERSATIONS}/{number}/claim")
    assert await queue.find(bo, number) is None
    assert (await queue.counts(bo))["all"] == 0


async def test_what_another_team_does_is_not_told(anna: DeskClient) -> None:
    await anna.done("PUT", "/desk/api/teams/web", {"channels": ["web"]})
    bo = await colleague(anna, "bo", teams=["web"])
    async with bo.events() as events, anna.events() as told:
        await events.until("ready")
        await told.until("ready")
        number = await waiting(anna.bot)
        assert await told.until("conversation") == {"id": number}
        await anna.done("PATCH", "/desk/api/agents/bo", {"teams": []})
        await anna.done("PATCH", "/desk/api/agents/bo", {"active": False})
        heard = []
        while (event := await events.next())[0] != "signed_out":
            heard.append(event)
        assert [name for name, _ in heard if name == "conversation"] == []


# --- bad input -----------------------------------------------------------------------------------


async def test_forged_ids_are_not_found(anna: DeskClient) -> None:
    for number in ["0", "-1", "99999", "9" * 30, "1e3", "x", "%00", "..", "１"]:
        for path in ("", "/earlier"):
            assert (await anna.call("GET", f"{CONVERSATIONS}/{number}{path}"))[0] == 404


async def test_a_query_of_the_wrong_form_is_refused(anna: DeskClient) -> None:
    for query in [
        "view=none",
        "limit=0",
        "limit=101",
        "limit=x",
        "before=x",
        "before=2026-01-01T00:00:00~1x",
        "before=9999-12-31T23:59:59-23:59~1",
        "q=" + "x" * 201,
    ]:
        assert (await anna.call("GET", f"{CONVERSATIONS}?{query}"))[0] == 400


@pytest.mark.parametrize(
    "body",
    [
        {"text": "", "client_id": "1"},
        {"text": " \n", "client_id": "1"},
        {"text": "x" * 20_001, "client_id": "1"},
        {"text": "x"},
        {"text": "x", "client_id": "a b"},
        {"text": "x", "client_id": "x" * 65},
        {"text": "x", "client_id": "1", "agent": "bo"},
        {"text": 1, "client_id": "1"},
    ],
)
async def test_a_reply_of_the_wrong_form_is_refused(anna: DeskClient, body: Any) -> None:
    number = await waiting(anna.bot)
    before = await anna.bot.stored()
    assert (await anna.act(number, "reply", body))[0] == 400
    assert await anna.bot.stored() == before


@pytest.mark.parametrize(
    "data",
    [b"\xff", b"{", b'{"text": "\\ud800", "client_id": "1"}', b"[" * 100_000],
    ids=["byte", "cut", "surrogate", "lists"],
)
async def test_a_body_that_is_no_json_is_refused(anna: DeskClient, data: bytes) -> None:
    number = await waiting(anna.bot)
    path = f"{CONVERSATIONS}/{number}/reply"
    assert (await anna.call("POST", path, data=data, headers=JSON))[0] == 400


async def test_a_huge_body_is_refused(anna: DeskClient) -> None:
    for path in (SESSION, f"{CONVERSATIONS}/1/reply"):
        data = io.BytesIO(b'{"text": "' + b"x" * 1_100_000 + b'"}')
        assert (await anna.call("POST", path, data=data, headers=JSON))[0] in (404, 413)


async def test_odd_words_are_kept_as_they_are(anna: DeskClient) -> None:
    number = await waiting(anna.bot)
    for place, text in enumerate(("<script>alert(1)</script>", "a\u202eb", "{{7*7}}", "🙂" * 50)):
        assert (await anna.reply(number, text, str(place)))["text"] == text
    assert "\0" not in (await anna.reply(number, "a\0b", "nul"))["text"]


@pytest.mark.parametrize(
    ("name", "kept"),
    [("Bo", "bo"), ("李娜", "李娜"), ("bo@shop.example", "bo@shop.example"), ("Ｂｏ", "bo")],
)
async def test_names_of_any_script_can_sign_in(anna: DeskClient, name: str, kept: str) -> None:
    bo = await colleague(anna, name)
    assert (await bo.get(SESSION))["agent"]["name"] == kept
    body = ADMIN | {"name": kept.upper()}
    assert (await anna.call("POST", "/desk/api/agents", body))[0] == 409
    assert (await anna.call("PATCH", f"/desk/api/agents/{kept}", {"capacity": 3}))[0] == 200


async def test_names_that_mean_something_else_are_refused(anna: DeskClient) -> None:
    for name in ["", " ", "a b", "a/b", "../x", "a\0", "token", "-", "x" * 65]:
        body = ADMIN | {"name": name}
        assert (await anna.call("POST", "/desk/api/agents", body))[0] == 400


async def test_a_team_of_what_does_not_exist_is_refused(anna: DeskClient) -> None:
    for body in ({"channels": ["wbe"]}, {"knowledge_bases": ["x"]}, {"channels": "web"}):
        assert (await anna.call("PUT", "/desk/api/teams/day", body))[0] == 400
    assert (await anna.call("PATCH", "/desk/api/agents/anna", {"teams": ["x"]}))[0] == 409


# --- pages ---------------------------------------------------------------------------------------


async def test_answers_are_neither_kept_nor_framed(anna: DeskClient) -> None:
    await anna.get(CONVERSATIONS)
    assert anna.headers["Cache-Control"] == "no-store"
    assert "frame-ancestors 'none'" in anna.headers["Content-Security-Policy"]
    assert anna.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["desk.html", "..%2fdesk.html", "..%2f..%2faccess.py", "x.js"])
async def test_only_the_pages_own_files_are_served(bot: ServedBot, name: str) -> None:
    async with bot.http.get(f"{bot.url}/desk/static/{name}") as response:
        assert response.status == 404


async def test_the_bearers_of_tokens_keep_their_api_and_get_no_desk(served: Served) -> None:
    async with served(web={"tokens": ["t-1"]}) as bot:
        bearer = {"Authorization": "Bearer t-1"}
        assert (await bot.get("/api/v1/conversations", headers=bearer))[0] == 200
        assert (await bot.get(CONVERSATIONS, headers=bearer))[0] == 401
        anna = await first_admin(bot)
        cookie = {"Cookie": f"kfbot_desk={anna.token}"}
        assert (await bot.get("/api/v1/conversations", headers=cookie))[0] == 401
