"""OpenIM: its callbacks come in, answers go out by its REST API.

Format: github.com/openimsdk/open-im-server, pkg/callbackstruct and pkg/apistruct, of versions 3.0
to 3.8; what an older server does differently is said where it matters.
"""

from __future__ import annotations

import hmac
import re
import uuid
from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, Field, SecretStr, field_validator

from adapters.access_tokens import AccessToken, LentToken
from adapters.openim.reading import read_message, receiver_of
from adapters.plain_text import to_plain_text
from adapters.requests import check_form, read_object
from adapters.rest import HttpAddress, RestApi
from kfbot.adapter import (
    AdapterSettings,
    Capabilities,
    ChannelAdapter,
    WebhookReply,
    WebhookRequest,
)
from kfbot.errors import (
    ChannelError,
    ChannelUnauthorized,
    ChannelUnavailable,
    MessageRejected,
    WebhookRejected,
)
from kfbot.messages import DeliveryReceipt, OutboundMessage

#: Everything else that a server calls us for is allowed, and means nothing.
_AFTER = {"callbackAfterSendSingleMsgCommand", "callbackAfterSendGroupMsgCommand"}
#: actionCode 0 lets the message pass. The server reads nothing but these fields.
_ALLOWED = b'{"actionCode":0,"errCode":0,"errMsg":"","errDlt":"","nextCode":0}'
_JSON = {"content-type": "application/json"}
#: pkg/common/servererrs/code.go: the token is expired, invalid, kicked, unknown …
_TOKEN = range(1501, 1508)
_NO_PERMISSION = 1002
#: Faults of the server: inside of it, of its callbacks, of its databases and its network.
_ITS_OWN = {500, 1000, 80000, 90002, 90004, 90007}
#: Arguments, unknown user or group, not a member, blocked, no friend, muted.
_NEVER = {1001, 1004, 1101, 1201, 1203, 1204, 1205, 1302, 1303, 1402, 1403}
#: A callback of the operator's own refused it: codes that OpenIM leaves to them.
_THEIRS = range(20001, 30000)
#: The platform that a message is shown to come from: 5 is the web.
_WEB = 5
_TEXT = 101


class OpenImSettings(AdapterSettings):
    """`platform = "openim"`."""

    model_config = ConfigDict(hide_input_in_errors=True)

    #: Root of OpenIM's REST API, port 10002. It may hold a password, so it does not print.
    api_base: HttpAddress = Field(repr=False)
    #: `secret` of OpenIM's config/share.yml: tokens are lent for it.
    secret: SecretStr
    #: The user whom a token is lent to, an administrator of the server: only those may send.
    admin_id: str = Field(default="imAdmin", min_length=1)
    #: The registered user as whom the bot writes, and to whom customers write.
    bot_id: str = Field(min_length=1)
    #: A part of the callback's address, since OpenIM signs nothing: /webhooks/<channel>/<secret>
    webhook_secret: SecretStr
    #: The name and the picture that go with each message; empty: those of the user.
    nickname: str = ""
    face_url: str = ""
    #: User ids of your people. What they write to a customer in a group, and what is written by
    #: hand with the bot's own account if it is among them, takes the conversation over.
    agents: tuple[str, ...] = ()
    #: User ids of other bots: what they write is not read.
    bots: tuple[str, ...] = ()
    timeout_seconds: float = Field(default=10.0, gt=0, le=60)

    @field_validator("webhook_secret")
    @classmethod
    def _fits_an_address(cls, secret: SecretStr) -> SecretStr:
        if not re.fullmatch(r"[A-Za-z0-9_-]{16,255}", secret.get_secret_value()):
            raise ValueError("must be 16 to 255 of A-Z a-z 0-9 _ -")
        return secret


class OpenImAdapter(ChannelAdapter):
    """One user of an OpenIM server. The server calls us for every message that anybody sends."""

    settings_type = OpenImSettings
    webhook_paths = True

    def __init__(self, channel: str, settings: OpenImSettings) -> None:
        super().__init__(channel, settings)
        self._settings = settings
        self._api = RestApi(channel, settings.api_base, timeout_seconds=settings.timeout_seconds)
        self._token = AccessToken(self._lend)
        # No key makes send_msg drop a repeat: the server gives every call a clientMsgID of its own.
        self.capabilities = Capabilities()

    async def open(self) -> None:
        await self._api.open()

    async def close(self) -> None:
        await self._api.close()

    async def check(self) -> str:
        """Who the bot is on the server.

        Raises:
            ChannelUnavailable: It did not answer.
            ChannelUnauthorized: No token is lent, or there is no such user.
        """
        bot = self._settings.bot_id
        data = await self._call("/user/get_users_info", {"userIDs": [bot]}, "check")
        listed = data.get("usersInfo")
        users = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        found = next((user for user in users if user.get("userID") == bot), None)
        if found is None:
            raise ChannelUnauthorized(
                self.channel, f"there is no user {bot}: register it on the server, or set bot_id"
            )
        name = str(found.get("nickname") or "without a name")
        return f"{bot} ({name}), sends by {self._settings.admin_id}"

    async def receive_webhook(self, request: WebhookRequest) -> WebhookReply:
        """Read a callback; only those after a message was sent lead to an event.

        Raises:
            WebhookRejected: 400 malformed, 401 without the secret, 404 no address of ours, 405 not
                a POST, 413 too long.
        """
        check_form(self.channel, request)
        named = self._command_of(request)
        body = read_object(self.channel, request.body)
        command = body.get("callbackCommand") or named
        if not isinstance(command, str) or not command:
            raise WebhookRejected(self.channel, "callbackCommand is missing", status=400)
        if named and named != command:
            raise WebhookRejected(self.channel, "callbackCommand is not the address's", status=400)
        event = None
        if command in _AFTER:
            settings = self._settings
            event = read_message(
                self.channel,
                body,
                bot=settings.bot_id,
                nickname=settings.nickname,
                agents=frozenset(settings.agents),
                others=frozenset(settings.bots),
            )
        return WebhookReply(events=(event,) if event else (), body=_ALLOWED, headers=_JSON)

    def _command_of(self, request: WebhookRequest) -> str:
        """The command that the address names, if it has the secret.

        A server puts /COMMAND, an older one ?command=COMMAND, behind the address that it was given,
        whatever that ends in: a secret in the query has the command stuck to it.
        """
        if "secret" in request.query:
            given, *rest = re.split(r"[/?]", request.query["secret"], maxsplit=1)
            rest = [part.removeprefix("command=") for part in rest]
            rest += request.path.split("/") if request.path else []
        else:
            given, *rest = request.path.split("/")
        known = self._settings.webhook_secret.get_secret_value().encode()
        if not hmac.compare_digest(given.encode(errors="replace"), known):
            raise WebhookRejected(self.channel, "the address lacks the secret", status=401)
        if len(rest := [part for part in rest if part]) > 1:
            raise WebhookRejected(self.channel, "there is nothing at this address", status=404)
        return rest[0] if rest else request.query.get("command", "")

    async def send(self, message: OutboundMessage) -> DeliveryReceipt:
        """Send a text as the bot's user.

        Raises:
            ChannelUnavailable: No answer in time, or the server has a fault of its own.
            ChannelUnauthorized: No token is lent, or the admin may not send.
            MessageRejected: There is nothing to show, or the server will never take it.
        """
        text = to_plain_text(message)
        if not text:
            raise MessageRejected(self.channel, "there is nothing to show")
        data = await self._call("/msg/send_msg", self._as_sent(message, text), message.id)
        ids = (data.get("serverMsgID"), data.get("clientMsgID"))
        return DeliveryReceipt(tuple(one for one in ids if isinstance(one, str) and one))

    def _as_sent(self, message: OutboundMessage, text: str) -> dict[str, Any]:
        settings = self._settings
        return receiver_of(message.conversation) | {
            "sendID": settings.bot_id,
            "senderNickname": settings.nickname,
            "senderFaceURL": settings.face_url,
            "senderPlatformID": _WEB,
            "content": {"content": text},
            "contentType": _TEXT,
            "isOnlineOnly": False,
            "notOfflinePush": False,
        }

    async def _call(self, path: str, body: Mapping[str, Any], trace: str) -> dict[str, Any]:
        """The `data` of an answer; a token that is refused is renewed once.

        Args:
            trace: Begins the operationID, by which the server's log is searched.
        """
        fault: ChannelError
        for _ in range(2):
            token = await self._token.get()
            headers = _trace(trace) | {"token": token}
            try:
                answer = await self._api.call("POST", path, body=body, headers=headers)
                code = _code_of(self.channel, answer)
            except ChannelUnauthorized as error:
                code, fault = _TOKEN[0], error
            else:
                if not code:
                    data = answer.get("data")
                    return data if isinstance(data, dict) else {}
                fault = self._fault(code, answer)
            if code not in _TOKEN:
                break
            self._token.refused(token)
        raise fault

    def _fault(self, code: int, answer: Mapping[str, Any]) -> ChannelError:
        reason = f"OpenIM answers {code}{_said(answer)}"
        if code in _TOKEN:
            return ChannelUnauthorized(self.channel, reason)
        if code == _NO_PERMISSION:
            reason += f": admin_id {self._settings.admin_id} must be an administrator of the server"
            return ChannelUnauthorized(self.channel, reason)
        if code in _NEVER or code in _THEIRS:
            return MessageRejected(self.channel, reason)
        return ChannelUnavailable(self.channel, reason)

    async def _lend(self) -> LentToken:
        """A token of the admin's; servers before 3.8 know the second address alone."""
        secret = self._settings.secret.get_secret_value()
        asked = {"secret": secret, "userID": self._settings.admin_id}
        refusals = []
        for path in ("/auth/get_admin_token", "/auth/user_token"):
            body = asked | {"platformID": _WEB} if path == "/auth/user_token" else asked
            try:
                answer = await self._api.call("POST", path, body=body, headers=_trace("token"))
                code = _code_of(self.channel, answer)
            except MessageRejected:
                continue
            if code:
                refusals.append((code, f"{code}{_said(answer)}"))
            elif lent := _lent(answer.get("data")):
                return lent
        if not refusals:
            raise ChannelUnavailable(self.channel, "api_base leads to no OpenIM server")
        said = ", ".join(said for _, said in refusals)
        if any(code in _ITS_OWN for code, _ in refusals):
            raise ChannelUnavailable(self.channel, f"OpenIM lends no token now ({said})")
        reason = f"OpenIM lends no token ({said}): correct secret and admin_id"
        raise ChannelUnauthorized(self.channel, reason)


def _lent(data: Any) -> LentToken | None:
    """A token and its time, which some versions write as a text."""
    token = data.get("token") if isinstance(data, dict) else None
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
        return None
    seconds = str(data.get("expireTimeSeconds", ""))
    return LentToken(token, float(seconds) if re.fullmatch(r"[0-9]{1,12}", seconds) else 3600.0)


def _code_of(channel: str, answer: Mapping[str, Any]) -> int:
    code = answer.get("errCode")
    if not isinstance(code, int):
        raise ChannelUnavailable(channel, "api_base leads to no OpenIM server")
    return code


def _said(answer: Mapping[str, Any]) -> str:
    said = str(answer.get("errMsg") or "")[:200]
    return f" {''.join(one if one.isprintable() else ' ' for one in said)}" if said else ""


def _trace(name: str) -> dict[str, str]:
    """The header that every call must have: another one each time, alike for one message."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64]
    return {"operationID": f"kfbot-{plain}-{uuid.uuid4().hex[:12]}"}
