"""Telegram's updates → the core's events: pure rules, no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from adapters.telegram.payloads import (
    Chat,
    Earlier,
    Entity,
    File,
    Message,
    Press,
    Update,
    User,
)
from kfbot.messages import (
    Attachment,
    ButtonPressed,
    ConversationId,
    ConversationMoved,
    InboundEvent,
    MessageEdited,
    MessageReceived,
    Role,
    Sender,
)

#: The topic of a forum that every forum has; its messages name no topic.
GENERAL = "1"
#: Attachments that `getFile` knows begin so.
FILE_SCHEME = "telegram-file:"
_GROUPS = {"group", "supergroup"}
#: Telegram's @GroupAnonymousBot, as which admins write who stay unnamed.
_ANONYMOUS = 1087968824
_COMMAND = re.compile(r"/(\w+)(?:@(\w+))?(?!\S)", re.ASCII)
#: What is heard as a greeting: Telegram's button that begins a chat, in the customer's language.
_START = {"zh": "你好"}
_MEDIA_TYPES = {
    "animation": "video/mp4",
    "audio": "audio/mpeg",
    "document": "application/octet-stream",
    "sticker": "image/webp",
    "video": "video/mp4",
    "video_note": "video/mp4",
    "voice": "audio/ogg",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the bot is; without a name its mentions are not recognised."""

    id: int
    username: str = ""
    #: Another bot on the same channel counts its updates anew.
    account: str = "bot"
    #: The chat of agents, by the id in the settings; "": there is none.
    agents_chat: str = ""
    #: Its id now: a group gets another one when it becomes a supergroup.
    agents_chat_now: str = ""


def event_of(update: Update, channel: str, me: Identity) -> InboundEvent | None:
    """The event that an update means; None: nothing that anybody has to be told."""
    event_id = f"{me.account}-{update.update_id}"
    if update.message is not None:
        return _message_event(update.message, event_id, channel, me)
    if update.edited_message is not None:
        return _edit_event(update.edited_message, event_id, channel, me)
    if update.callback_query is not None:
        return _press_event(update.callback_query, event_id, channel, me)
    return None


def _message_event(
    message: Message, event_id: str, channel: str, me: Identity
) -> InboundEvent | None:
    if message.migrate_to_chat_id is not None:
        return ConversationMoved(
            event_id=event_id,
            conversation=ConversationId(channel, str(message.chat.id)),
            moved_to=ConversationId(channel, str(message.migrate_to_chat_id)),
            sent_at=_moment(message.date),
        )
    sender = _sender_of(message, me)
    attachments = tuple(_attachments(message))
    words = _words(message) or _stands_for(message)
    if sender is None or not (words or attachments) or _stays_with_agents(message, words, me):
        return None
    replied_to = _replied_to(message)
    return MessageReceived(
        event_id=event_id,
        conversation=_conversation(channel, message.chat, message, sender.id, me),
        message_id=str(message.message_id),
        sender=sender,
        sent_at=_moment(message.date),
        text=_said(words, message, me),
        attachments=attachments,
        in_reply_to=None if replied_to is None else str(replied_to.message_id),
        addressed_to_bot=not _in_group(message.chat) or _addressed(message, words, replied_to, me),
        in_group=_in_group(message.chat),
    )


def _edit_event(
    message: Message, event_id: str, channel: str, me: Identity
) -> MessageEdited | None:
    sender, words = _sender_of(message, me), _words(message)
    # A location that moves is an edit too.
    if sender is None or not words or _stays_with_agents(message, words, me):
        return None
    if _in_group(message.chat) and _is_anothers_command(words, me):
        return None
    return MessageEdited(
        event_id=event_id,
        conversation=_conversation(channel, message.chat, message, sender.id, me),
        message_id=str(message.message_id),
        sender=sender,
        sent_at=_moment(message.edit_date or message.date),
        text=_said(words, message, me),
        in_group=_in_group(message.chat),
    )


def _press_event(press: Press, event_id: str, channel: str, me: Identity) -> ButtonPressed | None:
    shown = press.message
    if shown is None or shown.chat is None or not press.data or _stays_with_agents(shown, "", me):
        return None
    if (presser := _presser(press.sender, shown.chat, me)) is None:
        return None
    # In a group the buttons belong to whom the bot replied to, whoever presses them.
    asked = shown.reply_to_message
    owner = (_member(asked) if asked is not None else None) or presser.id
    return ButtonPressed(
        event_id=event_id,
        conversation=_conversation(channel, shown.chat, shown, owner, me),
        token=press.data,
        sender=presser,
        # Telegram does not say when.
        sent_at=datetime.now(UTC),
        in_group=_in_group(shown.chat),
    )


def _conversation(
    channel: str, chat: Chat, message: Earlier, member: str, me: Identity
) -> ConversationId:
    """A private chat, a topic of a forum, or one member's talk with the bot in a group."""
    # The core knows the agents' chat by its name in the settings, wherever it has moved.
    name = me.agents_chat if _is_agents(chat, me) else str(chat.id)
    if (topic := _topic(message)) is not None:
        return ConversationId(channel, name, thread=topic)
    if chat.is_forum:
        return ConversationId(channel, name, thread=GENERAL)
    return ConversationId(channel, name, member=member if _in_group(chat) else None)


def _topic(message: Earlier) -> str | None:
    is_named = message.is_topic_message and message.message_thread_id is not None
    return str(message.message_thread_id) if is_named else None


def _is_agents(chat: Chat, me: Identity) -> bool:
    return bool(me.agents_chat) and str(chat.id) in (me.agents_chat, me.agents_chat_now)


def _role_in(chat: Chat, me: Identity) -> Role:
    return "agent" if _is_agents(chat, me) else "customer"


def _stays_with_agents(message: Earlier, words: str, me: Identity) -> bool:
    """What agents say outside of the cases' topics, but for commands; what is another bot's."""
    if message.chat is None or not _is_agents(message.chat, me):
        return False
    is_outside = _topic(message) in (None, GENERAL) and _COMMAND.match(words) is None
    return is_outside or _is_anothers_command(words, me)


def _is_anothers_command(words: str, me: Identity) -> bool:
    command = _COMMAND.match(words)
    name = command[2] if command is not None else None
    return name is not None and not _same_name(name, me.username)


def _in_group(chat: Chat) -> bool:
    return chat.type in _GROUPS


def _sender_of(message: Message, me: Identity) -> Sender | None:
    """Who wrote; None for bots, channels and Telegram itself."""
    if message.chat.type not in {"private", *_GROUPS} or message.is_automatic_forward:
        return None
    role = _role_in(message.chat, me)
    if (chat := message.sender_chat) is not None:
        # An admin who writes as the group comes as a bot of Telegram's own.
        return Sender(str(chat.id), role, chat.title)
    if message.sender is None or message.sender.is_bot:
        return None
    return _person(message.sender, role)


def _presser(user: User, chat: Chat, me: Identity) -> Sender | None:
    """Who pressed; None for bots. Whoever writes as the group may press under their own name."""
    role = _role_in(chat, me)
    if user.id == _ANONYMOUS:
        return Sender(str(chat.id), role, chat.title)
    return None if user.is_bot else _person(user, role)


def _member(message: Earlier) -> str | None:
    """By which id whoever wrote has a conversation in a group."""
    if message.sender_chat is not None:
        return str(message.sender_chat.id)
    return str(message.sender.id) if message.sender is not None else None


def _person(user: User, role: Role) -> Sender:
    return Sender(str(user.id), role, f"{user.first_name} {user.last_name}".strip())


def _replied_to(message: Message) -> Earlier | None:
    earlier = message.reply_to_message
    # In a topic each message that replies to nothing replies to the note that opened it.
    if earlier is None or (
        message.is_topic_message and earlier.message_id == message.message_thread_id
    ):
        return None
    return earlier


def _addressed(message: Message, words: str, replied_to: Earlier | None, me: Identity) -> bool:
    """In a group: a command, a mention, or a reply to the bot."""
    if command := _COMMAND.match(words):
        return command[2] is None or _same_name(command[2], me.username)
    if replied_to is not None and replied_to.sender is not None and replied_to.sender.id == me.id:
        return True
    return _mention(me).search(words) is not None or bool(_links_to(message, me))


def _said(words: str, message: Message, me: Identity) -> str:
    """The words without the bot's name; a command without whom it is for."""
    if (command := _COMMAND.match(words)) is not None:
        if command[1] == "start" and not _is_agents(message.chat, me):
            language = message.sender.language_code[:2].lower() if message.sender else ""
            return _START.get(language, "Hello")
        if command[2] is not None and _same_name(command[2], me.username):
            return f"/{command[1]}{words[command.end() :]}".strip()
        return words
    units = words.encode("utf-16-le")
    for entity in sorted(_links_to(message, me), key=lambda one: -one.offset):
        units = units[: 2 * entity.offset] + units[2 * (entity.offset + entity.length) :]
    return _mention(me).sub("", units.decode("utf-16-le", "replace")).strip()


def _links_to(message: Message, me: Identity) -> list[Entity]:
    """Where the bot is mentioned by a link instead of its name."""
    entities = message.entities if message.text else message.caption_entities
    return [one for one in entities if one.user is not None and one.user.id == me.id]


def _mention(me: Identity) -> re.Pattern[str]:
    if not me.username:
        return _NEVER
    # Chinese is written without spaces: only what a name can hold goes on with it.
    name = re.escape(me.username)
    return re.compile(rf"(?<![\w@])@{name}(?!\w)[ \t]*", re.IGNORECASE | re.ASCII)


_NEVER = re.compile(r"(?!)")


def _same_name(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()


def _words(message: Message) -> str:
    return message.text or message.caption


def _stands_for(message: Message) -> str:
    """What is meant by a message without words."""
    for shown in (message.sticker, message.dice):
        if shown is not None:
            return shown.emoji
    return ""


def _attachments(message: Message) -> Iterator[Attachment]:
    # An animation comes as a document too, and a photo in several sizes, the largest last.
    files = {name: getattr(message, name) for name in _MEDIA_TYPES}
    if files["animation"] is not None:
        files["document"] = None
    for name, file in files.items():
        if file is not None:
            yield _file(file, file.mime_type or _MEDIA_TYPES[name], file.file_name or name)
    if message.photo:
        yield _file(message.photo[-1], "image/jpeg", "photo.jpg")
    if (place := message.location) is not None:
        yield Attachment(url=f"geo:{place.latitude:.6f},{place.longitude:.6f}", name="location")
    if (poll := message.poll) is not None:
        yield Attachment(url="telegram-poll:", name=poll.question)
    if (contact := message.contact) is not None:
        yield Attachment(url=f"tel:{contact.phone_number}", name=contact.first_name or "contact")


def _file(file: File, media_type: str, name: str) -> Attachment:
    return Attachment(url=f"{FILE_SCHEME}{file.file_id}", media_type=media_type, name=name)


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
