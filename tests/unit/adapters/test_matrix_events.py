"""What events of Matrix say: words, names, files, relations; whatever their fields hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.matrix.events import Name, Said, moment_of, names_in, said_of
from adapters.matrix.timeline import shows_join
from kfbot.messages import Attachment

BOT = "@kf:shop.test"


def message(**content: Any) -> dict[str, Any]:
    return {"type": "m.room.message", "content": {"msgtype": "m.text", "body": "Hi"} | content}


def test_words_are_taken_as_they_are() -> None:
    assert said_of(message(body=" 运费是多少 ")) == Said("运费是多少")
    assert said_of(message(msgtype="m.emote", body="waves")) == Said("waves")


@pytest.mark.parametrize("kind", ["m.notice", "m.key.verification.request", "x.y", 7, None])
def test_what_bots_say_and_unknown_kinds_say_nothing(kind: object) -> None:
    assert said_of(message(msgtype=kind)) is None


def test_a_file_is_attached_and_its_name_is_no_caption() -> None:
    named = {"msgtype": "m.image", "body": "photo.jpg", "url": "mxc://shop.test/abc"}
    info = {"mimetype": "image/jpeg"}
    file = Attachment("mxc://shop.test/abc", "image/jpeg", "photo.jpg")
    assert said_of(message(**named, info=info)) == Said("", (file,))
    captioned = named | {"body": "Is it broken?", "filename": "photo.jpg", "info": info}
    assert said_of(message(**captioned)) == Said("Is it broken?", (file,))


def test_a_file_at_another_address_is_none() -> None:
    assert said_of(message(msgtype="m.file", body="a.txt", url="https://a.example/")) is None


def test_a_place_and_a_sticker_are_attached() -> None:
    place = said_of(message(msgtype="m.location", body="Here", geo_uri="geo:1,2"))
    assert place == Said("", (Attachment("geo:1,2", name="location"),))
    sticker = {"type": "m.sticker", "content": {"body": "Wow", "url": "mxc://shop.test/abc"}}
    assert said_of(sticker) == Said("", (Attachment("mxc://shop.test/abc", "image/png", "Wow"),))


def test_a_thread_is_told_from_the_reply_that_stands_in_for_it() -> None:
    relation = {"rel_type": "m.thread", "event_id": "$root", "m.in_reply_to": {"event_id": "$a"}}
    said = said_of(message(**{"m.relates_to": relation | {"is_falling_back": True}}))
    assert said == Said("Hi", thread="$root")
    said = said_of(message(**{"m.relates_to": relation}))
    assert said == Said("Hi", thread="$root", in_reply_to="$a")


def test_what_a_reply_quotes_is_left_out() -> None:
    quoted = "> <@ann:shop.test> How long?\n> Really\n\nTwo days."
    relation = {"m.in_reply_to": {"event_id": "$a"}}
    said = said_of(message(body=quoted, **{"m.relates_to": relation}))
    assert said == Said("Two days.", in_reply_to="$a")
    # What a customer quotes by hand is theirs.
    assert said_of(message(body="> No refunds\n\nTrue?")) == Said("> No refunds\n\nTrue?")


def test_an_edit_says_what_it_says_now() -> None:
    new = {"msgtype": "m.text", "body": "Now", "m.mentions": {"user_ids": [BOT]}}
    relation = {"rel_type": "m.replace", "event_id": "$a"}
    edit = message(body="* Now", **{"m.new_content": new, "m.relates_to": relation})
    assert said_of(edit) == Said("Now", replaces="$a", mentions=frozenset({BOT}))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"body": "Shop Bot: how long?", "m.mentions": {"user_ids": [BOT]}}, "how long?"),
        ({"body": "how long, Shop Bot", "m.mentions": {"user_ids": [BOT]}}, "how long"),
        ({"body": "how long?", "m.mentions": {"user_ids": [BOT]}}, "how long?"),
        ({"body": f"[Shop Bot](https://matrix.to/#/{BOT}) how long?"}, "how long?"),
        (
            {
                "body": "Shop Bot how long?",
                "formatted_body": f'<a href="https://matrix.to/#/{BOT}">Shop Bot</a> how long?',
            },
            "how long?",
        ),
        ({"body": "@kf how long?"}, "how long?"),
        ({"body": "@Shop Bot运费是多少"}, "运费是多少"),
        ({"body": "shop bot：运费是多少"}, "运费是多少"),
        ({"body": f"{BOT} how long?"}, "how long?"),
    ],
)
def test_the_bot_is_called_by_mention_pill_or_name(content: dict[str, Any], words: str) -> None:
    name, said = Name(BOT, "Shop Bot"), said_of(message(**content))
    assert said is not None
    assert name.is_called(said)
    assert name.left_out(said) == words


@pytest.mark.parametrize(
    "body", ["Is the shop bot any good?", "mail kf@kf.example", "@kfc please", "@Shop Bots are bad"]
)
def test_talk_about_the_bot_is_not_said_to_it(body: str) -> None:
    said = said_of(message(body=body))
    assert said is not None
    assert not Name(BOT, "Shop Bot").is_called(said)
    assert Name(BOT, "Shop Bot").left_out(said) == body


def test_a_name_that_is_a_pattern_is_only_a_name() -> None:
    said = said_of(message(body="(.*: hello"))
    assert said is not None
    assert Name(BOT, "(.*").is_called(said)
    assert not Name(BOT, ".*").is_called(said)


@pytest.mark.parametrize("sent", [None, True, "1", -1, 2**70, 1.5])
def test_a_time_that_cannot_be_is_now(sent: object) -> None:
    assert datetime.now(UTC) - moment_of({"origin_server_ts": sent}) < timedelta(minutes=1)


def test_a_time_to_come_is_now() -> None:
    assert moment_of({"origin_server_ts": 2**42}) <= datetime.now(UTC)
    assert moment_of({"origin_server_ts": 1_700_000_000_000}).year == 2023


def test_half_a_character_and_nul_are_no_words_of_a_database() -> None:
    said = said_of(message(body="a\ud83db\0c"))
    assert said is not None
    assert said.text == "a\ufffdb\ufffdc"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
FIELDS = [
    *("body", "event_id", "filename", "formatted_body", "geo_uri", "info", "is_falling_back"),
    *("m.in_reply_to", "m.mentions", "m.new_content", "m.relates_to", "membership", "msgtype"),
    *("displayname", "mimetype", "rel_type", "url", "user_ids"),
]
CONTENT = st.dictionaries(
    st.sampled_from(FIELDS),
    JSON
    | st.sampled_from(["m.text", "m.image", "m.replace", "m.thread", "$a", "mxc://a/b", "> <@a"])
    | st.dictionaries(st.sampled_from(FIELDS), JSON),
)
EVENT = st.fixed_dictionaries(
    {"type": st.sampled_from(["m.room.message", "m.sticker", "m.room.member"])},
    optional={
        "content": JSON | CONTENT,
        "state_key": JSON | st.just(BOT),
        "unsigned": JSON,
        "origin_server_ts": JSON,
    },
)


@settings(deadline=None, max_examples=50)
@given(EVENT)
def test_an_event_may_hold_anything(event: dict[str, Any]) -> None:
    said = said_of(event)
    if said is not None:
        assert said.text or said.attachments
        assert isinstance(Name(BOT, "Shop Bot").left_out(said), str)
    assert moment_of(event).tzinfo is not None
    assert all(isinstance(name, str) for name in names_in([event, event]).values())
    assert shows_join({"timeline": {"events": [event]}}, BOT) in (True, False)
