"""What the gateway tells → events: who, where, to whom."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.discord.gateway import Dispatch
from adapters.discord.reading import Reader
from adapters.discord.tokens import InteractionTokens
from kfbot.messages import (
    ButtonPressed,
    ConversationId,
    InboundEvent,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
)

ME, ROLE, CHANNEL, THREAD = "900", "950", "600", "800"


def reader() -> Reader:
    one = Reader("shop", InteractionTokens("token"))
    one.take_note(Dispatch("READY", {"user": {"id": ME}}))
    roles = [{"id": ROLE, "tags": {"bot_id": ME}}, {"id": "951", "tags": {"bot_id": "901"}}, {}]
    threads = [{"id": THREAD, "type": 11, "parent_id": CHANNEL}]
    channels = [{"id": CHANNEL, "type": 0, "parent_id": "599"}]
    server = {"id": "500", "roles": roles, "threads": threads, "channels": channels}
    one.take_note(Dispatch("GUILD_CREATE", server))
    return one


def message(**given: Any) -> dict[str, Any]:
    author = {"id": "11", "username": "ann", "global_name": "Ann"}
    said = {"id": "175928847299117063", "channel_id": "700", "type": 0, "author": author}
    return said | {"content": "hi", "mentions": []} | given


def in_server(**given: Any) -> dict[str, Any]:
    return message(guild_id="500", **({"channel_id": CHANNEL} | given))


def heard(data: dict[str, Any], name: str = "MESSAGE_CREATE", one: Reader | None = None) -> Any:
    events: list[InboundEvent] = list((one or reader()).events_of(Dispatch(name, data)))
    assert len(events) <= 1
    return events[0] if events else None


def received(data: dict[str, Any], one: Reader | None = None) -> MessageReceived:
    event = heard(data, one=one)
    assert isinstance(event, MessageReceived)
    return event


def test_a_direct_message_is_for_the_bot() -> None:
    event = received(message(content="你好\0"))
    assert event.conversation == ConversationId("shop", "700")
    assert (event.event_id, event.text) == ("175928847299117063", "你好\ufffd")
    assert (event.sender.id, event.sender.display_name) == ("11", "Ann")
    assert (event.addressed_to_bot, event.in_group) == (True, False)
    assert event.sent_at.isoformat() == "2016-04-30T11:18:25.796000+00:00"


@pytest.mark.parametrize(
    ("given", "text", "addressed"),
    [
        ({}, "hi", False),
        ({"content": f"<@{ME}> hi", "mentions": [{"id": ME}]}, "hi", True),
        ({"content": f"<@&{ROLE}> hi", "mention_roles": [ROLE]}, "hi", True),
        ({"content": "<@&951> hi", "mention_roles": ["951"]}, "<@&951> hi", False),
        ({"type": 19, "referenced_message": {"author": {"id": ME}}}, "hi", True),
        ({"type": 19, "referenced_message": {"author": {"id": "12"}}}, "hi", False),
        (
            {"content": "<@12> <a:wave:3>", "mentions": [{"id": "12", "username": "bob"}]},
            "@bob :wave:",
            False,
        ),
        ({"content": f"<@{ME}>", "mentions": [{"id": ME}]}, "", True),
    ],
)
def test_in_a_channel_a_mention_its_role_or_a_reply_call_the_bot(
    given: dict[str, Any], text: str, addressed: bool
) -> None:
    event = received(in_server(**given))
    assert event.conversation == ConversationId("shop", CHANNEL, member="11")
    assert (event.text, event.addressed_to_bot, event.in_group) == (text, addressed, True)


def test_a_thread_is_one_conversation_in_its_channel() -> None:
    event = received(in_server(channel_id=THREAD))
    assert event.conversation == ConversationId("shop", CHANNEL, thread=THREAD)


def test_a_channel_that_was_not_told_of_is_asked_for_once() -> None:
    one = reader()
    new = Dispatch("MESSAGE_CREATE", in_server(channel_id="801"))
    assert one.unknown_place(new) == "801"
    one.learn_place({}, "801")
    assert one.unknown_place(new) == ""
    one.take_note(Dispatch("THREAD_CREATE", {"id": "802", "type": 12, "parent_id": CHANNEL}))
    for known in (in_server(), in_server(channel_id="802"), message(channel_id="999")):
        assert one.unknown_place(Dispatch("MESSAGE_CREATE", known)) == ""


@pytest.mark.parametrize(
    "data",
    [
        message(author={"id": ME, "bot": True}),
        message(author={"id": "901", "bot": True}),
        message(author={"id": "11", "system": True}),
        message(webhook_id="77"),
        message(type=6),
        message(content=""),
        message(author=None),
        message(id="x"),
        message(channel_id=7),
        {},
    ],
)
def test_bots_webhooks_notes_and_junk_are_no_messages(data: dict[str, Any]) -> None:
    assert heard(data) is None
    assert heard(data | {"edited_timestamp": "2026-01-01T00:00:00+00:00"}, "MESSAGE_UPDATE") is None


def test_files_forwarded_messages_and_stickers_are_read() -> None:
    file = {"url": "https://cdn.discordapp.com/a", "filename": "a.png", "content_type": "image/png"}
    [attachment] = received(message(content="", attachments=[file, {}])).attachments
    assert (attachment.url, attachment.name) == ("https://cdn.discordapp.com/a", "a.png")
    passed_on = message(
        content="",
        message_reference={"type": 1, "message_id": "5"},
        message_snapshots=[{"message": {"content": "order 7", "attachments": [file]}}],
    )
    event = received(passed_on)
    assert (event.text, len(event.attachments), event.in_reply_to) == ("order 7", 1, None)
    assert received(message(content="", sticker_items=[{"name": "hey"}])).text == ":hey:"
    replied = message(type=19, message_reference={"message_id": "5"})
    assert received(replied).in_reply_to == "5"


def test_an_edit_has_an_id_of_its_own_and_a_preview_is_none() -> None:
    changed = message(content="better", edited_timestamp="2026-01-01T00:00:00+00:00")
    event = heard(changed, "MESSAGE_UPDATE")
    assert isinstance(event, MessageEdited)
    assert (event.text, event.in_group) == ("better", False)
    assert event.event_id == f"{changed['id']}-2026-01-01T00:00:00+00:00"
    assert heard(message(edited_timestamp=None, embeds=[{}]), "MESSAGE_UPDATE") is None


def test_an_edit_that_calls_the_bot_is_a_message_for_it() -> None:
    one = reader()
    assert not received(in_server(), one).addressed_to_bot
    mention = {"content": f"<@{ME}> hi", "mentions": [{"id": ME}]}
    data = in_server(**mention, edited_timestamp="2026-01-01T00:00:00+00:00")
    event = heard(data, "MESSAGE_UPDATE", one)
    assert isinstance(event, MessageReceived)
    assert (event.is_edited, event.addressed_to_bot, event.text) == (True, True, "hi")


def test_deletions_find_their_conversation_if_the_message_is_remembered() -> None:
    one = reader()
    gone = {"id": "175928847299117063", "channel_id": CHANNEL, "guild_id": "500"}
    assert heard(gone, "MESSAGE_DELETE", one) is None
    said = received(in_server(), one)
    event = heard(gone, "MESSAGE_DELETE", one)
    assert isinstance(event, MessageDeleted)
    assert event.conversation == said.conversation
    many = {"ids": ["1", "2", 3], "channel_id": THREAD, "guild_id": "500"}
    bulk = list(one.events_of(Dispatch("MESSAGE_DELETE_BULK", many)))
    assert [one.event_id for one in bulk] == ["1-deleted", "2-deleted"]


@pytest.mark.parametrize(
    ("custom_id", "member"), [("tok", "12"), ("tok:11", "11"), ("tok:junk", "12")]
)
def test_a_press_is_for_whom_the_button_was_shown_to(custom_id: str, member: str) -> None:
    press = {
        "id": "175928847299117063", "type": 3, "channel_id": CHANNEL, "guild_id": "500",
        "member": {"nick": "Bob", "user": {"id": "12"}},
        "data": {"component_type": 2, "custom_id": custom_id},
    }  # fmt: skip
    event = heard(press, "INTERACTION_CREATE")
    assert isinstance(event, ButtonPressed)
    assert event.conversation == ConversationId("shop", CHANNEL, member=member)
    assert (event.token, event.sender.display_name, event.in_group) == ("tok", "Bob", True)


@pytest.mark.parametrize(
    "given", [{"type": 2}, {"data": {"component_type": 3, "custom_id": "a"}}, {"data": None}]
)
def test_other_interactions_are_none_of_ours(given: dict[str, Any]) -> None:
    press = {"id": "1", "type": 3, "channel_id": "700", "user": {"id": "12"}} | given
    assert heard(press, "INTERACTION_CREATE") is None
