"""Web addresses: one spelling for one page, and the name that a page bears."""

from __future__ import annotations

import hashlib
import re

import httpx

from knowledge.sources.folders import shown_name

#: They say how a reader came, not what the page is.
_TRACKING = re.compile(
    rb"(?:utm_\w+|gclid|fbclid|msclkid|yclid|spm|phpsessid|jsessionid)(?:=|$)", re.IGNORECASE
)
_SESSION = re.compile(rb";jsessionid=[^/?;]*", re.IGNORECASE)
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(rb"[A-Za-z0-9._~-]")
_BEYOND_ASCII = re.compile(r"(?:%[89A-F][0-9A-F])+")
#: A name, or an address of either version.
_HOST = re.compile(rb"[\w.-]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_LAST_PORT = 65535
_LONGEST_ADDRESS = 2000
_LONGEST_NAME = 200


def canonical(address: str, base: httpx.URL | None = None) -> httpx.URL | None:
    """The address in its one spelling, without its fragment, session and tracking; None: no page.

    Args:
        address: Relative to `base` where there is one.
    """
    try:
        url = base.join(address.strip()) if base else httpx.URL(address.strip())
        if url.scheme not in ("http", "https") or not _HOST.fullmatch(url.raw_host):
            return None
        if not 0 < (url.port or 1) <= _LAST_PORT:
            return None
        path, _, query = url.raw_path.partition(b"?")
        path = _SESSION.sub(b"", _ESCAPE.sub(_plain, path))
        kept = [part for part in query.split(b"&") if part and not _TRACKING.match(part)]
        raw = (path or b"/") + (b"?" + _ESCAPE.sub(_plain, b"&".join(kept)) if kept else b"")
        url = url.copy_with(raw_path=raw, fragment=None)
    # httpx lets through what idna and int() make of hostile addresses.
    except (httpx.InvalidURL, ValueError, TypeError):
        return None
    return url if len(str(url)) <= _LONGEST_ADDRESS else None


def without_login(url: httpx.URL) -> httpx.URL:
    """The address without user name and password."""
    return url.copy_with(userinfo=b"")


def name_of(url: httpx.URL) -> str:
    """How a page is named to people: host, path and query, readable, the same for good."""
    host = url.host + (f":{url.port}" if url.port else "")
    name = host + _BEYOND_ASCII.sub(_readable, url.raw_path.decode("ascii"))
    if len(name) > _LONGEST_NAME:
        name = name[:_LONGEST_NAME] + "…" + hashlib.sha256(str(url).encode()).hexdigest()[:12]
    return shown_name(name)


def is_same_page(one: httpx.URL, other: httpx.URL) -> bool:
    """True for addresses that differ in no more than scheme, "www.", query or a last slash."""
    return (_bare_host(one), _bare_path(one)) == (_bare_host(other), _bare_path(other))


def is_same_site(one: httpx.URL, other: httpx.URL) -> bool:
    """True on the same host, with "www." or without."""
    return (_bare_host(one), one.port) == (_bare_host(other), other.port)


def _bare_host(url: httpx.URL) -> str:
    return url.host.removeprefix("www.")


def _bare_path(url: httpx.URL) -> str:
    return re.sub(r"/(?:index\.\w+)?$", "", url.path)


def _plain(match: re.Match[bytes]) -> bytes:
    byte = bytes([int(match[1], 16)])
    return byte if _UNRESERVED.fullmatch(byte) else match[0].upper()


def _readable(match: re.Match[str]) -> str:
    try:
        return bytes.fromhex(match[0].replace("%", "")).decode()
    except UnicodeDecodeError:
        return match[0]
