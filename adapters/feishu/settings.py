"""What a `[channels.<name>]` section with `platform = "feishu"` holds."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import (
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    field_validator,
    model_validator,
)

from adapters.rest import HttpAddress
from kfbot.adapter import AdapterSettings

_STRATEGY = "Events & Callbacks > Encryption Strategy"


class FeishuSettings(AdapterSettings):
    """`platform = "feishu"`; people are named by their open_id, `ou_…`, which is the app's own."""

    model_config = ConfigDict(hide_input_in_errors=True)

    #: `cli_…`, of "Credentials & Basic Info".
    app_id: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,100}$")]
    app_secret: SecretStr
    #: Requests are signed and encrypted with it.
    encrypt_key: SecretStr | None = None
    #: Stands in every request; without encrypt_key it is all that proves where they come from.
    verification_token: SecretStr | None = None
    #: Lark outside of China: https://open.larksuite.com. It may hold a password: not printed.
    api_base: HttpAddress = Field(default="https://open.feishu.cn", repr=False)

    @field_validator("app_secret", "encrypt_key", "verification_token")
    @classmethod
    def _is_whole(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None:
            value = secret.get_secret_value()
            if not value or not value.isprintable() or value != value.strip():
                raise ValueError("must be copied whole from the developer console")
        return secret

    @model_validator(mode="after")
    def _requests_can_be_checked(self) -> Self:
        if self.encrypt_key is None and self.verification_token is None:
            raise ValueError(f"encrypt_key or verification_token is needed: {_STRATEGY}")
        return self
