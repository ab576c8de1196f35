"""A platform's fault without what it repeats of the request."""

from __future__ import annotations

import json

import pytest

from adapters.echoes import unechoed

KEYS = ({"key": "s3cretkey99"}, {"authorization": "Bearer abcdefgh12345"})
BODY = {"text": ["我的手机是 13812345678", "You sent too many messages, dear Wanda."]}


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("the text 我的手机是 13812345678 is too long", "the text … is too long"),
        ("bad text: 的手机是", "bad text: …"),
        ("token abcdefgh12345 is wrong", "token … is wrong"),
        ("GET /send?key=s3cretkey99", "GET /send?key=…"),
        ("13812345678 is no user", "… is no user"),
        ("You sent too many messages, dear Wanda. It is long", "… It is long"),
        ("too many messages", "too many messages"),
        ("chat not found", "chat not found"),
        ("没有权限", "没有权限"),
    ],
)
def test_what_was_sent_is_not_repeated(said: str, left: str) -> None:
    answer = json.loads(unechoed(json.dumps({"errmsg": said, "code": 7}).encode(), KEYS, BODY))
    assert answer == {"errmsg": left, "code": 7}
    assert unechoed(said.encode(), KEYS, BODY).decode() == left


def test_what_is_no_fault_in_a_line_is_left_out() -> None:
    assert unechoed(b"x" * 17_000, KEYS, BODY) == b""
    deep = b"[" * 600 + b'"abcdefgh12345"' + b"]" * 600
    assert b"abcdefgh" not in unechoed(deep, KEYS, BODY)
