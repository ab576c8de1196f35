"""What we read of the objects that Telegram sends; what else they hold is passed over."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

#: Telegram's own limit is 4,096; what is longer did not come from it.
TEXT_LENGTH = 16_384
#: Seconds since 1970, up to the last that a datetime can hold.
_Time = Annotated[int, Field(ge=0, le=253_402_300_799)]
_Id = Annotated[int, Field(ge=-(2**62), le=2**62)]


def _whole(text: object) -> object:
    # Half an emoji and NUL, which databases refuse, are no reason to lose a message.
    if not isinstance(text, str):
        return text
    whole = text[:TEXT_LENGTH].encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace("\0", "\ufffd")


_Text = Annotated[str, BeforeValidator(_whole)]


class _Object(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class User(_Object):
    """A person or a bot."""

    id: _Id
    is_bot: bool = False
    first_name: _Text = ""
    last_name: _Text = ""
    language_code: str = ""


class Chat(_Object):
    """A private chat, a group or a channel."""

    id: _Id
    type: str
    title: _Text = ""
    #: A supergroup with topics.
    is_forum: bool = False


class Entity(_Object):
    """A stretch of a text that means something; places are UTF-16 units."""

    type: str
    offset: Annotated[int, Field(ge=0)]
    length: Annotated[int, Field(ge=0)]
    user: User | None = None


class File(_Object):
    """Anything that `getFile` knows."""

    file_id: Annotated[str, Field(min_length=1, max_length=1024)]
    file_name: _Text = ""
    mime_type: _Text = ""
    #: Of a sticker: what it stands for.
    emoji: _Text = ""


class Location(_Object):
    """A place on the map."""

    latitude: float
    longitude: float


class Contact(_Object):
    """Somebody's telephone number."""

    phone_number: _Text
    first_name: _Text = ""


class Named(_Object):
    """A dice by its emoji, a poll by its question."""

    emoji: _Text = ""
    question: _Text = ""


class Earlier(_Object):
    """The message that one replies to, or that a button is under."""

    message_id: _Id
    chat: Chat | None = None
    sender: User | None = Field(default=None, alias="from")
    #: Set where somebody writes as a channel, or an admin as the group.
    sender_chat: Chat | None = None
    reply_to_message: Earlier | None = None
    message_thread_id: int | None = None
    is_topic_message: bool = False


class Message(Earlier):
    """A message, or one of the notes that Telegram writes into a chat."""

    chat: Chat
    date: _Time
    edit_date: _Time | None = None
    #: The group's own channel, forwarded by Telegram itself.
    is_automatic_forward: bool = False
    text: _Text = ""
    caption: _Text = ""
    entities: tuple[Entity, ...] = ()
    caption_entities: tuple[Entity, ...] = ()
    media_group_id: str | None = None
    animation: File | None = None
    audio: File | None = None
    document: File | None = None
    photo: tuple[File, ...] = ()
    sticker: File | None = None
    video: File | None = None
    video_note: File | None = None
    voice: File | None = None
    location: Location | None = None
    contact: Contact | None = None
    dice: Named | None = None
    poll: Named | None = None
    migrate_to_chat_id: _Id | None = None


class Press(_Object):
    """A button that was pressed."""

    id: Annotated[str, Field(min_length=1, max_length=256)]
    sender: User = Field(alias="from")
    message: Earlier | None = None
    #: What we gave the button.
    data: Annotated[str, Field(max_length=256)] = ""


class Member(_Object):
    """How somebody stands to a chat."""

    status: str


class Membership(_Object):
    """The bot was added, made an admin, blocked or thrown out."""

    chat: Chat
    new_chat_member: Member


class Update(_Object):
    """One piece of news; of the known kinds at most one is there."""

    update_id: Annotated[int, Field(ge=0, le=2**62)]
    message: Message | None = None
    edited_message: Message | None = None
    callback_query: Press | None = None
    my_chat_member: Membership | None = None


#: The kinds of updates that Telegram is asked for.
WANTED = ("message", "edited_message", "callback_query", "my_chat_member")
