"""What a `[channels.<name>]` section with `platform = "slack"` holds."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator
from yarl import URL

from kfbot.adapter import AgentsChatSettings

_APP_PAGE = "api.slack.com/apps"


class SlackSettings(AgentsChatSettings):
    """`platform = "slack"`; `agents_chat` is the id of a channel, as in its "About": C0123…"""

    model_config = ConfigDict(hide_input_in_errors=True)

    #: `xoxb-…`, of "OAuth & Permissions".
    bot_token: SecretStr
    #: `xapp-…` with connections:write, of "Basic Information"; socket mode needs it.
    app_token: SecretStr | None = None
    #: Of "Basic Information"; http mode needs it.
    signing_secret: SecretStr | None = None
    #: "http": Slack calls /webhooks/<channel>. "socket": we call Slack, no public address is
    #: needed. Left out: socket with an app_token and no signing_secret, else http.
    mode: Literal["http", "socket"] | None = None
    #: It may hold a password, so it does not print.
    api_base: str = Field(default="https://slack.com/api/", repr=False)

    @field_validator("bot_token", "app_token", "signing_secret")
    @classmethod
    def _is_sendable(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None:
            value = secret.get_secret_value()
            if not value or not value.isascii() or not value.isprintable() or " " in value:
                raise ValueError(f"must be copied whole from {_APP_PAGE}, without blanks")
        return secret

    @field_validator("bot_token")
    @classmethod
    def _is_bot_token(cls, token: SecretStr) -> SecretStr:
        if token.get_secret_value().startswith("xapp-"):
            raise ValueError("is an app token: the bot token begins with xoxb-")
        return token

    @field_validator("app_token")
    @classmethod
    def _is_app_token(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and token.get_secret_value().startswith("xox"):
            raise ValueError("is a bot or user token: the app token begins with xapp-")
        return token

    @field_validator("api_base")
    @classmethod
    def _is_address(cls, address: str) -> str:
        try:
            url = URL(address)
            known = url.scheme in {"http", "https"} and bool(url.host) and url.port is not None
        except ValueError:
            known = False
        if not known:
            raise ValueError("must be an http or https address")
        return address if address.endswith("/") else f"{address}/"

    @model_validator(mode="after")
    def _mode_has_its_secret(self) -> Self:
        if self.is_socket and self.app_token is None:
            raise ValueError(f'app_token (xapp-…) is needed for mode = "socket": {_APP_PAGE}')
        if not self.is_socket and self.signing_secret is None:
            raise ValueError(
                'signing_secret is needed for mode = "http", or app_token for "socket":'
                f" {_APP_PAGE}"
            )
        return self

    @property
    def is_socket(self) -> bool:
        """True: we open a connection to Slack; False: Slack calls us."""
        if self.mode is not None:
            return self.mode == "socket"
        return self.app_token is not None and self.signing_secret is None
