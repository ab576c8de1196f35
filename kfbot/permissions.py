"""Which knowledge bases, and which of their documents, a channel's people are answered from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kfbot.adapter import AdapterSettings, ChannelAdapter
from kfbot.errors import SettingsError
from kfbot.knowledge_base import NOTHING, Scope
from kfbot.knowledge_settings import KnowledgeSettings

#: The role of those whom a channel's `admins` names.
ADMINS = "admins"
#: Where a visitor has the id that a browser or a caller brings along.
_NOBODY_KNOWN = frozenset({"web", "console"})


@dataclass(frozen=True, eq=False)
class Permissions(Mapping[str, Scope]):
    """By channel, what anybody there may be answered from; and what one person may, alone."""

    _anybody: Mapping[str, Scope]
    #: By channel and the platform's id of a person, of those who have a role.
    _persons: Mapping[tuple[str, str], Scope]

    def __getitem__(self, channel: str) -> Scope:
        return self._anybody[channel]

    def __iter__(self) -> Iterator[str]:
        return iter(self._anybody)

    def __len__(self) -> int:
        return len(self._anybody)

    def of_person(self, channel: str, person: str, *, in_group: bool) -> Scope:
        """What a person may be answered from; where others read along, what anybody may."""
        anybody = self.get(channel, NOTHING)
        return anybody if in_group else self._persons.get((channel, person), anybody)


def scopes_of(
    knowledge: Mapping[str, KnowledgeSettings], channels: Mapping[str, ChannelAdapter]
) -> Permissions:
    """The scope of each channel and person: what channel, knowledge base and roles allow.

    Raises:
        SettingsError: A knowledge base is for a role that nobody has.
    """
    sections = {name: one.settings for name, one in channels.items()}
    given = {role for one in sections.values() for role in _roles(one)} | {ADMINS}
    for name, base in knowledge.items():
        for role in base.roles:
            if role not in given:
                raise SettingsError(
                    f"settings [knowledge.{name}] roles: no channel gives anybody the role {role!r}"
                )
    persons = {
        (name, person): _scope(knowledge, name, one, held)
        for name, one in sections.items()
        for person, held in _held(one).items()
    }
    anybody = {name: _scope(knowledge, name, one) for name, one in sections.items()}
    return Permissions(anybody, persons)


def _scope(
    knowledge: Mapping[str, KnowledgeSettings],
    channel: str,
    section: AdapterSettings,
    roles: frozenset[str] = frozenset(),
) -> Scope:
    wanted = section.knowledge or tuple(knowledge)
    allowed = tuple(
        name
        for name in wanted
        if _is_open_to(knowledge.get(name), channel) and _is_for(knowledge.get(name), roles)
    )
    is_all = not section.knowledge and allowed == wanted
    return Scope(None if is_all else allowed, section.filter)


def _is_open_to(knowledge: KnowledgeSettings | None, channel: str) -> bool:
    return knowledge is None or not knowledge.channels or channel in knowledge.channels


def _is_for(knowledge: KnowledgeSettings | None, roles: frozenset[str]) -> bool:
    return knowledge is None or not knowledge.roles or not roles.isdisjoint(knowledge.roles)


def _roles(section: AdapterSettings) -> dict[str, tuple[str, ...]]:
    """Who has each role in a channel; nobody where ids prove nothing."""
    if section.platform in _NOBODY_KNOWN:
        return {}
    return {**section.roles, ADMINS: section.admins}


def _held(section: AdapterSettings) -> dict[str, frozenset[str]]:
    """The roles of each person who has one."""
    given = _roles(section)
    people = {person for ids in given.values() for person in ids}
    return {
        person: frozenset(role for role, ids in given.items() if person in ids) for person in people
    }


def check_knowledge(
    knowledge: Mapping[str, KnowledgeSettings], channel: str, section: AdapterSettings
) -> None:
    """Check that the knowledge bases exist that a channel may use, allow it, and roles hold.

    Raises:
        SettingsError: Names the section, and what to change.
    """
    where = f"settings [channels.{channel}]"
    for name in section.knowledge:
        if name not in knowledge:
            raise SettingsError(
                f"{where} knowledge: there is no [knowledge.{name}], only {', '.join(knowledge)}"
            )
        if not _is_open_to(knowledge[name], channel):
            raise SettingsError(
                f"{where} knowledge: [knowledge.{name}] channels does not list {channel}"
            )
    if ADMINS in section.roles:
        raise SettingsError(f"{where} roles: who has the role {ADMINS!r} is said by admins = […]")
    if section.roles and section.platform in _NOBODY_KNOWN:
        raise SettingsError(f"{where} roles: who writes there is not known for sure")
