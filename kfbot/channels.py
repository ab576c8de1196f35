"""Opens the channels of the settings: an adapter for each, loaded by its platform's name.

Adapters lie in `adapters/`, and in other packages that are installed: those name theirs by an
entry point of the group `kfbot.adapters`.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from pydantic import ValidationError

from kfbot.adapter import AdapterSettings, ChannelAdapter
from kfbot.application import API_CHANNEL
from kfbot.cases.threads import check_agents_chats
from kfbot.errors import SettingsError
from kfbot.extras import how_to_install
from kfbot.permissions import check_knowledge
from kfbot.settings import Settings, describe

#: Group of the entry points of other packages: platform = "module:Adapter".
ENTRY_POINTS = "kfbot.adapters"
#: Channels that every server has.
WEB_CHANNEL = "web"
SERVER_CHANNELS = (WEB_CHANNEL, API_CHANNEL)


def open_channels(settings: Settings) -> dict[str, ChannelAdapter]:
    """An adapter for every configured channel, and for those that every server has.

    Raises:
        SettingsError: Names the channel and what is wrong with its section.
    """
    opened = {
        name: open_channel(name, section, settings)
        for name, section in settings.channels.items()
        if name not in SERVER_CHANNELS
    } | {name: open_own_channel(name, settings) for name in SERVER_CHANNELS}
    check_agents_chats(opened)
    return opened


def open_own_channel(name: str, settings: Settings) -> ChannelAdapter:
    """The adapter of a channel that every server has.

    Raises:
        SettingsError: What is wrong with its section, if it has one.
    """
    section = {"platform": "web", **settings.channels.get(name, {})}
    if section["platform"] != "web":
        raise SettingsError(
            f"settings [channels.{name}]: the name is the server's own; take another one"
        )
    if name == API_CHANNEL and (section.keys() & {"consent_en", "consent_zh"}):
        raise SettingsError(
            "settings [channels.api]: who asks over HTTP shows the answer, and a consent text, by"
            " itself: take it out here"
        )
    return open_channel(name, section, settings)


def open_channel(name: str, section: Mapping[str, object], settings: Settings) -> ChannelAdapter:
    """The adapter of one `[channels.<name>]` section.

    Raises:
        SettingsError: The platform is unknown, its adapter is broken, or its section is wrong.
    """
    where = f"settings [channels.{name}]"
    platform = section.get("platform")
    known = platforms()
    if platform is None:
        raise SettingsError(f"{where}: platform is missing: one of {', '.join(known)}")
    if platform not in known:
        near = difflib.get_close_matches(str(platform), known, n=1)
        hint = f", did you mean {near[0]}?" if near else f": one of {', '.join(known)}"
        raise SettingsError(f"{where} platform: {platform!r} is unknown{hint}")
    kind = adapter_type(str(platform))
    try:
        validated = kind.settings_type.model_validate(section)
    except ValidationError as error:
        said = describe(error, kind.settings_type, where=where, section=("channels", name))
        raise SettingsError(said) from None
    check_knowledge(settings.knowledge, name, validated)
    return kind(name, validated)


def adapter_type(platform: str) -> type[ChannelAdapter]:
    """The adapter of one of `platforms()`; what lies in `adapters/` comes before other packages.

    Raises:
        SettingsError: Something that it needs is missing, or it is broken.
    """
    if platform not in _own_platforms():
        return _outside_adapter_type(platform)
    try:
        found: type[ChannelAdapter] = importlib.import_module(f"adapters.{platform}").ADAPTER
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"platform {platform} needs {error.name}: {how_to_install(platform)}"
        ) from None
    return found


def _outside_adapter_type(platform: str) -> type[ChannelAdapter]:
    points = _outside_platforms()[platform]
    packages = " and ".join(sorted({_package(point) for point in points}))
    if len(points) > 1:
        raise SettingsError(f"platform {platform} is in {packages}: uninstall all but one")
    try:
        found = points[0].load()
    except Exception as error:
        # Whatever is wrong in another's code is one line here, and stops this channel alone.
        fault = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise SettingsError(
            f"platform {platform}: the package {packages} cannot be loaded: {fault}"
        ) from error
    if fault := _fault_of(found):
        raise SettingsError(
            f"platform {platform}: {points[0].value} of the package {packages} {fault}"
        )
    outside: type[ChannelAdapter] = found
    return outside


def _fault_of(found: object) -> str:
    """What keeps an object from being an adapter; "" for nothing."""
    if not isinstance(found, type) or not issubclass(found, ChannelAdapter):
        return "is no ChannelAdapter"
    if inspect.isabstract(found):
        return f"lacks {', '.join(sorted(found.__abstractmethods__))}"
    if not issubclass(found.settings_type, AdapterSettings):
        return "has a settings_type that is no AdapterSettings"
    return ""


def platforms() -> list[str]:
    """The platforms that there is an adapter for, without importing any."""
    return sorted(_own_platforms() | _outside_platforms().keys())


def _own_platforms() -> set[str]:
    import adapters

    files = [
        file
        for folder in adapters.__path__
        for pattern in ("*.py", "*/__init__.py")
        for file in Path(folder).glob(pattern)
        if "\nADAPTER = " in file.read_text(encoding="utf-8")
    ]
    return {file.parent.name if file.stem == "__init__" else file.stem for file in files}


def _outside_platforms() -> dict[str, list[EntryPoint]]:
    """By platform, the entry points of other packages, each package once."""
    found: dict[str, dict[str, EntryPoint]] = {}
    for point in entry_points(group=ENTRY_POINTS):
        found.setdefault(point.name, {})[f"{_package(point)} {point.value}"] = point
    return {name: list(points.values()) for name, points in found.items()}


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.module
