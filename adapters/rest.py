"""Calls of a platform's HTTP API: JSON both ways, every fault one of the three of the contract."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any

import aiohttp
from pydantic import AfterValidator
from yarl import URL

from adapters.echoes import unechoed
from kfbot.errors import ChannelError, ChannelUnauthorized, ChannelUnavailable, MessageRejected

#: A platform that asks us to wait longer is asked again after a day.
LONGEST_RETRY_AFTER_SECONDS = 86_400.0
#: Of an answer, at most so much is read.
ANSWER_BYTES = 4 * 1024 * 1024
#: Statuses that say "not now" beside 5xx; a redirect is a fault that an operator can mend.
_LATER = {408, 425, 429}
_OTHER_API = "what answers does not speak this API"


def _address(address: str) -> str:
    try:
        url = URL(address)
        known = url.scheme in {"http", "https"} and bool(url.host) and url.port is not None
    except ValueError:
        known = False
    if not known:
        raise ValueError("must be an http or https address")
    return address


#: A setting that an operator fills in: an http or https address, private ones too.
HttpAddress = Annotated[str, AfterValidator(_address)]


class RestApi:
    """One platform's API for one account. Open it before the first call and close it at the end.

    Args:
        root: What every path is appended to.
        timeout_seconds: For one call as a whole.
        fault_of: What an answer other than 2xx means, where its body says more than its status:
            called with the status, the headers (names in lower case) and the body.
    """

    def __init__(
        self,
        channel: str,
        root: str,
        *,
        timeout_seconds: float = 10.0,
        fault_of: Callable[[int, Mapping[str, str], bytes], ChannelError] | None = None,
    ) -> None:
        self._channel = channel
        self._fault_of = fault_of
        self._root = root.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Be ready for calls."""
        self._session = aiohttp.ClientSession(
            timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar()
        )

    async def close(self) -> None:
        """Let go of connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The JSON object that the API answers with; empty for an empty answer.

        Args:
            path: Begins with a slash; a whole address is called as it is.
            body: Sent as JSON; None: no body.

        Raises:
            ChannelUnavailable: No answer in time, no JSON object, 408, 425, 429, 5xx, a redirect.
            ChannelUnauthorized: 401 or 403.
            MessageRejected: Any other 4xx, or what cannot be sent by HTTP.
        """
        return self._object(
            await self._exchange(method, path, body=body, params=params, headers=headers)
        )

    async def listed(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> list[Any]:
        """The JSON list that lies at a path.

        Raises:
            ChannelUnavailable, ChannelUnauthorized, MessageRejected: As for `call`; unavailable,
                too, where there is no list.
        """
        found = _read(await self._exchange("GET", path, params=params, headers=headers))
        if not isinstance(found, list):
            raise ChannelUnavailable(self._channel, _OTHER_API)
        return found

    async def download(self, address: str, *, headers: Mapping[str, str] | None = None) -> bytes:
        """The bytes behind an address, at most ANSWER_BYTES.

        Raises:
            ChannelUnavailable, ChannelUnauthorized, MessageRejected: As for `call`; rejected, too,
                where there are more bytes.
        """
        raw = await self._exchange("GET", address, headers=headers)
        if len(raw) > ANSWER_BYTES:
            raise MessageRejected(self._channel, f"the file is over {ANSWER_BYTES} bytes")
        return raw

    async def _exchange(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """The body of an answer; of one that is too long, a byte more than ANSWER_BYTES or some."""
        if self._session is None:
            raise ChannelUnavailable(self._channel, "is not open")
        sent = None if body is None else to_json(body).encode()
        kind = {} if sent is None else {"content-type": "application/json; charset=utf-8"}
        try:
            async with self._session.request(
                method,
                path if path.startswith("http") else self._root + path,
                data=sent,
                params=params,
                headers={**kind, **(headers or {})},
                allow_redirects=False,
            ) as response:
                raw = await response.content.read(ANSWER_BYTES + 1)
                while len(raw) <= ANSWER_BYTES and (more := await response.content.read(65536)):
                    raw += more
                answered = {name.lower(): value for name, value in response.headers.items()}
                status = response.status
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError.
            # The text of the error may hold the address, which may hold a secret.
            reason = f"the platform did not answer ({type(error).__name__})"
            raise ChannelUnavailable(self._channel, reason) from None
        except ValueError:
            # aiohttp found a line break in a header, or half a character.
            raise MessageRejected(self._channel, "it cannot be sent by HTTP") from None
        if not 200 <= status < 300:
            raw = unechoed(raw, (params, headers), (path, body))
        reason = f"the platform answers {status}{_said(raw)}"
        if fault := fault_of_status(self._channel, status, answered, reason):
            raise fault if self._fault_of is None else self._fault_of(status, answered, raw)
        return raw

    def _object(self, raw: bytes) -> dict[str, Any]:
        if not raw.strip():
            return {}
        answer = _read(raw)
        if not isinstance(answer, dict):
            raise ChannelUnavailable(self._channel, _OTHER_API)
        return answer


def _read(raw: bytes) -> Any:
    """What an answer holds; None where that cannot be read."""
    try:
        return json.loads(raw) if len(raw) <= ANSWER_BYTES else None
    except (ValueError, RecursionError):
        return None


def fault_of_status(
    channel: str, status: int, headers: Mapping[str, str], reason: str
) -> ChannelError | None:
    """The error of the contract for the status of an HTTP answer; None for 2xx.

    Args:
        headers: Names in lower case.
    """
    if 200 <= status < 300:
        return None
    if status in {401, 403}:
        return ChannelUnauthorized(channel, reason)
    if status in _LATER or not 400 <= status < 500:
        wait = read_retry_after(headers.get("retry-after"), datetime.now(UTC))
        return ChannelUnavailable(channel, reason, retry_after_seconds=wait)
    return MessageRejected(channel, reason)


def _said(raw: bytes) -> str:
    """What a refusal says, as far as it can stand in one line of a log."""
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        return ""
    fields = answer if isinstance(answer, dict) else {}
    for name in ("message", "msg", "error", "errmsg", "errMsg"):
        if isinstance(said := fields.get(name), str) and said:
            return f": {''.join(one if one.isprintable() else ' ' for one in said[:200])}"
    return ""


def read_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait by a Retry-After header, which holds seconds or a date; None: no header."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        seconds = float(value[:12])
    else:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def to_json(value: Any) -> str:
    """JSON as UTF-8 can hold it: one bad character becomes a question mark and loses no message."""
    return json.dumps(value, ensure_ascii=False).encode(errors="replace").decode()
