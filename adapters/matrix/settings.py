"""What a `[channels.<name>]` section of Matrix holds."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from adapters.rest import HttpAddress
from kfbot.adapter import AgentsChatSettings

#: "shop.example", "127.0.0.1:8448", "[::1]"; with "@name:" in front of it: a user.
_SERVER_OR_USER = re.compile(r"(@[!-9;-~]+:)?[0-9A-Za-z.\-\[\]:]+")


class MatrixSettings(AgentsChatSettings):
    """`platform = "matrix"`."""

    #: Where the client API of the bot's homeserver is: "https://matrix.shop.example".
    homeserver: HttpAddress = Field(repr=False)
    #: Of the bot's account, as a login gives it.
    access_token: SecretStr
    #: Whose invitations the bot accepts: those of users of its own homeserver, everybody's, or
    #: those of these servers ("shop.example") and users ("@li:shop.example").
    invites: Literal["own", "all"] | tuple[str, ...] = "own"

    @field_validator("access_token")
    @classmethod
    def _is_token(cls, token: SecretStr) -> SecretStr:
        # It becomes a header.
        if re.fullmatch(r"[!-~]{1,1024}", token.get_secret_value()) is None:
            raise ValueError("must be the access token of a login: syt_…")
        return token

    @field_validator("agents_chat")
    @classmethod
    def _is_room(cls, room: str) -> str:
        if room and re.fullmatch(r"![!-~]{1,254}", room) is None:
            raise ValueError('must be the id of a room of agents: "!abc…", not its name or address')
        return room

    @field_validator("invites")
    @classmethod
    def _are_known(cls, invites: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(invites, tuple) and not all(map(_SERVER_OR_USER.fullmatch, invites)):
            raise ValueError('must be "own", "all", or servers and users: ["shop.example"]')
        return invites
