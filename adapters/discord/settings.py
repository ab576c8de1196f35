"""What a `[channels.<name>]` section of Discord holds."""

from __future__ import annotations

import re

from pydantic import Field, SecretStr, field_validator

from adapters.rest import HttpAddress
from kfbot.adapter import AdapterSettings


class DiscordSettings(AdapterSettings):
    """`platform = "discord"`: a bot that hears through the gateway."""

    #: As the developer portal gives it, without "Bot ".
    token: SecretStr
    #: Ask for what people write in servers without mentioning the bot, which has to be allowed in
    #: the developer portal. False: direct messages and mentions alone have texts.
    message_content: bool = True
    api_base: HttpAddress = "https://discord.com/api/v10"
    timeout_seconds: float = Field(default=10.0, gt=0, le=60)

    @field_validator("token")
    @classmethod
    def _is_token(cls, token: SecretStr) -> SecretStr:
        # It becomes a part of a header.
        if re.fullmatch(r"[A-Za-z0-9._-]{1,256}", token.get_secret_value()) is None:
            raise ValueError("must be the bot's token as the developer portal gives it")
        return token
