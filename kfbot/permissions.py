"""Which knowledge bases, and which of their documents, a channel's customers are answered from."""

from __future__ import annotations

from collections.abc import Mapping

from kfbot.adapter import AdapterSettings, ChannelAdapter
from kfbot.errors import SettingsError
from kfbot.knowledge_base import Scope
from kfbot.settings import KnowledgeSettings


def scopes_of(
    knowledge: Mapping[str, KnowledgeSettings], channels: Mapping[str, ChannelAdapter]
) -> dict[str, Scope]:
    """The scope of each channel: what both it and the knowledge base allow."""
    return {name: _scope(knowledge, name, one.settings) for name, one in channels.items()}


def _scope(
    knowledge: Mapping[str, KnowledgeSettings], channel: str, section: AdapterSettings
) -> Scope:
    wanted = section.knowledge or tuple(knowledge)
    allowed = tuple(name for name in wanted if _is_open_to(knowledge.get(name), channel))
    is_all = not section.knowledge and allowed == wanted
    return Scope(None if is_all else allowed, section.filter)


def _is_open_to(knowledge: KnowledgeSettings | None, channel: str) -> bool:
    return knowledge is None or not knowledge.channels or channel in knowledge.channels


def check_knowledge(
    knowledge: Mapping[str, KnowledgeSettings], channel: str, section: AdapterSettings
) -> None:
    """Check that the knowledge bases exist that a channel may use, and allow it.

    Raises:
        SettingsError: Names the section, and what to change.
    """
    where = f"settings [channels.{channel}] knowledge"
    for name in section.knowledge:
        if name not in knowledge:
            raise SettingsError(
                f"{where}: there is no [knowledge.{name}], only {', '.join(knowledge)}"
            )
        if not _is_open_to(knowledge[name], channel):
            raise SettingsError(f"{where}: [knowledge.{name}] channels does not list {channel}")
