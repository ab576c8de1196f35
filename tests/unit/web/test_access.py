"""Who gets in: addresses, the exposure of the server, and visitors that are known again."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from kfbot.errors import SettingsError
from kfbot.web.access import (
    Refused,
    Visitors,
    check_exposure,
    check_same_origin,
    is_loopback,
    write_private,
)
from kfbot.web.api import number


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "::1", "[::1]"]
)
def test_a_name_of_this_machine_is_known(host: str) -> None:
    assert is_loopback(host)
    check_exposure(host, ())


@pytest.mark.parametrize(
    "host",
    ["", "0.0.0.0", "::", "10.0.0.7", "shop.example", "localhost.shop.example", "127.0.0.1.nip.io"],
)
def test_what_others_can_reach_needs_tokens(host: str) -> None:
    assert not is_loopback(host)
    check_exposure(host, ["token"])
    with pytest.raises(SettingsError, match="tokens"):
        check_exposure(host, ())


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("https://shop.example", True),
        ("http://shop.example:8080", False),
        ("https://evil.example", False),
        ("https://shop.example.evil.example", False),
        ("https://shop.example@evil.example", False),
        ("null", False),
        ("", False),
        ("http://[", False),
    ],
)
def test_only_pages_of_the_same_origin_may_send(origin: str | None, allowed: bool) -> None:
    headers = {"Host": "shop.example"} | ({} if origin is None else {"Origin": origin})
    request = make_mocked_request("POST", "/chat/messages", headers=headers)
    if allowed:
        check_same_origin(request)
        return
    with pytest.raises(Refused) as refused:
        check_same_origin(request)
    assert refused.value.status == 403


def welcomed(visitors: Visitors, **headers: str) -> str:
    response = web.Response()
    visitors.welcome(make_mocked_request("GET", "/chat", headers=headers), response)
    return response.headers["Set-Cookie"].partition(";")[0]


def test_a_visitor_is_known_by_the_cookie_it_got() -> None:
    visitors = Visitors(b"key")
    cookie = welcomed(visitors)
    request = make_mocked_request("GET", "/chat", headers={"Cookie": cookie})
    assert visitors.known(request) == cookie.partition("=")[2].partition(".")[0]
    assert Visitors(b"another key").known(request) is None


def test_every_visitor_gets_another_id() -> None:
    visitors = Visitors(b"key")
    assert len({welcomed(visitors) for _ in range(100)}) == 100


def test_a_private_file_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "server.json"
    for text in ("one", "two"):
        write_private(file, text)
        assert file.read_text() == text
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("7", 7), ("9" * 18, 10**18 - 1), ("9" * 19, None), ("9" * 5000, None), ("", None)],
)
def test_an_id_is_a_number_that_a_database_holds(text: str, value: int | None) -> None:
    assert number(text) == value


@pytest.mark.parametrize("text", ["-1", "1.0", "٣", " 1", "1_0", "x"])
def test_what_is_no_id_is_none(text: str) -> None:
    assert number(text) is None
