"""What `kfbot check` looks at around the bot: machine, clock, exposure, secrets, backups, peers."""

from __future__ import annotations

import asyncio
import platform
import re
import shutil
import socket
import sqlite3
import tomllib
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kfbot.cli.findings import Finding, State
from kfbot.places import is_shared
from kfbot.settings import Settings
from kfbot.store.clock import find_skew
from kfbot.store.engine import Database
from kfbot.store.schema import find_schema
from kfbot.web.access import is_loopback
from kfbot.web.watching import FULL_BYTES, LOW_BYTES

#: Another machine has so long to take a connection.
CONNECT_SECONDS = 5.0
#: Signed webhooks are refused by their receivers beyond five minutes.
SKEW = timedelta(minutes=1)
#: A backup that is older is told of.
BACKUP_AGE = timedelta(days=7)
#: `secrets.token_urlsafe(16)` has 22 characters; shorter ones are words, mostly.
TOKEN_LENGTH = 20
#: So many different characters a random one of this length has, and more.
TOKEN_VARIETY = 8
_GB = 1_000_000_000
_SECRET = re.compile(r"(token|secret|password|(?<!public)_key)s?$")
_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]+@")


async def look_at_machine(settings: Settings) -> AsyncIterator[Finding]:
    """Versions, and the room on the disk."""
    parts = f"kfbot {version('kfbot')}, Python {platform.python_version()}"
    yield Finding("versions", "ok", f"{parts}, SQLite {sqlite3.sqlite_version}")
    folder = settings.data_dir
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = (await asyncio.to_thread(shutil.disk_usage, there)).free
    left = f"{free / _GB:.1f} GB free at {there}"
    if free < FULL_BYTES:
        yield Finding("disk", "wrong", f"{left}: make room, nothing can be stored soon")
    elif free < LOW_BYTES:
        yield Finding("disk", "note", f"{left}: make room")
    else:
        yield Finding("disk", "ok", left)


async def look_at_clock(settings: Settings) -> AsyncIterator[Finding]:
    """Whether this machine's clock agrees with the database."""
    if (await find_schema(settings.database_url)).state != "current":
        return
    async with Database(settings.database_url) as database:
        skew = await find_skew(database)
    seconds = skew.total_seconds()
    if abs(skew) <= SKEW:
        yield Finding("clock", "ok", f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
    elif is_shared(settings):
        text = f"{abs(seconds):.0f} s {'behind' if seconds > 0 else 'ahead of'} the database's"
        yield Finding("clock", "wrong", f"{text}: set both by NTP, or signatures are refused")
    else:
        text = f"{seconds:.0f} s behind what was stored last: set it by NTP"
        yield Finding("clock", "wrong", text)


async def look_at_exposure(settings: Settings) -> AsyncIterator[Finding]:
    """What others could do with this server, by the settings."""
    web = settings.web
    is_open = not is_loopback(web.host)
    if is_open:
        text = f"host {web.host} speaks plain HTTP: let only a proxy with TLS reach port {web.port}"
        yield Finding("web", "note", text)
    names = {f"tokens[{place}]": token for place, token in enumerate(web.tokens)}
    for name, secret in {**names, "metrics_token": web.metrics_token}.items():
        token = secret.get_secret_value()
        if token and _is_weak(token):
            state: State = "wrong" if is_open else "note"
            how = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'
            yield Finding("web", state, f"[web] {name} can be guessed: make one by {how}")
    for one in web.trusted_proxies:
        if ip_network(one).prefixlen == 0:
            text = f"[web] trusted_proxies {one} believes everybody: name the proxy's address"
            yield Finding("web", "wrong", text)


def secrets_findings(file: Path | None, settings: Settings) -> Iterator[Finding]:
    """Who else on this machine can read the secrets of the settings file, and the data."""
    if file is not None and file.is_file():
        found = sorted(_secrets(tomllib.loads(file.read_text(encoding="utf-8"))))
        if found and file.stat().st_mode & 0o004:
            text = f"everybody on this machine can read {file} ({found[0]}): chmod 600 {file}"
            yield Finding("secrets", "note", text)
        elif found and file.stat().st_mode & 0o040:
            text = f"its group can read {file} ({found[0]}): chmod 600 {file}, unless it should"
            yield Finding("secrets", "note", text)
        elif found:
            yield Finding("secrets", "ok", f"{file} is for its owner alone")
    folder = settings.data_dir
    if folder.is_dir() and folder.stat().st_mode & 0o007:
        text = f"others may enter {folder}, where customers' words lie: chmod 700 {folder}"
        yield Finding("secrets", "note", text)


async def look_at_backups(settings: Settings) -> AsyncIterator[Finding]:
    """How old the newest backup is, where `kfbot db backup` puts it."""
    if is_shared(settings):
        return
    folder = settings.data_dir / "backups"
    if (await find_schema(settings.database_url)).state == "new":
        return
    newest = max((one.stat().st_mtime for one in folder.glob("*.sqlite3")), default=None)
    if newest is None:
        text = f"none in {folder}: kfbot db backup (those in other places are not looked at)"
        yield Finding("backup", "note", text)
        return
    age = datetime.now(UTC) - datetime.fromtimestamp(newest, UTC)
    text = f"the newest in {folder} is {age.days} days old"
    late = age > BACKUP_AGE
    yield Finding("backup", "note" if late else "ok", f"{text}: kfbot db backup" if late else text)


async def look_at_peers(settings: Settings) -> AsyncIterator[Finding]:
    """Whether what the bot calls can be reached; nothing is sent there."""
    peers = {f"event webhook {name}": one.url for name, one in settings.event_webhooks.items()}
    peers |= {f"action {name}": one.url for name, one in settings.actions.items()}
    if settings.tracing.endpoint:
        peers["traces"] = settings.tracing.endpoint
    faults = await asyncio.gather(*(_fault(url) for url in peers.values()))
    for (name, url), fault in zip(peers.items(), faults, strict=True):
        # The rest of an address may hold a key.
        host = urlsplit(url).hostname
        if fault:
            text = f"{name}: {host} {fault}: correct its url, or see why it is away"
            yield Finding("reach", "note", text)
        else:
            yield Finding("reach", "ok", f"{name}: {host} takes connections")


def _is_weak(token: str) -> bool:
    return len(token) < TOKEN_LENGTH or len(set(token)) < TOKEN_VARIETY


def _secrets(section: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The names under which a file holds secrets."""
    for name, value in section.items():
        where = f"{path}.{name}" if path else name
        if isinstance(value, Mapping):
            yield from _secrets(value, where)
        elif (value and _SECRET.search(name)) or _PASSWORD.search(str(value)):
            yield where


async def _fault(url: str) -> str:
    """Why a connection is not taken; "": it is."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(parts.hostname, port)
    except socket.gaierror:
        return "is a name that nobody knows"
    except (OSError, ValueError):  # TimeoutError is an OSError.
        return f"takes no connection at port {port}"
    writer.close()
    return ""
