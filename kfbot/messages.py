"""What travels between platforms and the core: inbound events, outbound messages, addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Role = Literal["customer", "agent", "bot"]
#: The last three are for agents, under a case that is shown in their chat.
ButtonAction = Literal[
    "choice", "helpful", "not_helpful", "person", "claim", "hand_back", "resolve"
]
OutboundKind = Literal["message", "handoff", "handback", "resolved"]


@dataclass(frozen=True, slots=True)
class ConversationId:
    """Where a conversation takes place; hashable, unique for the life of the channel."""

    #: The operator's name of the account: "shop-telegram".
    channel: str
    #: The platform's own id of the chat, unchanged.
    chat: str
    thread: str | None = None
    #: Set where a group has no threads: each member has a conversation of their own.
    member: str | None = None


@dataclass(frozen=True, slots=True)
class Sender:
    """Who wrote; `id` is the platform's own."""

    id: str
    role: Role = "customer"
    display_name: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that came with a message; `ChannelAdapter.fetch` gets its bytes."""

    url: str
    media_type: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Button:
    """A button under a message. What it does is a row in SQL; the token is opaque."""

    #: At most 32 bytes of ASCII: Telegram allows 64 for its callback data.
    token: str
    label: str
    #: A hint for the form it is shown in; a press is known by its token alone.
    action: ButtonAction = "choice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A passage that an answer rests on."""

    #: The operator's id of the document or FAQ entry.
    id: str
    title: str
    heading: str = ""
    url: str = ""
    quote: str = ""
    #: Probability, 0 to 1, that this passage answers the question.
    score: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReceived:
    """Somebody wrote. (channel, event_id) makes a redelivery recognisable."""

    event_id: str
    conversation: ConversationId
    message_id: str
    sender: Sender
    #: Aware.
    sent_at: datetime
    #: Plain, the bot's mention removed.
    text: str
    attachments: tuple[Attachment, ...] = ()
    in_reply_to: str | None = None
    #: False: group talk that the bot only overhears.
    addressed_to_bot: bool = True
    #: Others read along, and the answer too.
    in_group: bool = False
    #: It was there before, and by an edit it is meant for the bot now.
    is_edited: bool = False
    #: Who has the conversation by the word of a help desk, the bot or an agent; None: nobody but
    #: us knows.
    owner: Sender | None = None
    #: For debugging only; never stored.
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageEdited:
    """Somebody changed a message; the message id stays, the event id is its own."""

    event_id: str
    conversation: ConversationId
    message_id: str
    sender: Sender
    sent_at: datetime
    text: str
    #: False in a private chat alone.
    in_group: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDeleted:
    """Somebody took a message back."""

    event_id: str
    conversation: ConversationId
    message_id: str
    sent_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ButtonPressed:
    """Somebody pressed a button that we sent."""

    event_id: str
    conversation: ConversationId
    token: str
    sender: Sender
    sent_at: datetime
    #: Set where the platform shows the press as a message of the customer's own.
    message_id: str | None = None
    #: False in a private chat alone.
    in_group: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnershipChanged:
    """An agent took, gave back or resolved the conversation at the place where agents work."""

    event_id: str
    conversation: ConversationId
    change: Literal["claimed", "handed_back", "resolved"]
    agent: Sender
    sent_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationMoved:
    """The platform gave the conversation a new address; both mean the same from now on."""

    event_id: str
    conversation: ConversationId
    moved_to: ConversationId
    sent_at: datetime


InboundEvent = (
    MessageReceived
    | MessageEdited
    | MessageDeleted
    | ButtonPressed
    | OwnershipChanged
    | ConversationMoved
)

BOT = Sender(id="bot", role="bot")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundMessage:
    """One message to a customer. Same id, same message: passed to platforms that drop repeats."""

    conversation: ConversationId
    id: str
    #: CommonMark; the adapter renders what its platform can show.
    text: str
    kind: OutboundKind = "message"
    sender: Sender = BOT
    citations: tuple[Citation, ...] = ()
    buttons: tuple[Button, ...] = ()
    in_reply_to: str | None = None
    #: CommonMark for agents alone, on channels that are a help desk. Of kind "handoff" it asks for
    #: a person: the platform must be told, whatever becomes of the text, which may be "".
    note: str = ""


@dataclass(frozen=True, slots=True)
class DeliveryReceipt:
    """What the platform calls the message that it took; empty where it gives no ids."""

    platform_ids: tuple[str, ...] = ()
