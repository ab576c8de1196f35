"""Calls of a platform's HTTP API, against a real server on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import BaseModel, ValidationError

from adapters.rest import (
    ANSWER_BYTES,
    LONGEST_RETRY_AFTER_SECONDS,
    HttpAddress,
    RestApi,
    fault_of_status,
    read_retry_after,
    to_json,
)
from kfbot.errors import ChannelError, ChannelUnauthorized, ChannelUnavailable, MessageRejected

SECRET = "s3cr3t-of-the-shop"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Platform:
    """A server that answers as the test says, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.closing = asyncio.Event()
        self.answering: Answering = self.plainly
        self.root = ""

    async def plainly(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"ok": True})

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.path_qs))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.bodies.append(await request.read())
        return await self.answering(request)

    def answers(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        async def answering(request: web.Request) -> web.StreamResponse:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return web.Response(status=status, body=body, headers=named)

        self.answering = answering

    async def hang(self, request: web.Request) -> web.StreamResponse:
        await self.closing.wait()
        return web.Response()


@pytest_asyncio.fixture
async def platform() -> AsyncIterator[Platform]:
    platform = Platform()
    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", platform.take)
    async with TestServer(app) as server:
        platform.root = str(server.make_url("/api"))
        yield platform
        platform.closing.set()


@pytest_asyncio.fixture
async def api(platform: Platform) -> AsyncIterator[RestApi]:
    api = RestApi("shop", platform.root)
    await api.open()
    yield api
    await api.close()


async def fault_of(call: Awaitable[Any]) -> ChannelError:
    with pytest.raises(ChannelError) as raised:
        await call
    assert raised.value.__cause__ is None
    return raised.value


@pytest.mark.asyncio
async def test_a_call_carries_json_its_query_and_its_headers(
    platform: Platform, api: RestApi
) -> None:
    answer = await api.call(
        "POST", "/send", body={"text": "退款 \ud83d"}, params={"a": "b c"}, headers={"token": "t"}
    )
    assert answer == {"ok": True}
    assert platform.asked == [("POST", "/api/send?a=b+c")]
    assert json.loads(platform.bodies[0]) == {"text": "退款 ?"}
    assert platform.headers[0]["content-type"] == "application/json; charset=utf-8"
    assert platform.headers[0]["token"] == "t"


@pytest.mark.asyncio
async def test_a_list_is_read_and_anything_else_is_a_fault_of_the_address(
    platform: Platform, api: RestApi
) -> None:
    platform.answers(body=b'[{"id": "1"}]')
    assert await api.listed("/all", params={"after": "5"}) == [{"id": "1"}]
    assert platform.asked == [("GET", "/api/all?after=5")]
    for body in (b"{}", b"", b"[", b"[" * 20_000):
        platform.answers(body=body)
        assert "does not speak this API" in str(await fault_of(api.listed("/all")))
    platform.answers(status=404)
    assert isinstance(await fault_of(api.listed("/all")), MessageRejected)


@pytest.mark.asyncio
async def test_a_token_in_the_path_is_not_repeated(platform: Platform, api: RestApi) -> None:
    path = f"/webhooks/77/{'aW50ZXJhY3Rpb24' * 3}"
    platform.answers(404, json.dumps({"message": f"no route {path}"}).encode())
    assert "no route …" in str(fault := await fault_of(api.call("POST", path, body={})))
    assert "aW50" not in str(fault)


@pytest.mark.asyncio
async def test_a_call_without_a_body_has_no_kind_of_body(platform: Platform, api: RestApi) -> None:
    await api.call("GET", "/me")
    assert platform.bodies == [b""]
    assert "json" not in platform.headers[0].get("content-type", "")


@pytest.mark.asyncio
async def test_a_whole_address_is_called_as_it_is(platform: Platform, api: RestApi) -> None:
    await api.call("POST", platform.root.replace("/api", "/elsewhere"), body={})
    assert platform.asked == [("POST", "/elsewhere")]


@pytest.mark.asyncio
async def test_a_slash_at_the_end_of_the_root_is_not_doubled(platform: Platform) -> None:
    api = RestApi("shop", platform.root + "/")
    await api.open()
    await api.call("GET", "/me")
    await api.close()
    assert platform.asked == [("GET", "/api/me")]


@pytest.mark.asyncio
@pytest.mark.parametrize("body", [b"", b"  \n"])
async def test_an_empty_answer_is_an_empty_object(
    platform: Platform, api: RestApi, body: bytes
) -> None:
    platform.answers(204 if not body else 200, body)
    assert await api.call("POST", "/send") == {}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "body", [b"<html>", b"[1]", b"null", b'{"a":', b"\xff\xfe", b"[" * 100_000, b"9" * 10_000]
)
async def test_what_is_no_json_object_is_a_fault_of_the_address(
    platform: Platform, api: RestApi, body: bytes
) -> None:
    platform.answers(200, body)
    fault = await fault_of(api.call("POST", "/send"))
    assert isinstance(fault, ChannelUnavailable)
    assert str(fault) == "channel shop: what answers does not speak this API"


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(platform: Platform, api: RestApi, status: int) -> None:
    platform.answers(status, location=f"/api/elsewhere?{SECRET}")
    fault = await fault_of(api.call("POST", "/send", headers={"token": SECRET}))
    assert isinstance(fault, ChannelUnavailable)
    assert len(platform.asked) == 1
    assert SECRET not in str(fault)


@pytest.mark.asyncio
async def test_a_platform_that_does_not_answer_in_time_is_unavailable(platform: Platform) -> None:
    platform.answering = platform.hang
    api = RestApi("shop", platform.root, timeout_seconds=0.05)
    await api.open()
    fault = await fault_of(api.call("POST", "/send"))
    await api.close()
    assert isinstance(fault, ChannelUnavailable)
    assert "TimeoutError" in str(fault)


@pytest.mark.asyncio
async def test_an_answer_that_begins_and_never_ends_is_given_up_in_time(
    platform: Platform,
) -> None:
    async def dripping(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"a": "')
        await platform.closing.wait()
        return response

    platform.answering = dripping
    api = RestApi("shop", platform.root, timeout_seconds=0.2)
    await api.open()
    fault = await fault_of(api.call("POST", "/send"))
    await api.close()
    assert isinstance(fault, ChannelUnavailable)


@pytest.mark.asyncio
async def test_a_broken_connection_is_unavailable_and_its_error_says_nothing(
    platform: Platform, api: RestApi
) -> None:
    async def breaking(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    platform.answering = breaking
    fault = await fault_of(api.call("POST", f"/bot{SECRET}/send", params={"key": SECRET}))
    assert isinstance(fault, ChannelUnavailable)
    assert SECRET not in f"{fault} {fault!r} {fault.__cause__} {fault.__suppress_context__}"
    assert fault.__suppress_context__


@pytest.mark.asyncio
async def test_a_server_that_is_not_there_is_unavailable_and_not_named() -> None:
    async with TestServer(web.Application()) as server:
        gone = str(server.make_url(f"/{SECRET}"))
    api = RestApi("shop", gone)
    await api.open()
    fault = await fault_of(api.call("GET", "/me"))
    await api.close()
    assert isinstance(fault, ChannelUnavailable)
    assert SECRET not in str(fault)


@pytest.mark.asyncio
async def test_what_is_not_open_or_closed_again_is_unavailable(platform: Platform) -> None:
    api = RestApi("shop", platform.root)
    assert "is not open" in str(await fault_of(api.call("GET", "/me")))
    await api.open()
    await api.close()
    await api.close()
    assert "is not open" in str(await fault_of(api.download(platform.root)))
    assert platform.asked == []


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_are_unauthorized(
    platform: Platform, api: RestApi, status: int
) -> None:
    platform.answers(status, b'{"errmsg": "invalid\\ntoken\\u001b"}')
    fault = await fault_of(api.call("POST", "/send", headers={"token": SECRET}))
    assert isinstance(fault, ChannelUnauthorized)
    assert str(fault) == f"channel shop: the platform answers {status}: invalid token "


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
async def test_not_now_is_unavailable_for_as_long_as_it_says(
    platform: Platform, api: RestApi, status: int
) -> None:
    platform.answers(status, retry_after="17")
    fault = await fault_of(api.call("POST", "/send"))
    assert isinstance(fault, ChannelUnavailable)
    assert fault.retry_after_seconds == 17
    platform.answers(status)
    fault = await fault_of(api.call("POST", "/send"))
    assert isinstance(fault, ChannelUnavailable)
    assert fault.retry_after_seconds is None


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [400, 404, 405, 409, 410, 413, 422])
async def test_any_other_refusal_is_for_ever(platform: Platform, api: RestApi, status: int) -> None:
    platform.answers(status, b'{"message": "no such chat"}')
    fault = await fault_of(api.call("POST", "/send"))
    assert isinstance(fault, MessageRejected)
    assert "no such chat" in str(fault)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "body", [b"", b"<h1>" + SECRET.encode(), b"[]", b'{"error": {"a": 1}}', b"[" * 100_000]
)
async def test_a_refusal_without_words_shows_none_of_its_body(
    platform: Platform, api: RestApi, body: bytes
) -> None:
    platform.answers(400, body)
    fault = await fault_of(api.call("POST", "/send"))
    assert str(fault) == "channel shop: the platform answers 400"


@pytest.mark.asyncio
async def test_the_words_of_a_refusal_are_cut(platform: Platform, api: RestApi) -> None:
    platform.answers(400, json.dumps({"error": "x" * 5000}).encode())
    assert len(str(await fault_of(api.call("POST", "/send")))) < 300


@pytest.mark.asyncio
async def test_a_huge_answer_is_not_read_to_its_end(platform: Platform, api: RestApi) -> None:
    written = 0

    async def flooding(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        while not request.transport.is_closing():  # type: ignore[union-attr]
            await response.write(b"x" * 1_000_000)
            written += 1_000_000
        return response

    platform.answering = flooding
    fault = await fault_of(api.call("POST", "/send"))
    assert isinstance(fault, ChannelUnavailable)
    assert "does not speak this API" in str(fault)
    assert written < 10 * ANSWER_BYTES


@pytest.mark.asyncio
async def test_a_huge_page_of_a_broken_proxy_loses_no_message(
    platform: Platform, api: RestApi
) -> None:
    platform.answers(502, b"x" * (ANSWER_BYTES + 1))
    assert isinstance(await fault_of(api.call("POST", "/send")), ChannelUnavailable)


@pytest.mark.asyncio
async def test_a_file_of_just_the_limit_is_downloaded(platform: Platform, api: RestApi) -> None:
    platform.answers(200, b"x" * ANSWER_BYTES)
    assert len(await api.download(platform.root + "/file")) == ANSWER_BYTES


@pytest.mark.asyncio
async def test_a_file_over_the_limit_is_rejected(platform: Platform, api: RestApi) -> None:
    platform.answers(200, b"x" * (ANSWER_BYTES + 1))
    fault = await fault_of(api.download(platform.root + "/file"))
    assert isinstance(fault, MessageRejected)


@pytest.mark.asyncio
@pytest.mark.parametrize("bad", ["a\r\nb: c", "a\nb"])
async def test_what_is_no_header_is_rejected(platform: Platform, api: RestApi, bad: str) -> None:
    fault = await fault_of(api.call("POST", "/send", headers={"token": bad}))
    assert isinstance(fault, MessageRejected)
    assert platform.asked == []


@pytest.mark.asyncio
async def test_cookies_are_not_kept(platform: Platform, api: RestApi) -> None:
    platform.answers(200, b"{}", set_cookie="session=1; Path=/")
    await api.call("GET", "/me")
    await api.call("GET", "/me")
    assert all("cookie" not in headers for headers in platform.headers)


class _Section(BaseModel):
    address: HttpAddress


@pytest.mark.parametrize(
    "address",
    ["https://a.example", "http://10.0.0.1:8080/x", "http://[::1]:1/", "HTTPS://u:p@a.example"],
)
def test_an_operators_address_may_be_private(address: str) -> None:
    assert _Section(address=address).address == address


@pytest.mark.parametrize(
    "address", ["", "a.example", "ftp://a.example", "http://", "http://a:99999/", "file:///etc"]
)
def test_what_is_no_http_address_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="must be an http or https address"):
        _Section(address=address)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("17", 17.0),
        (" 0 ", 0.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
        ("9" * 400, LONGEST_RETRY_AFTER_SECONDS),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0.0),
        ("Thu, 01 Jan 2026 00:01:00 -0000", 60.0),
        ("Fri, 99 Foo 2026 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(value: str | None, seconds: float | None) -> None:
    assert read_retry_after(value, NOW) == seconds


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_success_is_no_fault(status: int) -> None:
    assert fault_of_status("shop", status, {}, "said") is None


@pytest.mark.parametrize("status", [100, 199, 304, 600])
def test_a_status_that_means_nothing_here_is_later(status: int) -> None:
    assert isinstance(fault_of_status("shop", status, {}, "said"), ChannelUnavailable)


def test_json_is_utf_8_whatever_it_holds() -> None:
    assert to_json({"a": "退\ud83d😀"}) == '{"a": "退?😀"}'
