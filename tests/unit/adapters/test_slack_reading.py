"""What comes from Slack: its form of a text, and which events mean what."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.slack.events import Reader
from adapters.slack.routing import Identity, _is_ours, _is_used_in
from adapters.slack.wording import TEXT_LENGTH, read, whole
from kfbot.messages import (
    ButtonPressed,
    ConversationId,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    Sender,
)

BOT = "U0KFBOT"
READER = Reader("shop", BOT)
PLAIN = [
    (f"<@{BOT}> how?", "how?"),
    (f"<@{BOT}|kfbot>: how?", "how?"),
    (f"hey <@{BOT}> how?", "hey how?"),
    (f"how, <@{BOT}>?", "how, ?"),
    (f"怎么退货<@{BOT}>", "怎么退货"),
    ("a &lt;b&gt; &amp;amp; c", "a <b> &amp; c"),
    ("&amp;lt;!here&amp;gt;", "&lt;!here&gt;"),
    ("<https://a.example/x>", "https://a.example/x"),
    ("<http://a.example|a.example>", "a.example"),
    ("<https://a.example/|help>", "help (https://a.example/)"),
    ("<mailto:a@b.example|a@b.example>", "a@b.example"),
    ("<tel:+4930|+4930>", "+4930"),
    ("<@U0ANN> <@U0BOB|bob>", "@U0ANN @bob"),
    ("<#C0HELP|help> <#C0X>", "#help #C0X"),
    ("<!here> <!channel|@channel> <!subteam^S1|@team>", "@here @channel @team"),
    ("<!date^1392734382^{date}|Feb 18>", "Feb 18"),
    ("line\n  indented", "line\n  indented"),
    ("1 < 2 > 0", "1 < 2 > 0"),
]


@pytest.mark.parametrize(("text", "plain"), PLAIN)
def test_a_text_reads_as_its_writer_sees_it(text: str, plain: str) -> None:
    assert read(text, BOT) == plain


def test_a_text_of_many_blanks_is_read_in_one_pass() -> None:
    # Looked through from every blank anew, this would take hours.
    assert read(" " * 2_000_000 + "x", BOT) == "x"


def test_what_sql_refuses_and_what_is_too_long_is_left_out() -> None:
    assert whole("a\0b \ud83d") == "a\ufffdb \ufffd"
    assert len(whole("x" * 10_000_000)) == TEXT_LENGTH


def event(**fields: Any) -> dict[str, Any]:
    said = {"type": "message", "user": "U0ANN", "ts": "100.000001", "text": "how?"}
    return said | {"channel": "C0HELP", "channel_type": "channel"} | fields


def received(**fields: Any) -> MessageReceived:
    found = READER.of_event(event(**fields))
    assert isinstance(found, MessageReceived)
    return found


def test_direct_messages_are_one_conversation_and_threads_others() -> None:
    direct = {"channel": "D0ANN", "channel_type": "im"}
    home, thread = ConversationId("shop", "D0ANN"), ConversationId("shop", "D0ANN", "99.000001")
    assert received(**direct).conversation == home
    assert received(**direct, thread_ts="100.000001").conversation == home
    assert received(**direct, thread_ts="99.000001").conversation == thread
    assert received(**direct, text=f"<@{BOT}> how?").addressed_to_bot
    assert not received(**direct).in_group


def test_in_a_group_of_people_the_bot_has_to_be_mentioned() -> None:
    group = {"channel": "G0GROUP", "channel_type": "mpim"}
    assert not received(**group).addressed_to_bot
    assert received(**group, text=f"how, <@{BOT}>?").addressed_to_bot
    assert received(**group).in_group


@pytest.mark.parametrize(
    ("text", "addressed"),
    [
        ("how?", True),
        ("<@U0BOB> how?", False),
        ("<!here> how?", False),
        (f"<@U0BOB> and <@{BOT}>", True),
    ],
)
def test_under_a_message_of_the_bot_who_mentions_nobody_speaks_to_it(
    text: str, addressed: bool
) -> None:
    reply = received(text=text, thread_ts="99.000001", parent_user_id=BOT)
    assert reply.addressed_to_bot is addressed


def test_of_other_threads_only_what_mentions_nobody_is_asked_about() -> None:
    assert READER.follows_up(event(thread_ts="99.000001"))
    assert not READER.follows_up(event())
    assert not READER.follows_up(event(thread_ts="100.000001"))
    assert not READER.follows_up(event(thread_ts="99.000001", text="<@U0BOB> how?"))
    assert not READER.follows_up(event(thread_ts="99.000001", subtype="channel_join"))


def changed(before: str, after: str, **fields: Any) -> dict[str, Any]:
    said = {"user": "U0ANN", "ts": "100.000001", "text": before}
    edited = {"edited": {"user": "U0ANN", "ts": "105.000000"}}
    return event(
        subtype="message_changed",
        ts="105.000002",
        message=said | {"text": after} | edited | fields,
        previous_message=said,
    )


def test_only_an_edit_of_the_text_is_an_edit() -> None:
    assert isinstance(READER.of_event(changed("how", "how?")), MessageEdited)
    assert READER.of_event(changed("how?", "how?")) is None
    assert READER.of_event(changed("how", "how?", bot_id="B0CI")) is None
    assert READER.of_event(changed("how", "how?", user=BOT)) is None
    without = changed("how", "how?") | {"previous_message": None}
    assert isinstance(READER.of_event(without), MessageEdited)
    unfolded = changed("how?", "how?", edited=None) | {"previous_message": None}
    assert READER.of_event(unfolded) is None


def test_a_mention_that_is_edited_in_is_a_message_and_any_other_edit_is_not() -> None:
    late = READER.of_event(changed("how?", f"<@{BOT}> how?"))
    assert isinstance(late, MessageReceived)
    assert (late.text, late.message_id, late.addressed_to_bot) == ("how?", "100.000001", True)
    other = changed(f"<@{BOT}> how", f"<@{BOT}> how?")
    edit = READER.of_event(other)
    mention = {"type": "app_mention", "channel": "C0HELP"} | other["message"]
    assert isinstance(edit, MessageEdited)
    assert READER.of_event(mention) == edit
    assert edit.event_id != late.event_id


def test_a_message_with_replies_that_is_taken_back_is_deleted_too() -> None:
    gone = READER.of_event(changed("how?", "This message was deleted.", subtype="tombstone"))
    assert isinstance(gone, MessageDeleted)
    assert gone.message_id == "100.000001"


def test_what_the_bot_itself_deletes_is_no_event() -> None:
    own = {"user": BOT, "ts": "99.000001", "text": "15 days", "bot_id": "B0KFBOT"}
    gone = event(subtype="message_deleted", deleted_ts="99.000001", previous_message=own)
    assert READER.of_event(gone) is None


@pytest.mark.parametrize(
    "broken",
    [
        {"ts": None},
        {"ts": "soon"},
        {"ts": ["1"]},
        {"channel": ""},
        {"channel": "C1\n"},
        {"user": 7},
        {"text": 7},
        {"files": "none"},
        {"thread_ts": "x"},
        {"subtype": "message_changed", "message": 7},
    ],
    ids=str,
)
def test_a_malformed_event_is_left_out(broken: dict[str, Any]) -> None:
    assert READER.of_event(event(**broken)) is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
_MORE = ["subtype", "message", "previous_message", "thread_ts", "edited", "files", "bot_id"]
_FIELDS = st.sampled_from([*event(), *_MORE, "deleted_ts", "parent_user_id"])


@given(st.dictionaries(_FIELDS, _JSON))
def test_no_event_makes_the_reader_fall(fields: dict[str, Any]) -> None:
    found = READER.of_event(event(**fields))
    if isinstance(found, MessageReceived):
        READER.follows_up(event(**fields))


def test_an_event_that_only_other_workspaces_are_told_is_not_ours() -> None:
    us = Identity(BOT, "T0SHOP", "E0ORG")

    def told(team: str | None, enterprise: str | None = None) -> dict[str, Any]:
        return {
            "team_id": "T0X",
            "authorizations": [{"team_id": team, "enterprise_id": enterprise}],
        }

    assert _is_ours(told("T0SHOP"), us)
    assert _is_ours(told(None, "E0ORG"), us)
    assert _is_ours({"team_id": "T0X"}, us)
    assert not _is_ours(told("T0OTHER"), us)


@pytest.mark.parametrize(
    ("body", "ours"),
    [
        ({"team": {"id": "T0SHOP"}}, True),
        ({"team_id": "T0SHOP"}, True),
        ({"team": None}, True),
        ({"team": {"id": "T0X"}, "enterprise": {"id": "E0ORG"}}, True),
        ({"team_id": "T0X", "enterprise_id": "E0ORG"}, True),
        ({"team": {"id": "T0X"}, "message": {"team": "T0SHOP"}}, True),
        ({"team": {"id": "T0X"}, "message": {"team": "T0X"}}, False),
        ({"team_id": "T0X", "enterprise_id": "E0X"}, False),
    ],
)
def test_what_is_pressed_or_typed_in_another_workspace_is_not_ours(
    body: dict[str, Any], ours: bool
) -> None:
    assert _is_used_in(body, Identity(BOT, "T0SHOP", "E0ORG")) is ours


# --- the agents' channel -------------------------------------------------------------------------

TEAM = Reader("shop", BOT, "C0TEAM")


@pytest.mark.parametrize(
    ("fields", "thread"),
    [
        ({"thread_ts": "90.000001"}, "90.000001"),
        ({"thread_ts": "90.000001", "text": "<@U0BOB> look"}, "90.000001"),
        ({"text": f"<@{BOT}> /kb status"}, "100.000001"),
        ({"type": "app_mention", "text": f"<@{BOT}> /kb status"}, "100.000001"),
    ],
)
def test_everybody_in_the_agents_channel_is_an_agent(fields: dict[str, Any], thread: str) -> None:
    found = TEAM.of_event(event(channel="C0TEAM", **fields))
    assert isinstance(found, MessageReceived)
    assert found.sender == Sender("U0ANN", "agent")
    assert found.conversation == ConversationId("shop", "C0TEAM", thread)


def test_talk_outside_of_threads_in_the_agents_channel_is_left_out() -> None:
    assert TEAM.of_event(event(channel="C0TEAM")) is None
    assert TEAM.of_event(event(channel="C0TEAM", thread_ts="100.000001")) is None
    elsewhere = TEAM.of_event(event())
    assert isinstance(elsewhere, MessageReceived)
    assert elsewhere.sender == Sender("U0ANN")


def test_an_edit_by_an_agent_is_an_agents() -> None:
    said = {"ts": "100.000001", "user": "U0ANN", "text": "new", "thread_ts": "90.000001"}
    change = {
        "type": "message", "subtype": "message_changed", "channel": "C0TEAM",
        "channel_type": "channel", "ts": "101.000001",
        "message": said | {"edited": {"ts": "101.000001"}},
        "previous_message": said | {"text": "old"},
    }  # fmt: skip
    found = TEAM.of_event(change)
    assert isinstance(found, MessageEdited)
    assert found.sender.role == "agent"
    assert found.conversation.thread == "90.000001"


def test_a_press_in_the_agents_channel_belongs_to_the_thread_of_its_message() -> None:
    for message, thread in (
        ({"ts": "95.000001", "thread_ts": "90.000001"}, "90.000001"),
        ({"ts": "90.000001"}, "90.000001"),
    ):
        payload = {
            "user": {"id": "U0ANN", "username": "ann"}, "channel": {"id": "C0TEAM"},
            "message": message, "actions": [{"value": "token", "action_ts": "96.000001"}],
        }  # fmt: skip
        [found] = TEAM.of_press(payload, datetime(2026, 1, 5, tzinfo=UTC))
        assert found.conversation == ConversationId("shop", "C0TEAM", thread)
        assert isinstance(found, ButtonPressed)
        assert found.sender == Sender("U0ANN", "agent")
