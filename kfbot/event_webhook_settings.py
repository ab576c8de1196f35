"""`[event_webhooks.<name>]`: systems that are told what happens to conversations."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator
from standardwebhooks import Webhook
from yarl import URL

ConversationEvent = Literal[
    "conversation.handed_off",
    "conversation.claimed",
    "conversation.handed_back",
    "conversation.resolved",
    "feedback.given",
    "customer.erased",
]
_SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{14,}={0,2}")
EventWebhookName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


def _http_address(address: str) -> str:
    try:
        url = URL(address)
        is_known = url.scheme in {"http", "https"} and bool(url.host) and url.port is not None
    except ValueError:
        is_known = False
    if not is_known:
        raise ValueError("must be an http or https address")
    return address


class EventWebhookSettings(BaseModel):
    """One system that follows conversations: a CRM, a ticket system, a spreadsheet."""

    # Errors must not show values: a section holds secrets.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    #: Where events are posted. It may hold a key, so it does not print.
    url: Annotated[str, AfterValidator(_http_address)] = Field(repr=False)
    #: `whsec_` and base64: signs what is posted, as the Standard Webhooks spec has it.
    secret: SecretStr
    #: What is told; empty: everything.
    events: tuple[ConversationEvent, ...] = ()
    #: Of which channels; empty: of all.
    channels: tuple[str, ...] = ()
    timeout_seconds: float = Field(default=10.0, gt=0, le=60)

    @field_validator("secret")
    @classmethod
    def _is_secret(cls, secret: SecretStr) -> SecretStr:
        # The library drops what is not base64 and signs with what is left, whatever that is.
        if not _SECRET.fullmatch(value := secret.get_secret_value()):
            raise ValueError("must be whsec_ followed by base64, as `openssl rand -base64 32` says")
        try:
            Webhook(value)
        except ValueError:
            raise ValueError("must be whsec_ followed by base64") from None
        return secret

    def wants(self, event: str, channel: str) -> bool:
        """Whether it is told of such an event in a channel."""
        return event in (self.events or get_args(ConversationEvent)) and (
            not self.channels or channel in self.channels
        )
