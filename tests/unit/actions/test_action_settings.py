"""`[actions.<name>]` and its slots: every fault in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from kfbot.cli.checking import _look_at_actions
from kfbot.errors import SettingsError
from kfbot.settings import load_settings

SLOT = """
[slots.order_number]
pattern = '[A-Z]{2}\\d{6}'
ask_en = "Which order?"
ask_zh = ["哪个订单？", "订单号在确认短信里。"]
"""
ACTION = """
[actions.order_status]
phrases = ["where is my order", "我的订单到哪了"]
slots = ["order_number"]
url = "http://10.0.0.5/kfbot?key=swordfish"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
answer_en = "It is {order.status}."
answer_zh = "{{order_number}}：{order.status}"
empty_en = "There is none."
empty_zh = "没有。"
"""


def load(tmp_path: Path, text: str) -> str:
    file = tmp_path / "kfbot.toml"
    file.write_text(text, encoding="utf-8")
    return repr(load_settings(file))


def test_a_whole_section_is_read_and_prints_no_secret(tmp_path: Path) -> None:
    printed = load(tmp_path, SLOT + ACTION)
    assert "order_status" in printed
    assert "swordfish" not in printed
    assert "MfKQ9r8" not in printed


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('["order_number"]', '["order_number", "phone"]', r"there is no \[slots.phone\]"),
        ('["order_number"]', "[]", r"answer_zh: {{order_number}} is none of its slots"),
        ('url = "http', '# url = "http', r"actions.order_status.url is missing"),
        ('"http://10', '"ftp://10', r"actions.order_status.url: write an http or https address"),
        ("whsec_", "", r"actions.order_status.secret: must be whsec_ followed by base64"),
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "a", r"secret: must be whsec_ followed by base64"),
        ("{order.status}.", "{order status}.", r"answer_en: write {field.name} or {{slot}}"),
        ("There is none.", "No {order.id}.", r"empty_en: there is no answer to take fields from"),
        ('"where is my order", ', '"please", ', r"'please' says nothing"),
        ("phrases", "frases", r"unknown setting actions.order_status.frases, did you mean phrases"),
        ('empty_en = "', 'confirm_en = "Do?"\nempty_en = "', r"nothing is asked unless confirm"),
        ("order_status]", '"a b"]', r"the name of an action"),
        ("pattern = '[A-Z]{2}\\d{6}'", "", r"set either pattern or choices"),
        ("'[A-Z]{2}\\d{6}'", "'x'\nchoices = {a = \"A\"}", r"set either pattern or choices"),
    ],
)
def test_a_fault_is_told_in_one_line(tmp_path: Path, old: str, new: str, fault: str) -> None:
    text = SLOT + ACTION
    assert old in text
    with pytest.raises(SettingsError, match=fault) as raised:
        load(tmp_path, text.replace(old, new))
    assert "\n" not in str(raised.value)
    assert "swordfish" not in str(raised.value)


def test_a_phrase_begins_one_action_only(tmp_path: Path) -> None:
    second = ACTION.replace("order_status", "order_again").replace("where is", "Where's")
    with pytest.raises(SettingsError, match=r'"Where\'s my order" begins \[actions.order_status\]'):
        load(tmp_path, SLOT + ACTION + second)


@pytest.mark.asyncio
async def test_check_says_what_an_action_needs_and_what_is_doubtful(tmp_path: Path) -> None:
    file = tmp_path / "kfbot.toml"
    public = ACTION.replace("10.0.0.5", "shop.example").replace(', "我的订单到哪了"', "")
    file.write_text(SLOT + public, encoding="utf-8")
    found = [one async for one in _look_at_actions(load_settings(file))]
    assert [(one.state, one.text) for one in found] == [
        ("ok", "order_status: needs order_number, posts to shop.example"),
        ("note", "order_status: customers' data travels unencrypted: better an https:// url"),
        ("note", "order_status: no phrase in zh: who writes it cannot begin it"),
    ]
    file.write_text(SLOT + ACTION, encoding="utf-8")
    assert [one.state async for one in _look_at_actions(load_settings(file))] == ["ok"]
