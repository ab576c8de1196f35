"""What Telegram's updates mean; the plain cases are recorded payloads in tests/contract."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.telegram.payloads import TEXT_LENGTH
from adapters.telegram.reading import Reader
from kfbot.messages import (
    ButtonPressed,
    ConversationId,
    InboundEvent,
    MessageEdited,
    MessageReceived,
    Sender,
)
from tests.platforms.telegram import BOT, CUSTOMER, FORUM, GROUP, PRIVATE

BOB = {"id": 8, "is_bot": False, "first_name": "Bob"}


@pytest.fixture
def reader() -> Reader:
    made = Reader("shop", "4242:secret")
    made.introduce(BOT)
    return made


def update(number: int = 1, **fields: Any) -> dict[str, Any]:
    message = {"message_id": number, "date": 1, "chat": GROUP, "from": CUSTOMER} | fields
    return {"update_id": number, "message": message}


def heard(reader: Reader, raw: Any) -> InboundEvent | None:
    _, read = reader.read(raw)
    return None if read is None else reader.meaning(read)


def received(reader: Reader, **fields: Any) -> MessageReceived:
    event = heard(reader, update(**fields))
    assert isinstance(event, MessageReceived)
    return event


@pytest.mark.parametrize(
    ("text", "understood"),
    [
        ("@shop_bot how do I return it?", "how do I return it?"),
        ("how, @Shop_Bot, do I return it?", "how, , do I return it?"),
        ("怎么退货@shop_bot", "怎么退货"),
        ("@shop_bot怎么退货", "怎么退货"),
        ("怎么退货？ @shop_bot", "怎么退货？"),
        ("@shop_bot", ""),
        ("/help", "/help"),
        ("/help@shop_bot", "/help"),
        ("/kb@SHOP_BOT add Q | A @ 5", "/kb add Q | A @ 5"),
    ],
)
def test_in_a_group_mentions_and_commands_address_the_bot(
    reader: Reader, text: str, understood: str
) -> None:
    event = received(reader, text=text)
    assert (event.text, event.addressed_to_bot) == (understood, True)
    assert event.conversation == ConversationId("shop", "-100", member="7")


@pytest.mark.parametrize(
    "text",
    ["how do I return it?", "ask @shop_bot2", "mail me@shop_bot.example", "/help@other_bot",
     "1/2 of it", "@@shop_bot"],
)  # fmt: skip
def test_in_a_group_other_talk_does_not_address_the_bot(reader: Reader, text: str) -> None:
    event = received(reader, text=text)
    assert event.text == text
    assert not event.addressed_to_bot


def test_a_link_to_the_bot_is_a_mention_and_is_taken_out_by_utf16_places(reader: Reader) -> None:
    entity = {"type": "text_mention", "offset": 3, "length": 5, "user": BOT}
    event = received(reader, text="😀 Shop! help", entities=[entity])
    assert (event.text, event.addressed_to_bot) == ("😀  help", True)


def test_the_caption_of_a_photo_can_mention_the_bot(reader: Reader) -> None:
    event = received(reader, photo=[{"file_id": "p"}], caption="@shop_bot broken?")
    assert (event.text, event.addressed_to_bot) == ("broken?", True)


@pytest.mark.parametrize(("language", "greeting"), [("zh-hans", "你好"), ("de", "Hello")])
def test_start_is_heard_as_a_greeting_in_the_customers_language(
    reader: Reader, language: str, greeting: str
) -> None:
    sender = CUSTOMER | {"language_code": language}
    event = received(reader, chat=PRIVATE, text="/start page-7", **{"from": sender})
    assert event.text == greeting


def test_each_topic_is_a_conversation_and_the_first_one_too(reader: Reader) -> None:
    topic = received(reader, chat=FORUM, text="x", message_thread_id=40, is_topic_message=True)
    general = received(reader, chat=FORUM, text="x")
    # Replies in a group without topics bear a thread too.
    thread = received(reader, text="x", message_thread_id=40)
    assert topic.conversation == ConversationId("shop", "-200", thread="40")
    assert general.conversation == ConversationId("shop", "-200", thread="1")
    assert thread.conversation == ConversationId("shop", "-100", member="7")


def test_the_note_that_opened_a_topic_is_no_message_that_is_replied_to(reader: Reader) -> None:
    opened = {"message_id": 40, "chat": FORUM, "from": BOT}
    fields = {"chat": FORUM, "text": "x", "message_thread_id": 40, "is_topic_message": True}
    event = received(reader, reply_to_message=opened, **fields)
    assert (event.in_reply_to, event.addressed_to_bot) == (None, False)
    event = received(reader, reply_to_message=opened | {"message_id": 41}, **fields)
    assert (event.in_reply_to, event.addressed_to_bot) == ("41", True)


def test_an_admin_who_writes_as_the_group_is_a_customer_and_a_linked_channel_is_not(
    reader: Reader,
) -> None:
    anonymous = {"id": 1087968824, "is_bot": True, "first_name": "Group"}
    fields: dict[str, Any] = {"text": "@shop_bot hi", "from": anonymous, "sender_chat": GROUP}
    assert received(reader, **fields).sender.id == "-100"
    assert heard(reader, update(is_automatic_forward=True, **fields)) is None
    del fields["sender_chat"]
    assert heard(reader, update(**fields)) is None


def test_of_an_album_one_part_is_answered(reader: Reader) -> None:
    album: dict[str, Any] = {"photo": [{"file_id": "p"}], "media_group_id": "a"}
    parts = [update(n, chat=PRIVATE, **album) for n in range(3)]
    parts[1]["message"]["caption"] = "Which one fits?"
    reader.look_ahead(parts)
    events = [heard(reader, part) for part in parts]
    answered = [isinstance(event, MessageReceived) and event.addressed_to_bot for event in events]
    assert answered == [False, True, False]
    bare = [received(reader, chat=PRIVATE, **album | {"media_group_id": "b"}) for _ in range(2)]
    assert [event.addressed_to_bot for event in bare] == [True, False]


def test_a_poll_comes_as_an_attachment_that_names_its_question(reader: Reader) -> None:
    poll = received(reader, chat=PRIVATE, poll={"question": "Red or blue?"})
    assert (poll.text, poll.attachments[0].name) == ("", "Red or blue?")


def test_places_and_telephone_numbers_come_as_attachments(reader: Reader) -> None:
    place = received(reader, chat=PRIVATE, location={"latitude": 1.5, "longitude": -2})
    contact = received(reader, chat=PRIVATE, contact={"phone_number": "+49 1", "first_name": "A"})
    assert place.attachments[0].url == "geo:1.500000,-2.000000"
    assert (contact.attachments[0].url, contact.attachments[0].name) == ("tel:+49 1", "A")


def test_an_animation_is_one_attachment(reader: Reader) -> None:
    file = {"file_id": "a", "mime_type": "video/mp4", "file_name": "x.mp4"}
    event = received(reader, chat=PRIVATE, animation=file, document=file)
    assert [one.name for one in event.attachments] == ["x.mp4"]


def test_an_edit_of_a_caption_is_an_edit_and_a_moving_location_is_not(reader: Reader) -> None:
    message = update(photo=[{"file_id": "p"}], caption="@shop_bot how?", edit_date=5)["message"]
    event = heard(reader, {"update_id": 2, "edited_message": message})
    assert isinstance(event, MessageEdited)
    assert (event.text, event.sent_at.timestamp()) == ("how?", 5)
    moving = update(location={"latitude": 1, "longitude": 2})["message"]
    assert heard(reader, {"update_id": 3, "edited_message": moving}) is None


def test_another_bot_on_the_channel_has_event_ids_of_its_own() -> None:
    events = [
        heard(Reader("shop", token), update(chat=PRIVATE, text="x"))
        for token in ("4242:a", "4242:b", "99:c", "odd")
    ]
    assert [event and event.event_id for event in events] == ["4242-1", "4242-1", "99-1", "bot-1"]


def test_a_text_that_telegram_cannot_have_sent_is_cut_and_made_whole(reader: Reader) -> None:
    event = received(reader, chat=PRIVATE, text="\ud83d\0" + "x" * 10_000_000)
    assert len(event.text) == TEXT_LENGTH
    assert event.text.startswith("\ufffd\ufffdx")


def test_a_malformed_update_is_skipped_by_its_number_without_its_words(
    reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        read = reader.read(update(5, text={"secret": "my address is"}))
    assert read == (5, None)
    assert "update 5 skipped" in caplog.text
    assert "my address" not in caplog.text


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
_KEYS = ("message_id", "date", "chat", "from", "text", "caption", "entities", "photo",
         "reply_to_message", "sender_chat", "location", "message_thread_id",
         "is_topic_message", "media_group_id", "migrate_to_chat_id", "voice")  # fmt: skip


@given(
    st.sampled_from(["message", "edited_message", "callback_query", "my_chat_member", "news"]),
    st.dictionaries(st.sampled_from(_KEYS), _JSON, max_size=4),
)
def test_no_update_whatever_breaks_the_reader(kind: str, fields: dict[str, Any]) -> None:
    reader = Reader("shop", "4242:secret")
    reader.introduce(BOT)
    raw = {"update_id": 1, kind: update()["message"] | fields}
    reader.look_ahead([raw, fields, 7])
    update_id, read = reader.read(raw)
    assert update_id == 1
    if read is not None:
        reader.meaning(read)


def test_somebody_elses_press_belongs_to_whom_the_bot_replied_to(reader: Reader) -> None:
    asked = {"message_id": 1, "chat": GROUP, "from": CUSTOMER}
    shown = {"message_id": 2, "chat": GROUP, "from": BOT, "reply_to_message": asked}
    press = {"id": "p", "from": BOB, "data": "token", "message": shown}
    event = heard(reader, {"update_id": 1, "callback_query": press})
    assert event is not None
    assert event.conversation.member == "7"
    del shown["reply_to_message"]
    event = heard(reader, {"update_id": 1, "callback_query": press})
    assert event is not None
    assert event.conversation.member == "8"


def test_who_writes_as_the_group_has_its_buttons_by_whichever_name_they_press(
    reader: Reader,
) -> None:
    unnamed = {"id": 1087968824, "is_bot": True, "first_name": "Group"}
    asked = {"message_id": 1, "chat": GROUP, "from": unnamed, "sender_chat": GROUP}
    shown = {"message_id": 2, "chat": GROUP, "from": BOT, "reply_to_message": asked}
    for presser in (BOB, unnamed):
        press = {"id": "p", "from": presser, "data": "token", "message": shown}
        event = heard(reader, {"update_id": 1, "callback_query": press})
        assert event is not None
        assert event.conversation.member == "-100"
    another_bot = {"id": "p", "from": BOT, "data": "token", "message": shown}
    assert heard(reader, {"update_id": 1, "callback_query": another_bot}) is None


def test_an_edit_of_another_bots_command_is_left_alone_in_groups(reader: Reader) -> None:
    def edited(text: str, **fields: Any) -> InboundEvent | None:
        message = update(text=text, edit_date=5, **fields)["message"]
        return heard(reader, {"update_id": 2, "edited_message": message})

    assert edited("/help@other_bot") is None
    assert edited("/help@shop_bot") is not None
    assert edited("/help@other_bot", chat=PRIVATE) is not None


# The agents' chat

TOPIC: dict[str, Any] = {"chat": FORUM, "message_thread_id": 40, "is_topic_message": True}


@pytest.fixture
def agents_reader() -> Reader:
    made = Reader("shop", "4242:secret", agents_chat="-200")
    made.introduce(BOT)
    return made


def test_in_the_agents_chat_topics_are_agents_talk_and_other_talk_is_nothing(
    agents_reader: Reader,
) -> None:
    event = received(agents_reader, text="@shop_bot sent today", **TOPIC)
    assert event.conversation == ConversationId("shop", "-200", thread="40")
    assert (event.sender, event.text) == (Sender("7", "agent", "Ann"), "sent today")
    assert heard(agents_reader, update(chat=FORUM, text="@shop_bot lunch?")) is None
    flat = FORUM | {"is_forum": False}
    assert heard(agents_reader, update(chat=flat, text="lunch?", message_thread_id=4)) is None
    assert heard(agents_reader, update(text="/ban@other_bot", **TOPIC)) is None
    assert heard(agents_reader, update(forum_topic_reopened={}, **TOPIC)) is None
    assert received(agents_reader, text="/start", **TOPIC).text == "/start"


def test_in_the_agents_chat_commands_are_read_outside_of_topics_too(agents_reader: Reader) -> None:
    event = received(agents_reader, chat=FORUM, text="/stats@shop_bot 7d")
    assert (event.text, event.sender.role) == ("/stats 7d", "agent")
    assert event.conversation == ConversationId("shop", "-200", thread="1")
    assert heard(agents_reader, update(chat=FORUM, text="/stats@other_bot")) is None


def test_other_groups_are_customers_while_there_is_an_agents_chat(agents_reader: Reader) -> None:
    assert received(agents_reader, text="@shop_bot hi").sender.role == "customer"


def test_an_agent_who_writes_as_the_group_bears_its_name(agents_reader: Reader) -> None:
    unnamed = {"id": 1087968824, "is_bot": True, "first_name": "Group"}
    fields: dict[str, Any] = {"text": "hi", "from": unnamed, "sender_chat": FORUM, **TOPIC}
    assert received(agents_reader, **fields).sender == Sender("-200", "agent", "Help")
    shown = {"message_id": 2, "from": BOT, **TOPIC}
    press = {"id": "p", "from": unnamed, "data": "token", "message": shown}
    event = heard(agents_reader, {"update_id": 1, "callback_query": press})
    assert isinstance(event, ButtonPressed)
    assert event.sender == Sender("-200", "agent", "Help")
    assert event.conversation == ConversationId("shop", "-200", thread="40")


def test_an_agents_edit_is_an_agents_and_stays_in_its_topic(agents_reader: Reader) -> None:
    def edited(**fields: Any) -> InboundEvent | None:
        message = update(text="sent", edit_date=5, **fields)["message"]
        return heard(agents_reader, {"update_id": 2, "edited_message": message})

    event = edited(**TOPIC)
    assert isinstance(event, MessageEdited)
    assert (event.sender.role, event.conversation.thread) == ("agent", "40")
    assert edited(chat=FORUM) is None


def test_the_agents_chat_keeps_its_name_when_telegram_gives_it_another_id() -> None:
    reader = Reader("shop", "4242:secret", agents_chat="-5")
    small = {"id": -5, "type": "group", "title": "Help"}
    moved = heard(reader, update(chat=small, migrate_to_chat_id=-200))
    assert moved is not None
    event = received(reader, text="sent today", **TOPIC)
    assert event.conversation == ConversationId("shop", "-5", thread="40")
    assert event.sender.role == "agent"
