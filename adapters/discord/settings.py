"""What a `[channels.<name>]` section of Discord holds."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from adapters.rest import HttpAddress
from kfbot.adapter import AdapterSettings


class DiscordSettings(AdapterSettings):
    """`platform = "discord"`: a bot that hears through the gateway, by HTTP, or both."""

    #: As the developer portal gives it, without "Bot ".
    token: SecretStr
    #: Ask for what people write in servers without mentioning the bot, which has to be allowed in
    #: the developer portal. False: direct messages and mentions alone have texts.
    message_content: bool = True
    #: "interactions": no connection is opened; Discord posts the slash command and presses of
    #: buttons to /webhooks/<channel>, and nothing else is heard.
    mode: Literal["gateway", "interactions"] = "gateway"
    #: Of the app, in hex: what it signed is taken at /webhooks/<channel>. "": nothing is.
    public_key: str = Field(default="", pattern=r"^([0-9A-Fa-f]{64})?$")
    #: Have Discord offer /ask. False: the app's commands are left as they are.
    register_command: bool = True
    #: What was written so long before now, while the bot heard nothing, is answered later.
    catch_up_minutes: int = Field(default=1440, ge=0, le=1440)
    api_base: HttpAddress = "https://discord.com/api/v10"
    timeout_seconds: float = Field(default=10.0, gt=0, le=60)

    @field_validator("token")
    @classmethod
    def _is_token(cls, token: SecretStr) -> SecretStr:
        # It becomes a part of a header.
        if re.fullmatch(r"[A-Za-z0-9._-]{1,256}", token.get_secret_value()) is None:
            raise ValueError("must be the bot's token as the developer portal gives it")
        return token

    @model_validator(mode="after")
    def _can_hear(self) -> Self:
        if self.mode == "interactions" and not self.public_key:
            raise ValueError('mode = "interactions" needs the public_key of the app')
        return self
