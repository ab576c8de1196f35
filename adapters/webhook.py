"""The generic channel: any system that speaks JSON over HTTP, signed both ways."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

import aiohttp
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from adapters.requests import ID_LENGTH, TEXT_LENGTH, check_form, read_json, whole
from adapters.rest import HttpAddress, fault_of_status, to_json
from adapters.signatures import StandardWebhook
from kfbot.adapter import (
    AdapterSettings,
    Capabilities,
    ChannelAdapter,
    WebhookReply,
    WebhookRequest,
)
from kfbot.errors import (
    ChannelUnavailable,
    MessageRejected,
    WebhookRejected,
)
from kfbot.messages import (
    Attachment,
    ConversationId,
    DeliveryReceipt,
    MessageReceived,
    OutboundMessage,
    Sender,
)

logger = logging.getLogger(__name__)

_JSON = {"content-type": "application/json"}


class WebhookSettings(AdapterSettings):
    """`platform = "webhook"`."""

    model_config = ConfigDict(hide_input_in_errors=True)

    #: `whsec_` and base64, as the Standard Webhooks spec has it; one for both ways.
    secret: SecretStr
    #: The other side knows its customers, and limits them by itself.
    messages_per_minute: int = Field(default=0, ge=0, le=1000)
    #: Where our messages go. It may hold a password or a key, so it does not print.
    callback_url: HttpAddress | None = Field(default=None, repr=False)
    #: "callback": messages are posted to callback_url. "response": the answer to a request
    #: holds the messages that it led to; an agent's go to callback_url if there is one.
    reply: Literal["callback", "response"] = "callback"
    timeout_seconds: float = Field(default=10.0, gt=0, le=60)

    @field_validator("secret")
    @classmethod
    def _is_secret(cls, secret: SecretStr) -> SecretStr:
        StandardWebhook(secret.get_secret_value())
        return secret

    @model_validator(mode="after")
    def _callback_has_address(self) -> Self:
        if self.reply == "callback" and self.callback_url is None:
            raise ValueError('callback_url is needed unless reply = "response"')
        return self


def _moment(value: object) -> object:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value if isinstance(value, str) else "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be an ISO 8601 time") from None


_Text = Annotated[str, BeforeValidator(whole)]
_Id = Annotated[str, StringConstraints(pattern=rf"^[^\x00-\x1f\x7f]{{1,{ID_LENGTH}}}$")]


class _Part(BaseModel):
    # Unknown fields are allowed: the caller's system may add its own.
    model_config = ConfigDict(strict=True, hide_input_in_errors=True)


class _Sender(_Part):
    id: _Id
    name: _Text = ""
    role: Literal["customer", "agent"]


class _Attachment(_Part):
    url: Annotated[str, StringConstraints(min_length=1, max_length=8192)]
    media_type: _Text = ""
    name: _Text = ""


class _Inbound(_Part):
    conversation: _Id
    message_id: _Id
    text: _Text
    sender: _Sender
    sent_at: Annotated[datetime | None, BeforeValidator(_moment)] = None
    attachments: list[_Attachment] | None = None


class WebhookAdapter(ChannelAdapter):
    """Takes signed messages and posts signed ones; design.md section 5 fixes the format."""

    settings_type = WebhookSettings

    def __init__(self, channel: str, settings: WebhookSettings) -> None:
        super().__init__(channel, settings)
        self._settings = settings
        self._signature = StandardWebhook(settings.secret.get_secret_value())
        self._session: aiohttp.ClientSession | None = None
        self.capabilities = Capabilities(
            text_length=TEXT_LENGTH,
            buttons=True,
            idempotency_key=True,
            pulls_replies=settings.reply == "response",
            # With no address to push to, the next response brings what an agent wrote.
            reads_transcript=settings.callback_url is None,
        )

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def receive_webhook(self, request: WebhookRequest) -> WebhookReply:
        """Check and read one message.

        Raises:
            WebhookRejected: 400 malformed, 401 not signed by us, 405 not a POST, 413 too long.
        """
        check_form(self.channel, request)
        if fault := self._signature.fault(request.headers, request.body):
            raise WebhookRejected(self.channel, f"signature: {fault}", status=401)
        if len(request.headers["webhook-id"]) > ID_LENGTH:
            message = f"webhook-id: over {ID_LENGTH} characters"
            raise WebhookRejected(self.channel, message, status=400)
        inbound = self._parse(request.body)
        return self._accept(_to_event(self.channel, inbound, request.headers))

    def _parse(self, body: bytes) -> _Inbound:
        try:
            inbound = _Inbound.model_validate(read_json(self.channel, body))
        except ValidationError as error:
            raise WebhookRejected(self.channel, _fault_of(error), status=400) from None
        if len(inbound.text) > TEXT_LENGTH:
            message = f"text: over {TEXT_LENGTH} characters"
            raise WebhookRejected(self.channel, message, status=413)
        return inbound

    def _accept(self, event: MessageReceived) -> WebhookReply:
        if self._settings.reply == "response":
            return WebhookReply(events=(event,), headers=_JSON, respond=_respond)
        return WebhookReply(events=(event,), status=202, body=b'{"accepted": true}', headers=_JSON)

    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        """Post the message to callback_url, signed; its id is the `webhook-id` of every try.

        Raises:
            ChannelUnavailable: No answer in time, 408, 425, 429, 5xx, or a redirect.
            ChannelUnauthorized: 401 or 403.
            MessageRejected: Any other 4xx, or there is no callback_url.
        """
        address = self._settings.callback_url
        if address is None:
            raise MessageRejected(self.channel, "callback_url is not set, so this cannot be sent")
        if self._session is None:
            raise ChannelUnavailable(self.channel, "is not open")
        body = to_json(_as_sent(message))
        try:
            headers = _JSON | self._signature.headers(message.id, body, datetime.now(UTC))
            # The body of the answer means nothing to us and is not read.
            async with self._session.post(
                address, data=body.encode(), headers=headers, allow_redirects=False
            ) as response:
                given = {name.lower(): value for name, value in response.headers.items()}
                status = response.status
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError.
            # The text of the error may hold the address, which may hold a password.
            reason = f"callback_url did not answer ({type(error).__name__})"
            raise ChannelUnavailable(self.channel, reason) from None
        except ValueError:
            # It is no UTF-8, or aiohttp found a line break in it.
            raise MessageRejected(self.channel, "its id cannot be a header") from None
        reason = f"callback_url answered {status}"
        if fault := fault_of_status(self.channel, status, given, reason):
            raise fault
        return DeliveryReceipt((message.id,))


def _fault_of(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"]) or "body"
    return f"{name}: {first['msg']}"


def _to_event(channel: str, inbound: _Inbound, headers: Mapping[str, str]) -> MessageReceived:
    attachments = inbound.attachments or []
    sent_at = inbound.sent_at
    if sent_at is None:
        sent_at = datetime.fromtimestamp(float(headers["webhook-timestamp"]), UTC)
    return MessageReceived(
        event_id=headers["webhook-id"],
        conversation=ConversationId(channel, inbound.conversation),
        message_id=inbound.message_id,
        sender=Sender(inbound.sender.id, inbound.sender.role, inbound.sender.name),
        sent_at=sent_at,
        text=inbound.text,
        attachments=tuple(
            Attachment(url=one.url, media_type=one.media_type, name=one.name) for one in attachments
        ),
    )


def _respond(messages: Sequence[OutboundMessage]) -> WebhookReply:
    body = to_json({"messages": [_as_sent(message) for message in messages]})
    return WebhookReply(status=200, body=body.encode(), headers=_JSON)


def _as_sent(message: OutboundMessage) -> dict[str, Any]:
    return {
        "type": message.kind,
        "conversation": message.conversation.chat,
        "message_id": message.id,
        "text": message.text,
        "citations": [asdict(citation) for citation in message.citations],
        # Of the buttons only these can be answered in words, and words are all that comes in.
        "choices": [
            {"id": button.token, "label": button.label}
            for button in message.buttons
            if button.action == "choice"
        ],
    }


ADAPTER = WebhookAdapter
