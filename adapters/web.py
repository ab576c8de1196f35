"""The web chat: what a visitor's page posts becomes events; the page reads its own transcript."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from kfbot.adapter import (
    AdapterSettings,
    Capabilities,
    ChannelAdapter,
    WebhookReply,
    WebhookRequest,
)
from kfbot.errors import WebhookRejected
from kfbot.messages import (
    ButtonPressed,
    ConversationId,
    DeliveryReceipt,
    InboundEvent,
    MessageReceived,
    OutboundMessage,
    Sender,
)

#: Longest text of one message, in characters.
TEXT_LENGTH = 20_000

_Visitor = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~-]{1,128}$")]
_ClientId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~-]{1,64}$")]
_Token = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,32}$")]


class WebSettings(AdapterSettings):
    """`platform = "web"` needs nothing else."""

    #: Pages and programs may ask as fast as they like, unless the operator says otherwise.
    messages_per_minute: int = Field(default=0, ge=0, le=1000)


class _Post(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    #: The visitor, unless the query names it.
    conversation: _Visitor | None = None
    #: Made by the page; the same for every try of one message.
    message_id: _ClientId
    text: str | None = None
    press: _Token | None = None

    @model_validator(mode="after")
    def _one_of_text_and_press(self) -> Self:
        if (self.text is None) == (self.press is None):
            raise ValueError("one of text and press is needed")
        return self


class WebAdapter(ChannelAdapter):
    """One conversation a visitor. Whoever calls it has authenticated the visitor's id."""

    settings_type = WebSettings
    internal = True
    capabilities = Capabilities(
        text_length=TEXT_LENGTH,
        buttons=True,
        pulls_replies=True,
        reads_transcript=True,
        reads_drafts=True,
    )

    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        """Nothing to do: the page is sent the transcript."""
        return DeliveryReceipt()

    async def receive_webhook(self, request: WebhookRequest) -> WebhookReply:
        """Read one post of the page: a text, or the button that was pressed.

        Raises:
            WebhookRejected: 400 malformed, 405 not a POST, 413 text too long.
        """
        if request.method != "POST":
            raise WebhookRejected(self.channel, "only POST is answered", status=405)
        event = self._to_event(self._parse(request.body), request.query)
        return WebhookReply(
            events=(event,),
            status=202,
            body=b'{"accepted": true}',
            headers={"content-type": "application/json"},
        )

    def _parse(self, body: bytes) -> _Post:
        try:
            return _Post.model_validate_json(body)
        except ValidationError as error:
            raise WebhookRejected(self.channel, _fault(error), status=400) from None

    def _to_event(self, post: _Post, query: Mapping[str, str]) -> InboundEvent:
        visitor = self._visitor(post, query)
        event_id = f"{visitor}:{post.message_id}"
        conversation = ConversationId(self.channel, visitor)
        now = datetime.now(UTC)
        if post.press is not None:
            return ButtonPressed(
                event_id=event_id,
                conversation=conversation,
                token=post.press,
                message_id=post.message_id,
                sender=Sender(id=visitor),
                sent_at=now,
            )
        return MessageReceived(
            event_id=event_id,
            conversation=conversation,
            message_id=post.message_id,
            sender=Sender(id=visitor),
            sent_at=now,
            text=self._checked(post.text or ""),
        )

    def _visitor(self, post: _Post, query: Mapping[str, str]) -> str:
        # The server writes the visitor that it knows into the query; a page that names another
        # speaks for somebody else.
        known = query.get("conversation")
        if known is not None and post.conversation not in (None, known):
            raise WebhookRejected(self.channel, "conversation: is another visitor's", status=400)
        visitor = known or post.conversation
        if not visitor:
            raise WebhookRejected(self.channel, "conversation: Field required", status=400)
        return visitor

    def _checked(self, text: str) -> str:
        if len(text) > TEXT_LENGTH:
            message = f"text: longer than {TEXT_LENGTH} characters"
            raise WebhookRejected(self.channel, message, status=413)
        if not text.strip():
            raise WebhookRejected(self.channel, "text: is empty", status=400)
        # PostgreSQL keeps no NUL in a text.
        return text.replace("\0", "\ufffd")


def _fault(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    return f"{name}: {first['msg']}" if name else first["msg"]


ADAPTER = WebAdapter
