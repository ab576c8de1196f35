# ruff: noqa: E501 - payloads and fragments, as they come
"""Frames of platforms that we call: anything in them means an event that can be stored, or none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from adapters.dingtalk.reading import event_of as of_dingtalk
from adapters.discord.gateway import Dispatch
from adapters.discord.reading import Reader as DiscordReader
from adapters.discord.tokens import InteractionTokens
from adapters.matrix.events import Name, moment_of, names_in, said_of
from adapters.onebot.reading import event_of as of_onebot
from adapters.telegram.reading import Reader as TelegramReader
from adapters.wecom.messages import read_app_message, read_kf_message
from kfbot.messages import InboundEvent
from tests.fuzz.mutation import Pick, mutated_json
from tests.fuzz.profile import PICKS, fuzz
from tests.fuzz.requests import check_event, recorded

Event = InboundEvent | None


def _dumped(*frames: dict[str, Any]) -> tuple[str, ...]:
    return tuple(json.dumps(one) for one in frames)


def _bodies(platform: str) -> tuple[str, ...]:
    return tuple(json.loads(one)["body"] for one in recorded(platform))


_DISCORD_USER = {"id": "80351110224678912", "username": "ann", "global_name": "Ann", "bot": False}
_DISCORD_MESSAGE = {
    "id": "334385199974967042", "channel_id": "290926798999357250", "author": _DISCORD_USER,
    "content": "<@41771983429993937> 退货 <:ok:1234567890123456> <#7>", "type": 0,
    "timestamp": "2026-01-05T09:00:00.000000+00:00", "edited_timestamp": "2026-01-05T09:01:00+00:00",
    "mentions": [{"id": "41771983429993937", "username": "bot"}], "mention_roles": ["7"],
    "message_reference": {"message_id": "334385199974967041", "type": 0},
    "referenced_message": {"id": "334385199974967041", "author": {"id": "41771983429993937"}},
    "attachments": [{"id": "1", "url": "https://cdn.a.example/a.png", "filename": "a.png",
                     "content_type": "image/png"}],
    "member": {"nick": "Ann", "roles": []},
}  # fmt: skip
_DISCORD = _dumped(
    {"t": "MESSAGE_CREATE", "d": _DISCORD_MESSAGE},
    {"t": "MESSAGE_CREATE", "d": _DISCORD_MESSAGE | {"guild_id": "197038439483310086"}},
    {"t": "MESSAGE_UPDATE", "d": _DISCORD_MESSAGE},
    {"t": "MESSAGE_DELETE", "d": {"id": "334385199974967042", "channel_id": "290926798999357250"}},
    {"t": "MESSAGE_DELETE_BULK", "d": {"ids": ["1", "2"], "channel_id": "290926798999357250"}},
    {"t": "INTERACTION_CREATE", "d": {
        "id": "846462639134605312", "application_id": "41771983429993937", "type": 3, "token": "t",
        "channel_id": "290926798999357250", "user": _DISCORD_USER, "message": _DISCORD_MESSAGE,
        "data": {"custom_id": "k3Jx0mQ2:80351110224678912", "component_type": 2}}},
    {"t": "INTERACTION_CREATE", "d": {
        "id": "846462639134605313", "application_id": "41771983429993937", "type": 2, "token": "t",
        "channel_id": "290926798999357250", "user": _DISCORD_USER, "channel": {"id": "7", "type": 1},
        "data": {"id": "1", "name": "ask", "options": [{"name": "question", "value": "退货?"}]}}},
    {"t": "GUILD_CREATE", "d": {
        "id": "7", "roles": [{"id": "8", "tags": {"bot_id": "41771983429993937"}}],
        "channels": [{"id": "9", "type": 0}], "threads": [{"id": "10", "type": 11}]}},
    {"t": "THREAD_CREATE", "d": {"id": "10", "type": 11, "parent_id": "9"}},
    {"t": "READY", "d": {"user": {"id": "41771983429993937"}, "session_id": "s"}},
)  # fmt: skip
_DINGTALK = _dumped(
    {"msgId": "m1", "msgtype": "text", "text": {"content": " 退货 "}, "conversationType": "1",
     "conversationId": "cid1", "senderStaffId": "u1", "senderId": "$:u1", "senderNick": "安",
     "createAt": 1767603600000, "sessionWebhook": "https://a.example/s"},
    {"msgId": "m2", "msgtype": "richText", "conversationType": "2", "conversationId": "cid2",
     "senderStaffId": "u2", "senderNick": "B", "createAt": "1767603600000", "isInAtList": True,
     "content": {"richText": [{"text": "a"}, {"type": "picture", "downloadCode": "d"}]}},
    {"msgId": "m3", "msgtype": "file", "conversationType": "1", "conversationId": "cid3",
     "senderStaffId": "u3", "content": {"downloadCode": "d", "fileName": "a.pdf"}},
)  # fmt: skip
_KF = _dumped(
    {"msgid": "m1", "open_kfid": "wk1", "external_userid": "wm1", "send_time": 1767603600,
     "origin": 3, "msgtype": "text", "text": {"content": "年假", "menu_id": "k3Jx"}},
    {"msgid": "m2", "open_kfid": "wk1", "external_userid": "wm1", "send_time": 1767603600,
     "origin": 3, "msgtype": "image", "image": {"media_id": "MEDIA"}},
    {"msgid": "m3", "send_time": 1767603600, "origin": 4, "msgtype": "event", "event": {
        "event_type": "session_status_change", "open_kfid": "wk1", "external_userid": "wm1",
        "change_type": 1, "new_servicer_userid": "u1", "msg_code": "c"}},
    {"msgid": "m4", "send_time": 1767603600, "origin": 4, "msgtype": "event", "event": {
        "event_type": "user_recall_msg", "open_kfid": "wk1", "external_userid": "wm1",
        "recall_msgid": "m1"}},
)  # fmt: skip
_WECOM_APP = _dumped(
    {"ToUserName": "ww", "FromUserName": "zhangsan", "CreateTime": "1348831860",
     "MsgType": "text", "Content": "年假", "MsgId": "12345", "AgentID": "1000002"},
    {"FromUserName": "zhangsan", "CreateTime": "1348831860", "MsgType": "event",
     "Event": "template_card_event", "EventKey": "k3Jx", "AgentID": "1000002", "TaskId": "t"},
    {"FromUserName": "zhangsan", "CreateTime": "1348831860", "MsgType": "image", "MsgId": "7",
     "MediaId": "m", "PicUrl": "https://a.example/p", "AgentID": "1000002"},
)  # fmt: skip
_MATRIX = _dumped(
    {"type": "m.room.message", "event_id": "$1:a", "sender": "@ann:a", "origin_server_ts": 1767603600000,
     "content": {"msgtype": "m.text", "body": "> <@bot:a> x\n\nbot: 退货", "format": "org.matrix.custom.html",
                 "formatted_body": "<mx-reply>x</mx-reply><a href='https://matrix.to/#/@bot:a'>bot</a>",
                 "m.mentions": {"user_ids": ["@bot:a"]},
                 "m.relates_to": {"rel_type": "m.thread", "event_id": "$0:a", "is_falling_back": True,
                                  "m.in_reply_to": {"event_id": "$2:a"}}}},
    {"type": "m.room.message", "event_id": "$3:a", "sender": "@ann:a", "origin_server_ts": 1767603600000,
     "content": {"msgtype": "m.image", "body": "a.png", "url": "mxc://a/b", "filename": "a.png",
                 "info": {"mimetype": "image/png"}}},
    {"type": "m.room.message", "event_id": "$4:a", "sender": "@ann:a", "content": {
        "m.relates_to": {"rel_type": "m.replace", "event_id": "$1:a"},
        "m.new_content": {"msgtype": "m.text", "body": "b"}}},
    {"type": "m.room.member", "state_key": "@ann:a", "sender": "@ann:a", "event_id": "$5:a",
     "content": {"membership": "join", "displayname": "Ann"}},
)  # fmt: skip


def _of_discord(frame: Any) -> Iterator[Event]:
    reader = DiscordReader("shop", InteractionTokens("secret"))
    reader.take_note(Dispatch("READY", {"user": {"id": "41771983429993937"}}))
    if not isinstance(frame, dict) or not isinstance(frame.get("d"), dict):
        return
    dispatch = Dispatch(str(frame.get("t")), frame["d"])
    reader.take_note(dispatch)
    reader.unknown_place(dispatch)
    yield from reader.events_of(dispatch)


def _of_telegram(frame: Any) -> Iterator[Event]:
    reader = TelegramReader("shop", "4242:token", "-1005550001111")
    reader.introduce({"id": 4242, "is_bot": True, "first_name": "Shop", "username": "shop_bot"})
    _, update = reader.read(frame)
    if update is not None:
        yield reader.meaning(update)


def _of_matrix(frame: Any) -> Iterator[Event]:
    """What a homeserver says is taken apart; a room that it stands in is not needed for that."""
    if isinstance(frame, dict):
        said = said_of(frame)
        if said is not None:
            Name("@bot:a", "Bot").is_called(said)
            Name("@bot:a", "Bot").left_out(said)
        assert moment_of(frame).tzinfo is not None
    names = names_in([frame])
    assert all(isinstance(one, str) for one in (*names, *names.values()))
    yield None


def _of_wecom(frame: Any) -> Iterator[Event]:
    # An application's messages come as XML: all of their fields are texts.
    if isinstance(frame, dict):
        fields = {str(name): str(value) for name, value in frame.items()}
        yield read_app_message("shop", fields, 1000002)


def _of_kf(frame: Any) -> Iterator[Event]:
    if isinstance(frame, dict):
        yield read_kf_message("shop", frame)


def _of_object(read: Callable[[Any], Event]) -> Callable[[Any], Iterator[Event]]:
    return lambda frame: iter((read(frame),) if isinstance(frame, dict) else ())


READERS: dict[str, tuple[tuple[str, ...], Callable[[Any], Iterator[Event]]]] = {
    "dingtalk": (_DINGTALK, _of_object(lambda frame: of_dingtalk(frame, "shop"))),
    "discord": (_DISCORD, _of_discord),
    "matrix": (_MATRIX, _of_matrix),
    "onebot": (_bodies("onebot"), _of_object(lambda frame: of_onebot(frame, "shop", {"7:7"}))),
    "telegram": (_bodies("telegram"), _of_telegram),
    "wecom": (_WECOM_APP, _of_wecom),
    "wecom-kf": (_KF, _of_kf),
}


def check_frame(platform: str, pick: Pick) -> None:
    """A frame with faults, read as its adapter reads it.

    Raises:
        AssertionError: It means an event that no store takes; any other error is a fault, too.
    """
    frames, read = READERS[platform]
    try:
        frame = json.loads(mutated_json(frames[pick(len(frames))], pick))
    except (ValueError, RecursionError):
        return
    for event in read(frame):
        if event is not None:
            check_event(event)


@pytest.mark.parametrize("platform", READERS)
@fuzz(80, pick=PICKS)
def test_a_frame_with_faults_means_events_that_can_be_stored_or_none(
    platform: str, pick: Pick
) -> None:
    check_frame(platform, pick)


@pytest.mark.parametrize("platform", READERS)
def test_a_frame_as_it_should_be_is_read(platform: str) -> None:
    frames, read = READERS[platform]
    events = [event for frame in frames for event in read(json.loads(frame))]
    assert platform == "matrix" or any(events)
