"""What a platform's request may hold: its form, its size, its JSON and its texts."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.requests import BODY_BYTES, check_form, read_json, read_object, whole
from kfbot.adapter import WebhookRequest
from kfbot.errors import WebhookRejected


def request(method: str = "POST", body: bytes = b"{}") -> WebhookRequest:
    return WebhookRequest(method=method, query={}, headers={}, body=body)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "post"])
def test_only_post_is_taken(method: str) -> None:
    with pytest.raises(WebhookRejected) as raised:
        check_form("shop", request(method))
    assert raised.value.status == 405


def test_a_body_may_have_the_length_of_the_limit_and_not_a_byte_more() -> None:
    check_form("shop", request(body=b"x" * BODY_BYTES))
    with pytest.raises(WebhookRejected) as raised:
        check_form("shop", request(body=b"x" * (BODY_BYTES + 1)))
    assert raised.value.status == 413
    check_form("shop", request(body=b"x" * (BODY_BYTES + 1)), most_bytes=BODY_BYTES + 1)
    with pytest.raises(WebhookRejected, match="over 3 bytes"):
        check_form("shop", request(body=b"xxxx"), most_bytes=3)


BROKEN = [
    b"",
    b"\xff\xfe{}",
    b"{",
    b"{}{}",
    b"'a'",
    b"[" * 100_000,
    b'{"a": ' * 100_000,
    b"9" * 10_000,
    "\ufeff{}".encode(),
]


@pytest.mark.parametrize("body", BROKEN, ids=range(len(BROKEN)))
def test_what_is_no_json_is_refused_without_being_shown(body: bytes) -> None:
    with pytest.raises(WebhookRejected) as raised:
        read_json("shop", body)
    assert raised.value.status == 400
    assert len(str(raised.value)) < 200


def test_a_fault_names_where_it_is_and_not_what() -> None:
    with pytest.raises(WebhookRejected) as raised:
        read_json("shop", b'{"password": hunter2}')
    assert "hunter2" not in str(raised.value)
    assert "char" in str(raised.value)


@pytest.mark.parametrize("body", ["[]", "null", "7", '"a"', "true"])
def test_an_object_is_an_object(body: str) -> None:
    read_json("shop", body)
    with pytest.raises(WebhookRejected, match="not a JSON object") as raised:
        read_object("shop", body)
    assert raised.value.status == 400


def test_bytes_and_text_are_read_alike() -> None:
    assert read_object("shop", '{"a": "退"}'.encode()) == read_object("shop", '{"a": "退"}')


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("退款 😀", "退款 😀"),
        ("half \ud83d an emoji", "half \ufffd an emoji"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        # Two halves that JSON spelled apart are a whole one.
        ("\ud83d\ude00", "😀"),
        ("a\0b", "a\ufffdb"),
        ("", ""),
        (None, None),
        (7, 7),
        (["\0"], ["\0"]),
    ],
)
def test_a_text_is_left_with_what_a_database_takes(text: Any, kept: Any) -> None:
    assert whole(text) == kept
    if isinstance(kept, str):
        kept.encode()
