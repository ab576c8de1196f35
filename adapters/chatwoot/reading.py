"""What Chatwoot tells an agent bot → inbound events: pure, stateless.

The forms are those of `webhook_data` in chatwoot/chatwoot, app/models/message.rb and
app/presenters/conversations/event_data_presenter.rb, from 2.0 to 4.16.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from yarl import URL

from adapters.requests import TEXT_LENGTH, whole
from kfbot.errors import WebhookRejected
from kfbot.messages import (
    BOT,
    Attachment,
    ButtonPressed,
    ConversationId,
    InboundEvent,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    OwnershipChanged,
    Sender,
)

#: The website's own chat: it shows CommonMark and buttons.
WIDGET = "Channel::WebWidget"
#: What an agent is called whom nobody names: it is open, or somebody wrote from another device.
NAMELESS = Sender("chatwoot", "agent", "Chatwoot")
#: Whose turn it is by the status of a conversation; "bot" was what "pending" is now.
_BOTS = {"pending", "bot"}


def _moment(value: object) -> object:
    """An ISO time, "2020-03-03 13:05:57 UTC", or seconds since 1970; else now."""
    try:
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
        moment = datetime.fromisoformat(str(value).removesuffix(" UTC"))
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.now(UTC)


def _text(value: object) -> object:
    return "" if value is None else whole(value)


def _object(value: object) -> object:
    return value if isinstance(value, dict) else {}


#: Of messages, people and accounts; old servers show some as strings.
_Number = Annotated[int, Field(ge=1, lt=2**63)]
_Text = Annotated[str, BeforeValidator(_text)]
_Moment = Annotated[datetime, BeforeValidator(_moment)]
_Attributes = Annotated[dict[str, Any], BeforeValidator(_object)]


class _Part(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)


class _Person(_Part):
    id: _Number
    name: _Text = ""
    type: str | None = None
    email: _Text = ""


class _Account(_Part):
    id: _Number


class _Meta(_Part):
    assignee: _Person | None = None
    #: The customer.
    sender: _Person | None = None


class _Said(_Part):
    account_id: _Number | None = None


class _Conversation(_Part):
    #: The number that people see.
    id: _Number
    status: str | None = None
    channel: str | None = None
    meta: _Meta = _Meta()
    messages: list[_Said] = []
    account: _Account | None = None
    updated_at: float | str | None = None
    timestamp: float | str | None = None

    @property
    def owner(self) -> Sender | None:
        """Who has it, by its status."""
        if self.status is None or self.status in _BOTS:
            return None if self.status is None else BOT
        assignee = self.meta.assignee
        if assignee is None or assignee.type == "agent_bot":
            return NAMELESS
        return Sender(str(assignee.id), "agent", assignee.name)


class _File(_Part):
    data_url: _Text = ""
    file_type: _Text = ""


class _Message(_Part):
    id: _Number
    content: _Text = ""
    created_at: _Moment = Field(default_factory=lambda: datetime.now(UTC))
    message_type: str
    content_type: str | None = None
    content_attributes: _Attributes = {}
    additional_attributes: _Attributes = {}
    private: bool | None = False
    sender: _Person | None = None
    attachments: list[_File] = []
    conversation: _Conversation
    account: _Account


@dataclass(frozen=True, slots=True)
class Told:
    """What a request tells."""

    event: InboundEvent | None
    #: The type of the inbox, as "Channel::WebWidget", and the chat that it is of.
    inbox: str = ""
    chat: str = ""


@dataclass(frozen=True, slots=True)
class Reader:
    """Translates for one channel of kfbot. A chat is "account/conversation", as people see them."""

    channel: str
    account_ids: tuple[int, ...]

    def read(self, payload: Mapping[str, Any], delivery: str) -> Told:
        """What a payload tells; events of no interest tell nothing.

        Args:
            delivery: `X-Chatwoot-Delivery`; "": there is none.

        Raises:
            WebhookRejected: 400 malformed, 403 of an account that is not ours.
        """
        name = payload.get("event")
        if not isinstance(name, str):
            raise WebhookRejected(self.channel, "event: is missing", status=400)
        try:
            if name in ("message_created", "message_updated"):
                return self._of_message(name, _Message.model_validate(payload))
            if name in (
                "conversation_opened", "conversation_resolved", "conversation_status_changed"
            ):  # fmt: skip
                return self._of_status(_Conversation.model_validate(payload), delivery)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            message = f"{name}: {place}: {first['msg']}"
            raise WebhookRejected(self.channel, message, status=400) from None
        return Told(None)

    def _address(self, account: int, conversation: _Conversation) -> ConversationId:
        if account not in self.account_ids:
            message = f"account {account} is not in account_ids"
            raise WebhookRejected(self.channel, message, status=403)
        return ConversationId(self.channel, f"{account}/{conversation.id}")

    def _of_message(self, name: str, message: _Message) -> Told:
        address = self._address(message.account.id, message.conversation)
        translate = self._created if name == "message_created" else self._updated
        event = None if message.private else translate(message, address)
        return Told(event, message.conversation.channel or "", address.chat)

    def _created(self, message: _Message, address: ConversationId) -> InboundEvent | None:
        sender = _sender(message)
        if sender is None:
            return None
        replied = message.content_attributes.get("in_reply_to")
        return MessageReceived(
            event_id=f"{address.chat}-{message.id}",
            conversation=address,
            message_id=str(message.id),
            sender=sender,
            sent_at=message.created_at,
            text=_words(message),
            attachments=tuple(map(_attachment, message.attachments)),
            in_reply_to=str(replied) if isinstance(replied, int) else None,
            owner=message.conversation.owner,
        )

    def _updated(self, message: _Message, address: ConversationId) -> InboundEvent | None:
        """A pressed button, or words that are changed or gone; other updates change no words."""
        event_id = f"{address.chat}-{message.id}"
        if message.message_type == "outgoing":
            return _pressed(message, address, event_id)
        if message.message_type != "incoming":
            return None
        if message.content_attributes.get("deleted"):
            return MessageDeleted(
                event_id=f"{event_id}-deleted",
                conversation=address,
                message_id=str(message.id),
                sent_at=message.created_at,
            )
        text = _words(message)
        digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]
        return MessageEdited(
            event_id=f"{event_id}-{digest}",
            conversation=address,
            message_id=str(message.id),
            sender=_customer(message),
            sent_at=message.created_at,
            text=text,
            in_group=False,
        )

    def _of_status(self, conversation: _Conversation, delivery: str) -> Told:
        """By its status, which may have changed since; what is pending waits for the customer."""
        account = self._account(conversation)
        if account is None:
            return Told(None)
        address = self._address(account, conversation)
        owner, is_resolved = conversation.owner, conversation.status == "resolved"
        if owner is None or owner.role == "bot":
            return Told(None, conversation.channel or "", address.chat)
        at = conversation.updated_at or delivery or conversation.timestamp or ""
        event = OwnershipChanged(
            event_id=f"{address.chat}-{conversation.status}-{at}"[:250],
            conversation=address,
            change="resolved" if is_resolved else "claimed",
            agent=owner,
            sent_at=datetime.now(UTC),
        )
        return Told(event, conversation.channel or "", address.chat)

    def _account(self, conversation: _Conversation) -> int | None:
        """The account of a conversation; its own payload names it only by the way."""
        if conversation.account is not None:
            return conversation.account.id
        named = [one.account_id for one in conversation.messages if one.account_id is not None]
        if named:
            return named[0]
        return self.account_ids[0] if len(self.account_ids) == 1 else None


def _sender(message: _Message) -> Sender | None:
    """Who wrote, a customer or a person at the desk; None: a machine, we among them."""
    sender = message.sender
    if message.message_type == "incoming":
        return _customer(message)
    if message.message_type != "outgoing" or _is_automatic(message):
        return None
    if sender is None:
        # From the phone that the inbox is connected to, for example.
        return NAMELESS
    # Of old servers only people have an address.
    is_person = sender.type == "user" or (sender.type is None and bool(sender.email))
    return Sender(str(sender.id), "agent", sender.name) if is_person else None


def _customer(message: _Message) -> Sender:
    person = message.sender if message.message_type == "incoming" else None
    person = person or message.conversation.meta.sender
    if person is None:
        # Nobody is named: then it is whoever the conversation is with.
        return Sender(f"{message.account.id}/{message.conversation.id}")
    return Sender(str(person.id), display_name=person.name)


def _is_automatic(message: _Message) -> bool:
    return bool(
        message.content_attributes.get("automation_rule_id")
        or message.additional_attributes.get("campaign_id")
        or message.content_type not in (None, "text")
    )


def _words(message: _Message) -> str:
    """What was written; of a mail without what it quotes."""
    text = message.content
    mail = message.content_attributes.get("email")
    if message.content_type == "incoming_email" and isinstance(mail, dict):
        for form in ("text_content", "html_content"):
            content = mail.get(form)
            reply = content.get("reply") if isinstance(content, dict) else None
            if isinstance(reply, str) and reply.strip():
                text = str(whole(reply))
                break
    return text[:TEXT_LENGTH]


def _pressed(message: _Message, address: ConversationId, event_id: str) -> ButtonPressed | None:
    values = message.content_attributes.get("submitted_values")
    chosen = values[0] if isinstance(values, list) and values else None
    token = chosen.get("value") if isinstance(chosen, dict) else None
    is_token = isinstance(token, str) and token.isascii() and token.isprintable()
    if message.content_type != "input_select" or not is_token or not 0 < len(token or "") <= 32:
        return None
    return ButtonPressed(
        event_id=f"{event_id}-press-{token}",
        conversation=address,
        token=str(token),
        sender=_customer(message),
        sent_at=datetime.now(UTC),
        in_group=False,
    )


def _attachment(file: _File) -> Attachment:
    try:
        name = URL(file.data_url).name
    except ValueError:
        name = ""
    return Attachment(url=file.data_url[:8192], media_type=file.file_type, name=name[:255])
