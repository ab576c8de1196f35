"""One polite HTTP client for all sources of a load: pauses, retries, limits of size and time."""

from __future__ import annotations

import math
import random
import time
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, Self

import httpcore
import httpx

from kfbot import __version__
from knowledge.sources.addresses import AddressRefused, GuardedBackend, Resolve, resolve

#: By which robots.txt knows us.
ROBOT = "kfbot"
USER_AGENT = f"{ROBOT}/{__version__} (reads documents for a customer-service bot)"
#: What no page or file may be larger than, unpacked.
MOST_BYTES = 50 * 1024 * 1024

_ATTEMPTS = 3
_BACKOFF_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 120.0
_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
#: Pages of a host that fail one after the other before it counts as down.
_MOST_FAILURES = 5
_TIMEOUTS = {"connect": 10.0, "read": 20.0, "write": 20.0, "pool": 10.0}
_TRY_AGAIN = frozenset({429, 500, 502, 503, 504})

#: "gone": what came from there goes too; "refused": we do not read it; "barred": the server does
#: not show it to us; "unreachable": perhaps later; "down": nor is anything else on that host.
Fate = Literal["gone", "refused", "barred", "unreachable", "down"]


class FetchFault(Exception):
    """An address gives no page; the text says why, in a few words."""

    def __init__(self, fate: Fate, reason: str) -> None:
        super().__init__(reason)
        self.fate = fate
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said."""

    status: int
    #: By name in small letters.
    headers: Mapping[str, str]
    #: Unpacked; empty unless the status is 200.
    body: bytes


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str
    #: Before the next attempt; more than is ever waited: there is none.
    wait_seconds: float
    #: Other pages of the host would fail the same way.
    is_down: bool = False


class Client:
    """Asks for pages, one at a time, each host no faster than it likes. Not for several threads."""

    def __init__(
        self,
        *,
        allow_private: bool,
        lookup: Resolve = resolve,
        sleep: Callable[[float], None] = time.sleep,
        longest_seconds: float = 120.0,
    ) -> None:
        """Prepare, without connecting.

        Args:
            allow_private: See `Fetching`.
            lookup: Turns host names into addresses.
            sleep: Waits for so many seconds.
            longest_seconds: One request takes no longer, whatever the server does.
        """
        self._backend = GuardedBackend(allow_private=allow_private, lookup=lookup)
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(), network_backend=self._backend
        )
        self._sleep = sleep
        self._longest_seconds = longest_seconds
        self._authorizations: dict[tuple[str, str, int | None], str] = {}
        self._pauses: dict[str, float] = {}
        self._last_asked: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._down: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    def log_in(self, url: httpx.URL) -> None:
        """Use the user name and password of an address for all of its host, and nowhere else."""
        if url.userinfo:
            said = f"{url.username}:{url.password}".encode()
            self._authorizations[_origin(url)] = "Basic " + b64encode(said).decode()

    def slow_down(self, host: str, seconds: float) -> None:
        """Pause so long between two requests to a host."""
        self._pauses[host] = min(max(seconds, _PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)

    def is_down(self, host: str) -> bool:
        """True for a host that is not asked any more, having failed."""
        return host in self._down

    def get(self, url: httpx.URL, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask for an address; redirects are not followed.

        Raises:
            FetchFault: "refused", "unreachable" or "down": there is no answer worth having.
        """
        if reason := self._down.get(url.host):
            raise FetchFault("down", reason)
        for attempt in range(1, _ATTEMPTS + 1):
            self._wait_turn(url.host)
            got = self._try(url, headers or {}, _BACKOFF_SECONDS * 4 ** (attempt - 1))
            if isinstance(got, Answer):
                self._failures.pop(url.host, None)
                return got
            if attempt == _ATTEMPTS or got.wait_seconds > _LONGEST_WAIT_SECONDS:
                raise self._failed(url.host, got)
            # Noise, so that two replicas do not come back at the same moment.
            self._sleep(got.wait_seconds * random.uniform(1.0, 1.25))  # noqa: S311
        raise AssertionError("every attempt ends here or above")

    def _try(
        self, url: httpx.URL, headers: Mapping[str, str], wait_seconds: float
    ) -> Answer | _Failure:
        try:
            answer = self._ask(url, headers)
        except AddressRefused as error:
            return _Failure(str(error), math.inf, is_down=True)
        except (httpcore.ReadTimeout, httpcore.WriteTimeout):
            return _Failure("it takes too long to answer", math.inf)
        except httpcore.TimeoutException:
            return _Failure("it does not answer", wait_seconds, is_down=True)
        except httpcore.ConnectError as error:
            return _Failure(f"it cannot be connected to: {error}", wait_seconds, is_down=True)
        except (httpcore.NetworkError, httpcore.ProtocolError, zlib.error, EOFError) as error:
            return _Failure(f"its answer is broken ({error})", wait_seconds)
        if answer.status not in _TRY_AGAIN:
            return answer
        wait = _retry_after_seconds(answer.headers.get("retry-after", ""), wait_seconds)
        reason = f"the server answers {answer.status}"
        if wait > _LONGEST_WAIT_SECONDS:
            reason += f" and asks to come back in {wait:.0f} s"
        return _Failure(reason, wait)

    def _failed(self, host: str, failure: _Failure) -> FetchFault:
        failures = self._failures[host] = self._failures.get(host, 0) + 1
        if not failure.is_down and failures < _MOST_FAILURES:
            return FetchFault("unreachable", failure.reason)
        self._down[host] = failure.reason
        return FetchFault("down", failure.reason)

    def _wait_turn(self, host: str) -> None:
        last = self._last_asked.get(host)
        if last is not None:
            left = last + self._pauses.get(host, _PAUSE_SECONDS) - time.monotonic()
            if left > 0:
                self._sleep(left)

    def _ask(self, url: httpx.URL, headers: Mapping[str, str]) -> Answer:
        sent: dict[bytes | str, bytes | str] = {
            "Host": url.netloc.decode("ascii"),
            "User-Agent": USER_AGENT,
            "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
            "Accept-Language": "*",
            "Accept-Encoding": "gzip, deflate",
        }
        sent.update(headers.items())
        if authorization := self._authorizations.get(_origin(url)):
            sent["Authorization"] = authorization
        self._backend.deadline = time.monotonic() + self._longest_seconds
        try:
            with self._pool.stream(
                "GET",
                httpcore.URL(
                    scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                ),
                headers=sent,
                extensions={"timeout": _TIMEOUTS},
            ) as response:
                said = _headers(response.headers)
                is_page = response.status == 200
                body = _body(response.iter_stream(), said) if is_page else b""
                return Answer(response.status, said, body)
        finally:
            self._last_asked[url.host] = time.monotonic()


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    said: dict[str, str] = {}
    for name, value in ((name.decode("latin-1").lower(), v.decode("latin-1")) for name, v in raw):
        # The one header that is often there several times, a line for each robot.
        several = name == "x-robots-tag" and name in said
        said[name] = f"{said[name]}\n{value}" if several else value
    return said


def _body(blocks: Iterable[bytes], headers: Mapping[str, str]) -> bytes:
    """The unpacked body.

    Raises:
        FetchFault: It is too large, or packed in a way that we did not ask for.
    """
    too_large = FetchFault("refused", f"larger than {MOST_BYTES // 1024**2} MB")
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > MOST_BYTES:
        raise too_large
    coding = headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise FetchFault("refused", "packed in a way that we did not ask for")
    unpack = (
        zlib.decompressobj(zlib.MAX_WBITS | 32) if "gzip" in coding or coding == "deflate" else None
    )
    parts: list[bytes] = []
    size = 0
    for block in blocks:
        # One byte more than is allowed: a kilobyte can unpack to a megabyte.
        part = unpack.decompress(block, MOST_BYTES + 1 - size) if unpack else block
        size += len(part)
        if size > MOST_BYTES:
            raise too_large
        parts.append(part)
    if unpack and size and not unpack.eof:
        raise EOFError("it ends too early")
    return b"".join(parts)


def _retry_after_seconds(said: str, otherwise: float) -> float:
    """Seconds to wait, by a Retry-After header in either of its forms."""
    if said.strip().isdecimal():
        return float(said)
    try:
        until = parsedate_to_datetime(said)
    except ValueError:
        return otherwise
    if until.tzinfo is None:
        return otherwise
    return max((until - datetime.now(UTC)).total_seconds(), 0.0)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
