"""`kfbot check` and `kfbot db upgrade`: what is wrong, and what to do about it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from kfbot.adapter import ChannelAdapter
from kfbot.channels import open_channels
from kfbot.cli import surroundings
from kfbot.cli.client import find_server
from kfbot.cli.findings import Finding, State
from kfbot.cli.output import report, say, say_table
from kfbot.confidence import signals_version
from kfbot.errors import (
    ChannelError,
    ChannelUnavailable,
    KfbotError,
    KnowledgeBaseUnavailable,
    SettingsError,
    StoreUnavailable,
)
from kfbot.knowledge_models import check_embedding, check_reranker
from kfbot.language import language_of
from kfbot.opening import check_qdrant, open_database
from kfbot.permissions import scopes_of
from kfbot.places import owning
from kfbot.settings import Settings, find_settings_file, load_settings
from kfbot.store.calibrations import CalibrationStore
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.dead_letters import count_dead
from kfbot.store.engine import Database
from kfbot.store.integrity import find_broken_promises, find_damage, sqlite_file
from kfbot.store.roles import grant
from kfbot.store.schema import find_schema
from kfbot.web.access import check_exposure

#: A database file of more bytes takes so long to be read that it is told.
LARGE_BYTES = 200_000_000
#: A platform may take so long to say whether it knows us.
CHANNEL_SECONDS = 15.0
_MARKS = {"ok": "✓", "note": "–", "wrong": "✗"}


async def check(file: Path | None) -> bool:
    """Print a table of everything that was looked at; True if nothing is wrong.

    Needs no lock and changes nothing but the model cache.
    """
    findings = await _find(file)
    say_table(
        ("", "what", "finding"), [(_MARKS[one.state], one.what, one.text) for one in findings]
    )
    wrong = sum(one.state == "wrong" for one in findings)
    say(f"{wrong} to be corrected." if wrong else "Everything is as it should be.")
    return not wrong


async def upgrade(settings: Settings, app_role: str | None = None) -> None:
    """Bring the schema up to date and print from which revision to which.

    Args:
        app_role: Granted what the bot needs; see `kfbot.store.roles`.

    Raises:
        AlreadyRunning: A server owns the data folder.
        SettingsError: The role cannot be limited like this.
        StoreUnavailable: The database cannot be used, or a newer kfbot made it.
    """
    with owning(settings):
        before = await find_schema(settings.database_url)
        if before.state == "newer":
            raise StoreUnavailable(_newer(before.current))
        async with open_database(settings, say) as database:
            if app_role is not None:
                await grant(database, app_role)
    if before.state == "current":
        say(f"The schema is up to date: {before.current}.")
    else:
        say(f"Upgraded: {before.current or 'empty'} → {before.newest}.")


async def _find(file: Path | None) -> list[Finding]:
    try:
        settings = load_settings(file)
    except SettingsError as error:
        place, _, faults = str(error).partition(": ")
        return [
            Finding("settings", "wrong", fault)
            for fault in (
                faults.split("; ") if faults and place.startswith("settings") else [str(error)]
            )
        ]
    findings = [Finding("settings", "ok", f"data in {settings.data_dir}")]
    findings += surroundings.secrets_findings(find_settings_file(file), settings)
    for what, look in _LOOKS:
        try:
            findings += [found async for found in look(settings)]
        except KfbotError as error:
            findings.append(Finding(what, "wrong", str(error)))
    return findings


async def _look_at_channels(settings: Settings) -> AsyncIterator[Finding]:
    adapters: dict[str, ChannelAdapter] = {}
    for name, section in settings.channels.items():
        try:
            opened = open_channels(settings.model_copy(update={"channels": {name: section}}))
        except SettingsError as error:
            yield Finding("channels", "wrong", str(error))
            continue
        yield await _channel_finding(opened[name])
        adapters[name] = opened[name]
    if len(adapters) == len(settings.channels):
        scopes_of(settings.knowledge, adapters)
    if not settings.channels:
        yield Finding("channels", "ok", "web chat and HTTP API only")


async def _channel_finding(adapter: ChannelAdapter) -> Finding:
    name = f"{adapter.channel} ({adapter.settings.platform})"
    try:
        async with asyncio.timeout(CHANNEL_SECONDS), adapter:
            found = await adapter.check()
    except ChannelUnavailable as error:
        return Finding("channels", "note", f"{error}: it may work later")
    except TimeoutError:
        return Finding("channels", "note", f"{name}: the platform did not answer in time")
    except ChannelError as error:
        return Finding("channels", "wrong", str(error))
    return Finding("channels", "ok", f"{name}: {found}" if found else name)


async def _look_at_web(settings: Settings) -> AsyncIterator[Finding]:
    tokens = [token.get_secret_value() for token in settings.web.tokens]
    check_exposure(settings.web.host, tokens)
    server = await find_server(settings.data_dir)
    state = f"running at {server.url}" if server else "not running: kfbot serve starts it"
    yield Finding("server", "ok" if server else "note", state)


async def _look_at_data(settings: Settings) -> AsyncIterator[Finding]:
    folder = settings.data_dir
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        fault = f"{there} is no folder that can be written to: correct it, or set another data_dir"
        yield Finding("data_dir", "wrong", fault)
    elif there == folder:
        yield Finding("data_dir", "ok", "can be written to")
    else:
        yield Finding("data_dir", "note", "not there yet: made at the first start")


async def _look_at_database(settings: Settings) -> AsyncIterator[Finding]:
    schema = await find_schema(settings.database_url)
    if schema.state == "newer":
        yield Finding("database", "wrong", _newer(schema.current))
    elif schema.state == "behind":
        fault = f"schema {schema.current}, behind {schema.newest}: run kfbot db upgrade, or restart"
        yield Finding("database", "wrong", fault)
    elif schema.state == "new":
        yield Finding("database", "note", "empty: made at the first start")
    else:
        yield Finding("database", "ok", f"schema {schema.current}, up to date")
        async with Database(settings.database_url) as database:
            dead = await database.read(count_dead)
        if number := dead.inbox + dead.outbox:
            letters = "dead letter" if number == 1 else "dead letters"
            yield Finding("database", "note", f"{number} {letters}: kfbot replay list")


async def _look_at_integrity(settings: Settings) -> AsyncIterator[Finding]:
    faults = await _faults(settings)
    for fault in faults or ():
        yield Finding("integrity", "wrong", fault)
    if faults == []:
        yield Finding("integrity", "ok", "the database is sound")


async def _faults(settings: Settings) -> list[str] | None:
    """What is wrong inside the database; None where there is nothing to look at."""
    file = sqlite_file(settings.database_url)
    if file is not None:
        if file.stat().st_size > LARGE_BYTES:
            report("Checking the database file…")
        if damage := await find_damage(file):
            return damage
    if (await find_schema(settings.database_url)).state != "current":
        return None
    async with Database(settings.database_url) as database:
        return await find_broken_promises(database)


async def _look_at_knowledge(settings: Settings) -> AsyncIterator[Finding]:
    for fault in _missing_sources(settings):
        yield Finding("knowledge", "wrong", fault)
    if (await find_schema(settings.database_url)).state != "current":
        yield Finding("knowledge", "note", "not loaded yet: kfbot serve does it")
        return
    async with Database(settings.database_url) as database:
        for name in settings.knowledge:
            yield await _knowledge_finding(KnowledgeStore(database), name)


async def _calibration_findings(settings: Settings, embedding: str, reranker: str) -> list[Finding]:
    """Whether what was calibrated still holds, for models of these keys."""
    if (await find_schema(settings.database_url)).state != "current":
        return []
    async with Database(settings.database_url) as database:
        stored = await CalibrationStore(database).find()
    findings = []
    for name, one in stored.items():
        if name not in settings.knowledge:
            continue
        if one.holds_for(embedding, signals_version(reranker)):
            text = f"{name}: {one.made_at:%Y-%m-%d}, from {one.questions} questions"
            findings.append(Finding("calibration", "ok", text))
        else:
            text = f"{name}: out of date and not used: kfbot calibrate {name}"
            findings.append(Finding("calibration", "note", text))
    return findings


def _missing_sources(settings: Settings) -> list[str]:
    return [
        f"{name}: source {source} does not exist: correct [knowledge.{name}]"
        for name, section in settings.knowledge.items()
        for source in section.sources
        if "://" not in source and not Path(source).exists()
    ]


async def _knowledge_finding(store: KnowledgeStore, name: str) -> Finding:
    state = await store.state(name)
    if not state.generation:
        todo = "not loaded yet: kfbot serve does it, or kfbot knowledge load"
        return Finding("knowledge", "note", f"{name}: {todo}")
    if not state.documents:
        return Finding("knowledge", "wrong", f"{name}: its sources hold nothing that can be read")
    if state.unreadable:
        text = f"{name}: {len(state.unreadable)} unreadable, see kfbot knowledge status"
        return Finding("knowledge", "note", text)
    return Finding("knowledge", "ok", f"{name}: {state.documents} documents and entries")


async def _look_at_models(settings: Settings) -> AsyncIterator[Finding]:
    embedding, dimensions = await check_embedding(settings, report)
    yield Finding("embedding", "ok", f"{settings.embedding.model}, {dimensions} dimensions")
    reranker = ""
    if settings.reranker.model:
        try:
            reranker = await check_reranker(settings.reranker, report)
        except KnowledgeBaseUnavailable as error:
            yield Finding("reranker", "wrong", str(error))
            return
        yield Finding("reranker", "ok", f"{reranker} answers")
    for finding in await _calibration_findings(settings, embedding, reranker):
        yield finding


async def _look_at_chat_model(settings: Settings) -> AsyncIterator[Finding]:
    if not settings.chat_model.base_url:
        return
    from kfbot.model.opening import check_endpoints

    states = await check_endpoints(settings.chat_model)
    # As long as another endpoint answers nobody misses this one.
    fault: State = "wrong" if all(one.fault for one in states) else "note"
    for state in states:
        text = state.fault or f"{state.model} answers at {state.address}"
        yield Finding("chat model", fault if state.fault else "ok", text)


async def _look_at_actions(settings: Settings) -> AsyncIterator[Finding]:
    # Nothing is called: whoever answers there could do what it is asked.
    for name, action in settings.actions.items():
        address = urlsplit(action.url)
        needs = ", ".join(action.slots) or "nothing"
        yield Finding("actions", "ok", f"{name}: needs {needs}, posts to {address.netloc}")
        if address.scheme == "http" and not _is_near(address.hostname or ""):
            text = f"{name}: customers' data travels unencrypted: better an https:// url"
            yield Finding("actions", "note", text)
        spoken = {language_of(phrase) for phrase in action.phrases}
        for language in sorted({"en", "zh"} - spoken):
            text = f"{name}: no phrase in {language}: who writes it cannot begin it"
            yield Finding("actions", "note", text)


def _is_near(host: str) -> bool:
    """True for this machine and addresses of a private network."""
    try:
        return ip_address(host).is_private
    except ValueError:
        return host == "localhost" or "." not in host


async def _look_at_qdrant(settings: Settings) -> AsyncIterator[Finding]:
    if not settings.qdrant.url:
        return
    yield Finding("qdrant", "ok", await check_qdrant(settings.qdrant))
    if settings.qdrant.url.startswith("http://") and settings.qdrant.api_key.get_secret_value():
        yield Finding("qdrant", "note", "the key travels unencrypted: better an https:// url")


def _newer(revision: str | None) -> str:
    return f"schema {revision} was made by a newer kfbot: update kfbot"


_Look = Callable[[Settings], AsyncIterator[Finding]]
_LOOKS: tuple[tuple[str, _Look], ...] = (
    ("machine", surroundings.look_at_machine),
    ("channels", _look_at_channels),
    ("server", _look_at_web),
    ("web", surroundings.look_at_exposure),
    ("data_dir", _look_at_data),
    ("database", _look_at_database),
    ("clock", surroundings.look_at_clock),
    ("backup", surroundings.look_at_backups),
    ("integrity", _look_at_integrity),
    ("knowledge", _look_at_knowledge),
    ("embedding", _look_at_models),
    ("chat model", _look_at_chat_model),
    ("actions", _look_at_actions),
    ("reach", surroundings.look_at_peers),
    ("qdrant", _look_at_qdrant),
)
