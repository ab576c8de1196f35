"""Opens the channels of the settings: an adapter for each, loaded by its platform's name."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from kfbot.adapter import ChannelAdapter
from kfbot.application import API_CHANNEL
from kfbot.cases.threads import check_agents_chats
from kfbot.errors import SettingsError
from kfbot.permissions import check_knowledge
from kfbot.settings import Settings, describe

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
    return open_channel(name, section, settings)


def open_channel(name: str, section: Mapping[str, object], settings: Settings) -> ChannelAdapter:
    """The adapter of one `[channels.<name>]` section.

    Raises:
        SettingsError: The platform is unknown, or its section is wrong.
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
    adapter_type = _adapter_type(str(platform))
    try:
        validated = adapter_type.settings_type.model_validate(section)
    except ValidationError as error:
        raise SettingsError(describe(error, adapter_type.settings_type, where=where)) from None
    check_knowledge(settings.knowledge, name, validated)
    return adapter_type(name, validated)


def _adapter_type(platform: str) -> type[ChannelAdapter]:
    try:
        adapter_type: type[ChannelAdapter] = importlib.import_module(f"adapters.{platform}").ADAPTER
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"platform {platform} needs {error.name}: pip install 'kfbot[{platform}]'"
        ) from None
    return adapter_type


def platforms() -> list[str]:
    """The platforms that there is an adapter file for, without importing their SDKs."""
    import adapters

    files = [
        file
        for folder in adapters.__path__
        for pattern in ("*.py", "*/__init__.py")
        for file in Path(folder).glob(pattern)
        if "\nADAPTER = " in file.read_text(encoding="utf-8")
    ]
    return sorted(file.parent.name if file.stem == "__init__" else file.stem for file in files)
