"""What Slack tells → inbound events: pure, stateless, the same for both modes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError

from adapters.slack.wording import mentions, mentions_others, read, whole
from kfbot.messages import (
    Attachment,
    ButtonPressed,
    ConversationId,
    InboundEvent,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    Sender,
)

logger = logging.getLogger(__name__)

#: Messages of people; of all other subtypes nobody expects an answer.
# A tuple: no set can be asked for a list, should one come.
_SPOKEN = (None, "file_share", "thread_broadcast", "me_message")
_DELETED = {"message_deleted", "tombstone"}

_Id = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,200}$")]
#: Seconds since 1970, which name a message inside its channel.
_Ts = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,11}(?:\.[0-9]{1,9})?$")]
_Text = Annotated[str, BeforeValidator(whole)]
_Translated = TypeVar("_Translated")


class _Part(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)


class _File(_Part):
    name: _Text | None = None
    mimetype: _Text | None = None
    url_private: _Text | None = None
    url_private_download: _Text | None = None


class _Edited(_Part):
    ts: _Ts


class _Said(_Part):
    """A message, also as it was before."""

    ts: _Ts
    user: _Id | None = None
    text: _Text | None = None
    subtype: str | None = None
    bot_id: _Text | None = None
    thread_ts: _Ts | None = None
    parent_user_id: _Id | None = None
    edited: _Edited | None = None
    files: list[_File] | None = None


class _Event(_Said):
    """An event `message` or `app_mention`; the two have the same fields."""

    type: Literal["message", "app_mention"]
    channel: _Id
    channel_type: str | None = None
    message: _Said | None = None
    previous_message: _Said | None = None
    deleted_ts: _Ts | None = None


class _User(_Part):
    id: _Id
    name: _Text | None = None
    username: _Text | None = None


class _Channel(_Part):
    id: _Id


class _Container(_Part):
    channel_id: _Id | None = None
    message_ts: _Ts | None = None
    thread_ts: _Ts | None = None


class _Action(_Part):
    action_ts: _Ts | None = None
    type: str = "button"
    value: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,32}$")] | None = None


class _Pressed(_Part):
    user: _User
    trigger_id: _Id = ""
    channel: _Channel | None = None
    message: _Said | None = None
    container: _Container = _Container()
    actions: list[_Action]


class _Command(_Part):
    command: Annotated[str, StringConstraints(pattern=r"^/[^\s\x00-\x1f]{1,64}$")]
    text: _Text = ""
    user_id: _Id
    user_name: _Text = ""
    channel_id: _Id
    trigger_id: _Id


@dataclass(frozen=True, slots=True)
class Reader:
    """Translates for one channel of kfbot.

    A message in a channel belongs to the thread that it opens or stands in; direct messages
    are one conversation, and each thread among them one more. In a channel a message is
    addressed to the bot if it mentions it, or if it is in a thread that hangs on a message of
    the bot and mentions nobody else. Whether the bot takes part in another thread no message
    tells: `follows_up` says which messages that question is about. In the agents' channel
    everybody is an agent, without a name yet; outside of threads only mentions are read.
    """

    channel: str
    #: The bot's own user id.
    bot: str
    #: The channel of the agents; "": there is none.
    agents_chat: str = ""

    def of_event(self, event: Mapping[str, Any]) -> InboundEvent | None:
        """Of the `event` of an `event_callback`; None: nothing that concerns the bot."""
        if event.get("type") not in ("message", "app_mention"):
            return None
        return _unless_malformed(lambda: self._of_message(_Event.model_validate(event)))

    def follows_up(self, event: Mapping[str, Any]) -> bool:
        """True for words in a channel's thread that mention nobody at all."""
        text = str(event.get("text") or "")
        replies = event.get("thread_ts") not in (None, event.get("ts"))
        spoken = event.get("subtype") in _SPOKEN
        return replies and spoken and not mentions_others(text, "")

    def of_press(self, payload: Mapping[str, Any], now: datetime) -> tuple[InboundEvent, ...]:
        """Of `block_actions`; buttons that are not ours lead to nothing."""
        pressed = _unless_malformed(lambda: _Pressed.model_validate(payload))
        if pressed is None:
            return ()
        place = pressed.container
        chat = pressed.channel.id if pressed.channel else place.channel_id
        message = pressed.message or _Said(ts=place.message_ts or "0", thread_ts=place.thread_ts)
        if chat is None:
            return ()
        return tuple(
            ButtonPressed(
                event_id=f"{chat}-{message.ts}-press-{action.action_ts or pressed.trigger_id}",
                conversation=self._answered_in(chat, message, pressed.user.id),
                token=action.value,
                sender=self._person(chat, pressed.user.id, _name(pressed.user)),
                sent_at=_moment(action.action_ts) if action.action_ts else now,
                in_group=not _is_direct(chat),
            )
            for action in pressed.actions
            if action.type == "button" and action.value
        )

    def of_command(self, payload: Mapping[str, Any], now: datetime) -> InboundEvent | None:
        """Of a slash command: what was typed, as a message; commands know no threads."""
        command = _unless_malformed(lambda: _Command.model_validate(payload))
        if command is None:
            return None
        direct = _is_direct(command.channel_id)
        member = None if direct else command.user_id
        return MessageReceived(
            event_id=f"command-{command.trigger_id}",
            conversation=ConversationId(self.channel, command.channel_id, member=member),
            message_id=f"command-{command.trigger_id}",
            sender=self._person(command.channel_id, command.user_id, command.user_name),
            sent_at=now,
            text=f"{command.command} {read(command.text, self.bot)}".strip(),
            in_group=not direct,
        )

    def _of_message(self, event: _Event) -> InboundEvent | None:
        if event.subtype == "message_changed" and event.message is not None:
            return self._changed(event, event.message)
        if event.subtype in _DELETED:
            return self._deleted(event, event.previous_message, event.deleted_ts or event.ts)
        if event.subtype not in _SPOKEN or not self._is_person(event):
            return None
        if self._is_agents_talk(event, event):
            return None
        if event.edited is not None:
            # Slack tells a mention once more when its message is edited.
            return self._edited(event, event, event.edited.ts)
        return self._received(event, event, f"{event.channel}-{event.ts}")

    def _changed(self, event: _Event, said: _Said) -> InboundEvent | None:
        """An edit; of what else changes a message (links unfolded, replies counted): nothing."""
        if said.subtype == "tombstone":
            return self._deleted(event, event.previous_message, said.ts)
        before = event.previous_message
        if not self._is_person(said) or said.subtype not in _SPOKEN:
            return None
        if self._is_agents_talk(event, said):
            return None
        if said.edited is None if before is None else said.text == before.text:
            return None
        edited_ts = said.edited.ts if said.edited is not None else event.ts
        late = before is not None and not mentions(before.text or "", self.bot)
        # What agents edit is not passed on, whomever they mention.
        late = late and not _is_direct_event(event) and event.channel != self.agents_chat
        if late and mentions(said.text or "", self.bot):
            event_id = f"{event.channel}-{said.ts}-{edited_ts}-mention"
            return replace(self._received(event, said, event_id), is_edited=True)
        return self._edited(event, said, edited_ts)

    def _received(self, event: _Event, said: _Said, event_id: str) -> MessageReceived:
        direct = _is_direct_event(event)
        text = said.text or ""
        replies = said.thread_ts is not None and said.thread_ts != said.ts
        return MessageReceived(
            event_id=event_id,
            conversation=self._conversation(event, said),
            message_id=said.ts,
            sender=self._person(event.channel, said.user or ""),
            sent_at=_moment(said.ts),
            text=read(text, self.bot),
            attachments=_attachments(said),
            in_reply_to=said.thread_ts if replies else None,
            addressed_to_bot=direct or self._is_addressed(event, said, text),
            in_group=not direct,
        )

    def _is_addressed(self, event: _Event, said: _Said, text: str) -> bool:
        if event.type == "app_mention" or mentions(text, self.bot):
            return True
        return said.parent_user_id == self.bot and not mentions_others(text, self.bot)

    def _edited(self, event: _Event, said: _Said, edited_ts: str) -> MessageEdited:
        return MessageEdited(
            event_id=f"{event.channel}-{said.ts}-{edited_ts}",
            conversation=self._conversation(event, said),
            message_id=said.ts,
            sender=self._person(event.channel, said.user or ""),
            sent_at=_moment(edited_ts),
            text=read(said.text or "", self.bot),
            in_group=not _is_direct_event(event),
        )

    def _deleted(self, event: _Event, before: _Said | None, ts: str) -> MessageDeleted | None:
        if before is not None and not self._is_person(before):
            return None
        said = before or _Said(ts=ts, thread_ts=event.thread_ts)
        return MessageDeleted(
            event_id=f"{event.channel}-{ts}-deleted",
            conversation=self._conversation(event, said),
            message_id=ts,
            sent_at=_moment(event.ts),
        )

    def _is_agents_talk(self, event: _Event, said: _Said) -> bool:
        """What agents say among themselves: it is not even stored."""
        if event.channel != self.agents_chat or said.thread_ts not in (None, said.ts):
            return False
        return event.type != "app_mention" and not mentions(said.text or "", self.bot)

    def _person(self, chat: str, user: str, name: str = "") -> Sender:
        if self.agents_chat and chat == self.agents_chat:
            # What agents are called comes from one place, or they would be several persons.
            return Sender(user, "agent")
        return Sender(user, display_name=name)

    def _is_person(self, said: _Said) -> bool:
        """Bots are never answered, and neither are we."""
        return bool(said.user) and not said.bot_id and said.user not in (self.bot, "USLACKBOT")

    def _conversation(self, event: _Event, said: _Said) -> ConversationId:
        if not _is_direct_event(event):
            return ConversationId(self.channel, event.channel, said.thread_ts or said.ts)
        # A message that has replies names itself as its thread.
        thread = said.thread_ts if said.thread_ts != said.ts else None
        return ConversationId(self.channel, event.channel, thread)

    def _answered_in(self, chat: str, message: _Said, user: str) -> ConversationId:
        """The conversation of a message that we sent."""
        if message.thread_ts is not None and message.thread_ts != message.ts:
            return ConversationId(self.channel, chat, message.thread_ts)
        if self.agents_chat and chat == self.agents_chat:
            return ConversationId(self.channel, chat, message.ts)
        member = None if _is_direct(chat) else user
        return ConversationId(self.channel, chat, member=member)


def _unless_malformed(translate: Callable[[], _Translated]) -> _Translated | None:
    try:
        return translate()
    except ValidationError as error:
        # Asking Slack to send it again would help nobody.
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        logger.warning(
            "event of Slack left out: %s: %s",
            place,
            first["msg"],
            extra={"event": "event_malformed"},
        )
        return None


def _is_direct(chat: str) -> bool:
    return chat.startswith("D")


def _is_direct_event(event: _Event) -> bool:
    # A mention does not tell the type of its channel.
    if event.channel_type is not None and event.type == "message":
        return event.channel_type in ("im", "app_home")
    return _is_direct(event.channel)


def _name(user: _User) -> str:
    return user.name or user.username or ""


def _moment(ts: str) -> datetime:
    return datetime.fromtimestamp(float(ts), UTC)


def _attachments(said: _Said) -> tuple[Attachment, ...]:
    return tuple(
        Attachment(url=url, media_type=file.mimetype or "", name=file.name or "")
        for file in said.files or ()
        if (url := file.url_private_download or file.url_private)
    )
