"""What happens at WeCom's service accounts, what it means, and the form of what we send."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from adapters.wecom import wording
from adapters.wecom.faults import fault_of
from adapters.wecom.messages import read_app_message, read_kf_message
from kfbot.errors import ChannelUnauthorized, ChannelUnavailable, MessageRejected
from kfbot.messages import (
    Attachment,
    Button,
    ButtonPressed,
    Citation,
    ConversationId,
    MessageDeleted,
    MessageReceived,
    OutboundMessage,
    OwnershipChanged,
)

WHERE = ConversationId("shop", "wmAnn", thread="wkShop")
ITEM: dict[str, Any] = {
    "msgid": "from_msgid_1",
    "open_kfid": "wkShop",
    "external_userid": "wmAnn",
    "send_time": 1615478585,
    "origin": 3,
    "msgtype": "text",
    "text": {"content": "什么时候退款？"},
}


def event(**fields: Any) -> dict[str, Any]:
    where = {"open_kfid": "wkShop", "external_userid": "wmAnn"}
    base = {"msgid": "e1", "send_time": 1615478585, "origin": 4, "msgtype": "event"}
    return base | {"event": where | fields}


# --- reading -------------------------------------------------------------------------------------


def test_a_customer_at_an_account_is_a_conversation() -> None:
    found = read_kf_message("shop", ITEM)
    assert isinstance(found, MessageReceived)
    assert (found.event_id, found.message_id) == ("from_msgid_1", "from_msgid_1")
    assert (found.conversation, found.sender.id, found.sender.role) == (WHERE, "wmAnn", "customer")
    assert found.text == "什么时候退款？"
    assert found.sent_at == datetime(2021, 3, 11, 16, 3, 5, tzinfo=UTC)


def test_what_a_person_of_the_account_writes_is_an_agents() -> None:
    found = read_kf_message("shop", ITEM | {"origin": 5, "servicer_userid": "zhangsan"})
    assert isinstance(found, MessageReceived)
    assert (found.conversation, found.sender.id, found.sender.role) == (WHERE, "zhangsan", "agent")


def test_a_click_in_a_menu_is_a_press() -> None:
    found = read_kf_message("shop", ITEM | {"text": {"content": "Helpful", "menu_id": "tok1"}})
    assert isinstance(found, ButtonPressed)
    assert (found.token, found.sender.id, found.in_group) == ("tok1", "wmAnn", False)


@pytest.mark.parametrize(
    ("kind", "said", "file"),
    [
        ("image", {"media_id": "M"}, Attachment("wecom-media:M", "image/jpeg", "image")),
        ("voice", {"media_id": "M"}, Attachment("wecom-media:M", "audio/amr", "voice")),
        ("video", {"media_id": "M"}, Attachment("wecom-media:M", "video/mp4", "video")),
        (
            "location",
            {"latitude": 23.1, "longitude": 113.3, "name": "广州"},
            Attachment("geo:23.1,113.3", "", "广州"),
        ),
        ("business_card", {"userid": "x"}, Attachment("wecom-business_card:", "", "business_card")),
        ("image", {}, Attachment("wecom-image:", "", "image")),
        ("hologram", {}, Attachment("wecom-hologram:", "", "hologram")),
    ],
)
def test_what_is_no_text_is_an_attachment(
    kind: str, said: dict[str, Any], file: Attachment
) -> None:
    found = read_kf_message("shop", ITEM | {"msgtype": kind, kind: said})
    assert isinstance(found, MessageReceived)
    assert (found.text, found.attachments) == ("", (file,))


@pytest.mark.parametrize(
    ("change", "meaning", "agent"),
    [(1, "claimed", "new"), (2, "claimed", "new"), (4, "claimed", "new"), (3, "resolved", "old")],
)
def test_a_session_that_changes_hands_changes_the_owner(
    change: int, meaning: str, agent: str
) -> None:
    who = {"old_servicer_userid": "old", "new_servicer_userid": "new"}
    found = read_kf_message(
        "shop", event(event_type="session_status_change", change_type=change, **who)
    )
    assert isinstance(found, OwnershipChanged)
    assert (found.conversation, found.change, found.agent.id) == (WHERE, meaning, agent)


def test_a_message_that_is_taken_back_is_deleted() -> None:
    found = read_kf_message("shop", event(event_type="user_recall_msg", recall_msgid="m9"))
    assert isinstance(found, MessageDeleted)
    assert (found.conversation, found.message_id) == (WHERE, "m9")


def test_who_comes_in_for_the_first_time_can_be_greeted() -> None:
    found = read_kf_message("shop", event(event_type="enter_session", welcome_code="W"))
    assert isinstance(found, MessageReceived)
    assert (found.conversation, found.text) == (WHERE, "你好")
    assert read_kf_message("shop", event(event_type="enter_session")) is None


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"msgid": 7},
        ITEM | {"msgid": ""},
        ITEM | {"msgid": "x" * 300},
        ITEM | {"send_time": "soon"},
        ITEM | {"send_time": 10**30},
        ITEM | {"origin": 9},
        ITEM | {"origin": 5},
        ITEM | {"open_kfid": None},
        ITEM | {"external_userid": "a\x00b"},
        event(event_type="session_status_change", change_type=99),
        event(event_type="session_status_change", change_type=[]),
        event(event_type="servicer_status_change", status=1),
        event(event_type="never_heard_of"),
        ITEM | {"msgtype": "event", "event": "?"},
    ],
)
def test_what_is_unknown_or_malformed_is_passed_over(item: dict[str, Any]) -> None:
    assert read_kf_message("shop", item) is None


@pytest.mark.parametrize("missing", ["FromUserName", "MsgId", "CreateTime", "MsgType", "AgentID"])
def test_a_message_to_an_app_that_lacks_something_is_passed_over(missing: str) -> None:
    fields = {
        "FromUserName": "zhangsan",
        "CreateTime": "1348831860",
        "MsgType": "text",
        "Content": "hi",
        "MsgId": "1",
        "AgentID": "2",
    }
    assert read_app_message("shop", fields, 2) is not None
    assert read_app_message("shop", fields | {missing: ""}, 2) is None


# --- the form of what is sent --------------------------------------------------------------------

MESSAGE = OutboundMessage(conversation=WHERE, id="msg_1", text="Within **2 days**.")


@pytest.mark.parametrize(
    "text", ["退款。" * 700, "a b. " * 700, "😀" * 900, "x" * 5000, "- 啊\n" * 600]
)
def test_no_text_is_too_long_in_bytes_and_none_is_cut_off(text: str) -> None:
    texts = wording.texts_of(replace(MESSAGE, text=text))
    assert all(0 < wording.size(one) <= wording.TEXT_BYTES for one in texts)
    shown = "".join("".join(texts).split())
    assert shown == "".join(
        "".join(wording.in_parts(wording.markdown_to_text(text), 10**6)).split()
    )


def test_as_much_as_the_core_gives_in_english_is_one_message() -> None:
    text = ("Ten words make a line that nobody reads to the end. " * 50)[: wording.TEXT_LENGTH]
    assert len(wording.texts_of(replace(MESSAGE, text=text))) == 1


def test_sources_stand_below_as_far_as_they_fit() -> None:
    cited = (
        Citation(id="a", title="退款"),
        Citation(id="b", title="Shipping", url="https://shop.example/s"),
    )
    [text] = wording.texts_of(replace(MESSAGE, citations=cited))
    assert text == "Within 2 days.\n\n[1] 退款\n[2] Shipping https://shop.example/s"
    long = Citation(id="c", title="长" * 700)
    [text] = wording.texts_of(replace(MESSAGE, citations=(*cited, long)))
    assert text.endswith("\n[2] Shipping https://shop.example/s")


def test_nothing_to_be_seen_is_no_text() -> None:
    assert wording.texts_of(replace(MESSAGE, text=" \n")) == []


@pytest.mark.parametrize("length", [1, 300, 341, 342, 600, 682, 1500])
def test_the_last_text_fits_over_a_menu_and_nothing_is_lost(length: int) -> None:
    text = "退" * length
    texts = wording.over_menu(wording.in_parts(text, wording.TEXT_BYTES))
    assert wording.size(texts[-1]) <= wording.MENU_TEXT_BYTES
    assert all(wording.size(one) <= wording.TEXT_BYTES for one in texts)
    assert "".join(texts) == text


def test_a_menu_holds_its_buttons_within_the_limits() -> None:
    buttons = [Button(f"tok{n}", "怎么退货\n以及退款" * 20) for n in range(12)]
    entries = wording.menu("?", buttons)["msgmenu"]["list"]
    assert len(entries) == wording.MENU_ENTRIES
    for entry in entries:
        assert wording.size(entry["click"]["content"]) <= wording.MENU_LABEL_BYTES
        assert "\n" not in entry["click"]["content"]
    assert (
        wording.menu("?", [Button("t", "half \ud83d")])["msgmenu"]["list"][0]["click"]["id"] == "t"
    )


def test_the_id_of_a_message_is_its_own_and_stays() -> None:
    others = [
        replace(MESSAGE, id="msg_2"),
        replace(MESSAGE, text="No."),
        replace(MESSAGE, conversation=ConversationId("shop", "wmBob", thread="wkShop")),
    ]
    names = {wording.message_id(one, 0) for one in (MESSAGE, *others)}
    assert len(names | {wording.message_id(MESSAGE, 1)}) == 5
    assert wording.message_id(MESSAGE, 0) in names
    assert all(len(name) == 32 and name.isalnum() and name.isascii() for name in names)


# --- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (-1, ChannelUnavailable, "system busy"),
        (45009, ChannelUnavailable, "45009"),
        (40001, ChannelUnauthorized, "secret is wrong"),
        (42001, ChannelUnauthorized, "access token"),
        (60020, ChannelUnauthorized, r"可信IP \(203\.0\.113\.9\)"),
        (48002, ChannelUnauthorized, "可调用接口的应用"),
        (95001, MessageRejected, "5 messages"),
        (95018, MessageRejected, "people of the account"),
        (123456, MessageRejected, "system busy"),
    ],
)
def test_a_code_becomes_an_error_that_says_what_to_do(
    code: int, kind: type[Exception], says: str
) -> None:
    said = "system busy, hint: [1], from ip: 203.0.113.9, more info at https://open.work/?e=1"
    error = fault_of("shop", {"errcode": code, "errmsg": said})
    assert type(error) is kind or isinstance(error, kind)
    with pytest.raises(kind, match=says):
        raise error
    assert "more info" not in str(error)
    assert "http" not in str(error)


def test_a_limit_says_how_long_to_wait() -> None:
    error = fault_of("shop", {"errcode": 45009})
    assert isinstance(error, ChannelUnavailable)
    assert error.retry_after_seconds == 60.0


def test_what_was_done_is_no_fault() -> None:
    assert fault_of("shop", {"errcode": 0, "errmsg": "ok"}) is None
    assert fault_of("shop", {"access_token": "x"}) is None
