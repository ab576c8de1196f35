"""What a `[channels.<name>]` section of Telegram holds."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator
from yarl import URL

from kfbot.adapter import AgentsChatSettings


class TelegramSettings(AgentsChatSettings):
    """`platform = "telegram"`."""

    model_config = ConfigDict(hide_input_in_errors=True)

    #: As @BotFather gives it: "123456:ABC…".
    token: SecretStr
    #: Root of the Bot API; another one for a Bot API server of your own.
    api_base: str = Field(default="https://api.telegram.org", repr=False)
    #: "polling": we ask Telegram, and need no public address. "webhook": Telegram calls
    #: /webhooks/<channel>.
    mode: Literal["polling", "webhook"] = "polling"
    #: What Telegram shows us in webhook mode; 1 to 256 of A-Z, a-z, 0-9, _ and -.
    webhook_secret: SecretStr | None = None
    #: The public https address of /webhooks/<channel>, told to Telegram at the start; without
    #: it you call setWebhook yourself.
    webhook_url: str | None = None

    @field_validator("token")
    @classmethod
    def _is_token(cls, token: SecretStr) -> SecretStr:
        # It becomes a part of addresses.
        if re.fullmatch(r"[A-Za-z0-9:_-]{1,256}", token.get_secret_value()) is None:
            raise ValueError("must be the token as @BotFather gives it: 123456:ABC…")
        return token

    @field_validator("agents_chat")
    @classmethod
    def _is_group(cls, chat: str) -> str:
        if chat and re.fullmatch(r"-[0-9]{1,18}", chat) is None:
            raise ValueError('must be the id of a group of agents: "-1001234567890"')
        return chat

    @field_validator("webhook_secret")
    @classmethod
    def _is_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        given = secret.get_secret_value() if secret is not None else None
        if given is not None and re.fullmatch(r"[A-Za-z0-9_-]{1,256}", given) is None:
            raise ValueError("must be 1 to 256 of A-Z, a-z, 0-9, _ and -")
        return secret

    @field_validator("api_base", "webhook_url")
    @classmethod
    def _is_address(cls, address: str | None) -> str | None:
        if address is None:
            return None
        try:
            url = URL(address)
            known = url.scheme in {"http", "https"} and bool(url.host) and url.port is not None
        except ValueError:
            known = False
        if not known:
            raise ValueError("must be an http or https address")
        return address.rstrip("/")

    @model_validator(mode="after")
    def _webhook_has_secret(self) -> Self:
        if self.mode == "webhook" and self.webhook_secret is None:
            raise ValueError('webhook_secret is needed with mode = "webhook"')
        return self
