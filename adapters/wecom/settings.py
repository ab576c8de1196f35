"""What a `[channels.<name>]` section of WeCom holds."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    field_validator,
    model_validator,
)

from adapters.rest import HttpAddress
from adapters.wecom.callbacks import key_of
from kfbot.adapter import AdapterSettings

_KfId = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_-]{1,64}$")]
_UserId = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_.@-]{0,64}$")]


class WeComSettings(AdapterSettings):
    """`platform = "wecom"`."""

    model_config = ConfigDict(hide_input_in_errors=True)

    #: 我的企业 → 企业信息 → 企业ID.
    corp_id: str = Field(pattern=r"^[0-9A-Za-z_-]{1,64}$")
    #: The app's Secret.
    secret: SecretStr
    #: Token of 接收消息 → 设置API接收.
    token: SecretStr
    #: EncodingAESKey of the same page: 43 letters and digits.
    encoding_aes_key: SecretStr
    #: AgentId of a self-built app whose users are answered; None with `kf_accounts`.
    agent_id: int | None = Field(default=None, ge=0)
    #: Ids of the customer-service accounts (open_kfid, "wk…") that are answered.
    kf_accounts: tuple[_KfId, ...] = ()
    #: Where agents work on those accounts. "wecom": a handoff moves the session to the people of
    #: the account, in WeCom. "desk": agents answer from kfbot's desk.
    kf_agents: Literal["wecom", "desk"] = "wecom"
    #: User id of the one who gets every handoff; "": whoever takes it out of the account's queue.
    kf_servicer: _UserId = ""
    #: What customers wrote so long before a start is answered; what is older is left to people.
    kf_catch_up_minutes: int = Field(default=60, ge=0, le=1440)
    #: Key of a group robot's webhook: what agents are to know of a handoff is posted there, since
    #: WeCom shows them no notes. None: nowhere.
    robot_key: SecretStr | None = None
    #: Root of WeCom's API; another one for a proxy with an address that WeCom trusts.
    api_base: HttpAddress = Field(default="https://qyapi.weixin.qq.com", repr=False)

    @field_validator("encoding_aes_key")
    @classmethod
    def _is_key(cls, key: SecretStr) -> SecretStr:
        key_of(key.get_secret_value())
        return key

    @field_validator("secret", "token", "robot_key")
    @classmethod
    def _is_word(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and not re.fullmatch(r"[!-~]{1,256}", secret.get_secret_value()):
            raise ValueError("must be 1 to 256 characters of ASCII without spaces")
        return secret

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if (self.agent_id is None) == (not self.kf_accounts):
            raise ValueError(
                "set agent_id (an app) or kf_accounts (customer service); for both, two channels"
            )
        if not self.kf_accounts and self.robot_key is not None:
            raise ValueError("robot_key is for kf_accounts: an app's agents work at kfbot's desk")
        return self

    @property
    def hands_over(self) -> bool:
        """True where agents work in WeCom itself."""
        return bool(self.kf_accounts) and self.kf_agents == "wecom"
