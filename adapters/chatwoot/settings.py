"""What a `[channels.<name>]` section of Chatwoot holds."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from adapters.rest import HttpAddress
from kfbot.adapter import AdapterSettings

_Number = Annotated[int, Field(ge=1)]


class ChatwootSettings(AdapterSettings):
    """`platform = "chatwoot"`."""

    model_config = ConfigDict(hide_input_in_errors=True)

    #: "https://app.chatwoot.com", or a Chatwoot of your own. It may hold a password, so it does
    #: not print.
    base_url: HttpAddress = Field(repr=False)
    #: The access token of the agent bot.
    bot_token: SecretStr
    #: As in /app/accounts/1/…: those whose conversations are ours.
    account_ids: tuple[_Number, ...] = Field(min_length=1)
    #: The agent bot's secret, with which Chatwoot signs since 4.13.
    webhook_secret: SecretStr | None = None
    #: For a Chatwoot that signs nothing: the address that is entered there ends in ?secret=…
    url_secret: SecretStr | None = None
    #: A handoff is assigned to it, as in /app/accounts/1/settings/teams/3/edit.
    team_id: _Number | None = None

    @field_validator("bot_token", "webhook_secret", "url_secret")
    @classmethod
    def _is_whole(cls, secret: SecretStr | None) -> SecretStr | None:
        value = "x" if secret is None else secret.get_secret_value()
        if not value or not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("must be copied whole, without blanks")
        return secret

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.webhook_secret is None and self.url_secret is None:
            raise ValueError("webhook_secret is needed, or url_secret where Chatwoot signs nothing")
        if self.team_id is not None and len(self.account_ids) > 1:
            raise ValueError("team_id: a team is of one account; make a channel for each account")
        return self
