"""`[channels.<name>]` with `platform = "onebot"`."""

from __future__ import annotations

from typing import Self

from pydantic import Field, SecretStr, model_validator

from adapters.rest import HttpAddress
from kfbot.adapter import AdapterSettings


class OneBotSettings(AdapterSettings):
    """The implementation calls us by a WebSocket, or posts and has an HTTP API of its own."""

    #: Its access_token: who opens a WebSocket at our address shows it, and so do we at its API.
    access_token: SecretStr = SecretStr("")
    #: Signs what it posts; empty: nothing may be posted.
    secret: SecretStr = SecretStr("")
    #: Its HTTP API, where it does not open a WebSocket: http://127.0.0.1:3000
    api_base: HttpAddress | None = None
    timeout_seconds: float = Field(default=10.0, gt=0, le=60)

    @model_validator(mode="after")
    def _can_be_called(self) -> Self:
        if not (self.access_token.get_secret_value() or self.secret.get_secret_value()):
            raise ValueError("access_token is needed for its WebSocket, or secret for its posts")
        if self.secret.get_secret_value() and self.api_base is None:
            raise ValueError("api_base is needed beside secret: answers go to its HTTP API")
        return self
