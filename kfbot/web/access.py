"""Who may use the HTTP API, and how a chat visitor is known again."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import HttpVersion11, web

from kfbot.errors import SettingsError
from kfbot.store.keys import KeyStore

VISITOR_COOKIE = "kfbot_visitor"
#: The name of the key that signs it, in the store.
VISITOR_KEY = "visitors"
#: A visitor is known for so long.
VISITOR_SECONDS = 180 * 24 * 3600
#: The only address that takes a form: those of other sites' pages come with their Origin.
UPLOAD = "/api/v1/doc/upload"
#: Headers that proxies add, beside those that begin with X-Forwarded.
_OF_PROXIES = frozenset(
    (
        "cf-connecting-ip",
        "fastly-client-ip",
        "forwarded",
        "true-client-ip",
        "via",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-envoy-external-address",
        "x-original-forwarded-for",
        "x-original-host",
        "x-real-ip",
    )
)


class Refused(Exception):
    """A request is not allowed; `status` is what to answer with."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def is_loopback(host: str) -> bool:
    """True for names and addresses of this machine alone."""
    name = host.strip("[]").lower()
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    # Where one socket takes both, IPv4 comes in IPv6's clothes.
    plain = (address.ipv4_mapped or address) if address.version == 6 else address
    return plain.is_loopback


def check_exposure(host: str, tokens: Sequence[str]) -> None:
    """Refuse to serve an API without tokens to other machines.

    Raises:
        SettingsError: The address is not loopback and there are no tokens.
    """
    if not is_loopback(host) and not tokens:
        raise SettingsError(
            f"[web] host {host} can be reached from other machines: set [web] tokens"
            " (or KFBOT_WEB__TOKENS='[\"…\"]') first, or use 127.0.0.1"
        )


class Access:
    """Checks API requests against the operator's tokens and the server's own."""

    def __init__(self, tokens: Sequence[str], own_token: str, metrics_token: str = "") -> None:
        """Prepare.

        Args:
            own_token: The one that lies in server.json for commands on this machine.
            metrics_token: Good for watching alone; "": there is none.
        """
        self._metrics_token = metrics_token.encode()
        self._open_on_loopback = not tokens
        self._tokens = tuple(token.encode() for token in (*tokens, own_token))

    def check(self, request: web.Request) -> None:
        """Let a request through.

        Raises:
            Refused: 401 without a valid token; 403 or 415 for what a foreign page could send.
        """
        if "Authorization" in request.headers:
            self._check_token(request.headers["Authorization"])
        elif not self._open_on_loopback or came_through_proxy(request):
            raise Refused(401, "a bearer token is needed: Authorization: Bearer …")
        else:
            check_same_machine(request)
        kind = "multipart/form-data" if request.path == UPLOAD else "application/json"
        if request.method in ("POST", "PUT", "PATCH") and request.content_type != kind:
            raise Refused(415, f"send Content-Type: {kind}")

    def check_watching(self, request: web.Request) -> None:
        """Let through who may see how the bot does: who may use the API, and the metrics token.

        Raises:
            Refused: As `check`.
        """
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        known, given = self._metrics_token, _as_sent(token.strip())
        if not (known and scheme.lower() == "bearer" and hmac.compare_digest(given, known)):
            self.check(request)

    def _check_token(self, header: str) -> None:
        scheme, _, token = header.partition(" ")
        # Every token is compared, in constant time.
        given = _as_sent(token.strip())
        matches = [hmac.compare_digest(given, known) for known in self._tokens]
        if scheme.lower() != "bearer" or not any(matches):
            raise Refused(401, "the bearer token is not valid")


def came_through_proxy(request: web.Request) -> bool:
    """True where another server passed the request on: whoever sent it may be anywhere."""
    names = {name.lower() for name in request.headers}
    return (
        not names.isdisjoint(_OF_PROXIES)
        or any(name.startswith("x-forwarded") for name in names)
        # nginx with a bare proxy_pass adds no header and puts our own address into Host. But
        # unless told otherwise it speaks HTTP/1.0, which browsers and today's clients do not.
        or request.version < HttpVersion11
        or not is_loopback(request.remote or "")
    )


def check_same_machine(request: web.Request) -> None:
    """Let only this machine's own programs and pages through.

    A page of another site can make a browser call 127.0.0.1; its Origin, or (by DNS
    rebinding) its Host, gives it away.

    Raises:
        Refused: 403.
    """
    try:
        host = urlsplit(f"//{request.host}").hostname or ""
    except ValueError:  # "[::1": half an address.
        host = ""
    if not is_loopback(host):
        raise Refused(403, "the API answers without a token only at 127.0.0.1 or localhost")
    check_same_origin(request)


def check_same_origin(request: web.Request) -> None:
    """Refuse what a page of another origin sends.

    Raises:
        Refused: 403.
    """
    origin = request.headers.get("Origin")
    if origin is not None and origin.partition("://")[2] != request.host:
        raise Refused(403, "requests from pages of another origin are refused")


class Visitors:
    """Signed ids of chat visitors: nobody can take another's conversation."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def known(self, request: web.Request) -> str | None:
        """The visitor's id, if the request carries one that we signed."""
        visitor, _, signature = request.cookies.get(VISITOR_COOKIE, "").partition(".")
        if visitor and hmac.compare_digest(_as_sent(signature), self._sign(visitor).encode()):
            return visitor
        return None

    def welcome(self, request: web.Request, response: web.StreamResponse) -> None:
        """Give a new visitor an id."""
        if self.known(request) is not None:
            return
        visitor = secrets.token_urlsafe(18)
        # In a frame on the shop's own site the cookie is a third party's: browsers then
        # take it only over https, and marked so.
        scheme = request.headers.get("X-Forwarded-Proto", request.scheme).split(",")[0].strip()
        secure = scheme.lower() == "https"
        marks = ("Secure", "SameSite=None", "Partitioned") if secure else ("SameSite=Lax",)
        cookie = f"{VISITOR_COOKIE}={visitor}.{self._sign(visitor)}"
        fields = (cookie, f"Max-Age={VISITOR_SECONDS}", "Path=/chat", "HttpOnly", *marks)
        # Not by set_cookie: before Python 3.14 it knows no Partitioned.
        response.headers.add("Set-Cookie", "; ".join(fields))

    def _sign(self, visitor: str) -> str:
        return hmac.new(self._key, _as_sent(visitor), hashlib.sha256).hexdigest()


def _as_sent(text: str) -> bytes:
    # A header may hold bytes that are no text; aiohttp passes them on as surrogates.
    return text.encode(errors="surrogateescape")


async def load_key(keys: KeyStore, data_dir: Path) -> bytes:
    """The key that signs visitors' cookies: made at first use, the same for all replicas.

    Earlier versions kept one in a file of the data folder: it is taken over, so that visitors
    stay known.

    Raises:
        StoreUnavailable: The database cannot be used.
    """
    file = data_dir / "visitor.key"
    proposal = file.read_text() if file.exists() else secrets.token_hex(32)
    key = await keys.settle(VISITOR_KEY, proposal)
    file.unlink(missing_ok=True)
    return key.encode()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, in one step."""
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)
