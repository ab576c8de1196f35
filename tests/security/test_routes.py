"""No endpoint without a row in `routes.py`, and none that lets anybody in whom its row does not."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from functools import partial
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from kfbot.jobs import Jobs
from kfbot.store.sign_ins import WHOLE_LIFE
from kfbot.web.access import Access, Visitors
from kfbot.web.chat import Chat
from kfbot.web.desk import Desk
from kfbot.web.server import create_app
from tests.conftest import Clock
from tests.integration.conftest import Served, ServedBot, serving_bot
from tests.integration.desk_client import waiting
from tests.security.house import METRICS_TOKEN, PLANTED, TOKEN, House, house
from tests.security.routes import DESK, ROUTES, Row, Who

# One house, and so one event loop, for all tests that must leave it as it is.
pytestmark = pytest.mark.asyncio(loop_scope="module")

WRONG = (400, 401, 403, 404, 405, 409, 413, 415, 422, 429)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")


@pytest_asyncio.fixture(loop_scope="module")
async def bot(served: Served) -> AsyncIterator[ServedBot]:
    async with served() as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def own_home(served: Served, clock: Clock) -> AsyncIterator[House]:
    """Of a test that changes it."""
    async with house(served, clock=clock) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(
    tmp_path_factory: pytest.TempPathFactory, template_database: Path
) -> AsyncIterator[House]:
    served = partial(serving_bot, tmp_path_factory.mktemp("home"), template_database)
    # Its time stands still: nothing falls due meanwhile.
    async with house(served, clock=Clock()) as opened:
        yield opened


def of(*who: Who) -> list[Row]:
    """The rows that these may use."""
    return [row for row in ROUTES if row.who in who]


GUARDED = [row for row in ROUTES if row.who not in (Who.ANYONE,)]


# --- the table and the server --------------------------------------------------------------------


def routes_of(app: web.Application) -> set[tuple[str, str]]:
    """Method and path of every route; HEAD, which comes with GET, left out."""
    found = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None
    }
    return {
        (method, path)
        for method, path in found
        if (method, path) == ("*", path) or method != "HEAD"
    }


async def test_every_route_has_a_row_and_every_row_a_route(bot: ServedBot) -> None:
    application = bot.application
    app = create_app(
        application,
        Access((), "own"),
        Chat(application, Visitors(b"key")),
        Desk(application),
        Jobs(application.jobs, application.knowledge),
    )
    rows = [(row.method, row.path) for row in ROUTES]
    assert len(rows) == len(set(rows))
    assert routes_of(app) - set(rows) == set(), "routes without a row in tests/security/routes.py"
    assert set(rows) - routes_of(app) == set(), "rows without a route"


async def test_who_may_gets_in(own_home: House) -> None:
    """Else every refusal below could be one of a request that is wrong."""
    # What ends a session comes last.
    for row in sorted(ROUTES, key=lambda row: (row.method == "DELETE", row.path)):
        if row.who in (Who.PLATFORM, Who.FIRST_VISIT, Who.PASSWORD):
            continue
        status, said = await own_home.send(row, own_home.rightful(row))
        assert status < 500, (row, said)
        assert status not in (401, 403, 405, 415, 429), (row, said)


# --- who may not ---------------------------------------------------------------------------------


def strangers(home: House, row: Row) -> Iterator[tuple[str, dict[str, str], tuple[int, ...]]]:
    """What somebody sends who may not, and what the answer may be."""
    credentials = {
        (Who.VISITOR,): {"Cookie": home.cookie},
        DESK: home.of_desk(Who.ADMIN),
        (Who.TOKEN, Who.METRICS): {"Authorization": f"Bearer {TOKEN}"},
        (Who.METRICS,): {"Authorization": f"Bearer {METRICS_TOKEN}"},
    }
    yield "nothing", {}, WRONG
    for whose, headers in credentials.items():
        if row.who not in whose:
            yield f"what is for {whose}", headers, WRONG
    if row.who in (Who.TOKEN, Who.METRICS):
        for value in ("", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer ü"):
            yield f"Authorization: {value}", {"Authorization": value}, (401,)
        yield "a token as cookie", {"Cookie": f"token={TOKEN}"}, (401,)
    if row.who is Who.VISITOR:
        last = "0" if home.cookie[-1] != "0" else "1"
        yield "a forged cookie", {"Cookie": home.cookie[:-1] + last}, (401,)
        yield "a cookie without a signature", {"Cookie": "kfbot_visitor=somebody"}, (401,)
    if row.who in DESK:
        yield from _of_other_sessions(home, row)


def _of_other_sessions(
    home: House, row: Row
) -> Iterator[tuple[str, dict[str, str], tuple[int, ...]]]:
    good = home.of_desk(row.who)
    yield "a forged session", good | {"Cookie": "kfbot_desk=forged"}, (401,)
    if row.who is Who.ADMIN:
        yield "an agent", home.of_desk(Who.AGENT), (403,)
    if row.who in (Who.ADMIN, Who.AGENT):
        yield "a viewer", home.of_desk(Who.VIEWER), (403,)
    if row.reads:
        return
    yield "no CSRF token", {"Cookie": good["Cookie"]}, (403,)
    other = Who.AGENT if row.who is not Who.AGENT else Who.ADMIN
    theirs = home.of_desk(other)["X-CSRF-Token"]
    yield "another's CSRF token", good | {"X-CSRF-Token": theirs}, (403,)
    yield "a foreign page", good | {"Origin": "https://evil.example"}, (403,)
    yield "a page of no origin", good | {"Origin": "null"}, (403,)
    yield "a link", good | {"Sec-Fetch-Site": "cross-site"}, (403,)


async def test_nobody_else_reads_or_changes_anything(home: House) -> None:
    before = await home.state()
    tried = 0
    for row in GUARDED:
        for what, headers, expected in strangers(home, row):
            status, said = await home.send(row, headers)
            assert status in expected, (row, what, status, said)
            assert PLANTED not in said, (row, what)
            tried += 1
    assert await home.state() == before
    print(f"\n{tried} requests of strangers to {len(GUARDED)} guarded endpoints refused")
    assert tried > 4 * len(GUARDED)


async def test_no_method_but_the_rows_own_does_anything(home: House) -> None:
    before = await home.state()
    by_path: dict[str, list[Row]] = {}
    for row in ROUTES:
        by_path.setdefault(row.path, []).append(row)
    for rows in by_path.values():
        taken = {row.method for row in rows}
        if "*" in taken:
            continue
        for method in METHODS:
            if method in taken or (method == "HEAD" and "GET" in taken):
                continue
            status, said = await home.send(rows[0], home.rightful(rows[0]), method=method)
            assert status in (401, 403, 405, 415), (rows[0], method, status, said)
    assert await home.state() == before


async def test_head_tells_strangers_nothing_that_get_does_not(home: House) -> None:
    for row in GUARDED:
        if row.reads:
            status, said = await home.send(row, method="HEAD")
            assert (status in (401, 405), said) == (True, ""), row


async def test_what_everybody_may_see_shows_no_customer_and_changes_nothing(home: House) -> None:
    before = await home.state()
    for row in of(Who.ANYONE):
        status, said = await home.send(row)
        assert status in (200, 302), (row, said)
        assert PLANTED not in said
        assert home.desks[Who.ADMIN].token not in said
        assert TOKEN not in said
    assert await home.state() == before


async def test_an_address_spelled_otherwise_needs_the_token_too(home: House) -> None:
    path = f"/api/v1/conversations/{home.number}"
    spelled = [
        path.replace("api", "%61pi"),
        path.replace("/api", "//api"),
        path.replace("/api", "/./api"),
        path.replace("/api", "/chat/../api"),
        path.replace("/api", "/API"),
        path.replace("/v1", "%2fv1"),
        path + "/",
        path + "?token=" + TOKEN,
        "http://127.0.0.1" + path,
        "http://evil.example/api/v1/openapi.json/../conversations",
    ]
    host, port = home.bot.url.removeprefix("http://").split(":")
    for one in spelled:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {one} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
        assert answer.startswith(("HTTP/1.1 40", "HTTP/1.1 30")), (one, answer)
        assert PLANTED not in answer


async def test_a_session_that_ended_opens_nothing(served: Served, clock: Clock) -> None:
    async with house(served, clock=clock) as home:
        clock.advance(seconds=WHOLE_LIFE.total_seconds() + 1)
        before = await home.state()
        for row in of(*DESK):
            status, said = await home.send(row, home.of_desk(row.who))
            assert (status, PLANTED in said) == (401, False), row
        assert await home.state() == before


async def test_whoever_signs_out_or_is_dismissed_is_out_everywhere(own_home: House) -> None:
    gone = own_home.of_desk(Who.AGENT)
    dismissed = own_home.of_desk(Who.VIEWER)
    await own_home.desks[Who.AGENT].done("DELETE", "/desk/api/session")
    admin = own_home.desks[Who.ADMIN]
    await admin.done("PATCH", "/desk/api/agents/vi", {"active": False})
    for row in of(Who.VIEWER, Who.AGENT):
        for headers in (gone, dismissed):
            assert (await own_home.send(row, headers))[0] == 401, row


async def test_a_visitor_reads_and_writes_in_no_conversation_but_its_own(own_home: House) -> None:
    write, read = of(Who.VISITOR)
    mine = {"message_id": "m-1", "text": PLANTED}
    assert (await own_home.send(write, {"Cookie": own_home.cookie}, data=json.dumps(mine)))[0] < 300
    await own_home.bot.quiet()
    async with own_home.bot.http.get(f"{own_home.bot.url}/chat") as page:
        other = {"Cookie": page.headers["Set-Cookie"].partition(";")[0]}
    victim = own_home.cookie.partition("=")[2].partition(".")[0]
    for query in ("", "?conversation=" + victim, "?after=0&visitor=" + victim):
        _, said = await own_home.send(read, other, url=own_home.url(read) + query)
        assert PLANTED not in said
    before = await own_home.state()
    for extra in ({"conversation": victim}, {"chat": victim}, {"sender": {"id": victim}}):
        await own_home.send(write, other, data=json.dumps(mine | {"message_id": "m-2"} | extra))
    await own_home.bot.quiet()
    theirs = await own_home.state()
    assert [one for one in before["message"] if one not in theirs["message"]] == []
    async with own_home.bot.http.get(
        f"{own_home.bot.url}/chat/events", headers={"Cookie": own_home.cookie}
    ) as own:
        assert (await own.content.readany()).decode().count(PLANTED) == 1


# --- what is too much, or in another form --------------------------------------------------------


def with_bodies(rows: Iterable[Row]) -> list[Row]:
    """Those that read one."""
    return [row for row in rows if row.body is not None and row.reads_body]


async def test_a_body_over_the_limit_is_refused_everywhere(home: House) -> None:
    before = await home.state()
    for row in with_bodies(ROUTES):
        data = io.BytesIO(b'{"text": "' + b"x" * (row.limit + 100_000) + b'"}')
        if row.takes != "application/json":
            head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
            data = io.BytesIO(head + b"x" * (row.limit + 100_000) + b"\r\n--x--\r\n")
        try:
            status, _ = await home.send(row, home.rightful(row), data=data)
        except aiohttp.ClientConnectionError:
            continue  # It hung up while we were still sending.
        assert status in WRONG, (row, status)
    assert await home.state() == before


async def test_a_body_of_another_type_is_refused_everywhere(home: House) -> None:
    before = await home.state()
    for row in with_bodies(ROUTES):
        if row.who is Who.PLATFORM:
            continue
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            if row.takes.startswith(kind):
                continue
            status, said = await home.send(row, home.rightful(row) | {"Content-Type": kind})
            assert status == 415, (row, kind, status, said)
    assert await home.state() == before


async def test_a_compressed_body_is_unpacked_nowhere(home: House) -> None:
    before = await home.state()
    for row in with_bodies(ROUTES):
        for coding in ("gzip", "deflate", "br", "zstd", "identity, gzip", "x-unknown"):
            headers = home.rightful(row) | {"Content-Encoding": coding}
            assert (await home.send(row, headers))[0] == 415, (row, coding)
    assert await home.state() == before


# --- without tokens, at 127.0.0.1 ----------------------------------------------------------------


async def test_without_tokens_the_api_is_only_this_machines(bot: ServedBot) -> None:
    await waiting(bot, text=f"转人工 {PLANTED}")
    await bot.quiet()
    home = House(bot, {}, "kfbot_visitor=x.y", await bot.id_of("c-1"))
    before = await home.state()
    for row in of(Who.TOKEN, Who.METRICS):
        for name, value in (
            ("Host", "shop.example"),
            ("Host", "127.0.0.1.evil.example"),
            ("Origin", "https://evil.example"),
            ("Origin", "null"),
            ("Origin", "http://127.0.0.1:1"),
            ("X-Forwarded-For", "203.0.113.9"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "shop.example"),
            ("Via", "1.1 proxy"),
            ("CF-Connecting-IP", "203.0.113.9"),
            ("Authorization", "Bearer wrong"),
        ):
            status, said = await home.send(row, {name: value})
            assert status in (401, 403), (row, name, value, status)
            assert PLANTED not in said
    assert await home.state() == before
