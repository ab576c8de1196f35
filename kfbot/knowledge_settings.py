"""What `[knowledge.<name>]` says: the settings of one knowledge base."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from kfbot.model_settings import Section

#: How a source begins that is no path.
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9.+-]*://")
_READ_BY = re.compile(r"https?|git\+(?:https?|ssh|file)", re.IGNORECASE)


def _plain_name(name: str) -> str:
    """A name as it is.

    Raises:
        ValueError: It cannot stand before an id.
    """
    if not name.strip() or "/" in name:
        raise ValueError("the name of a knowledge base has no / in it, and is not empty")
    return name


KnowledgeName = Annotated[str, AfterValidator(_plain_name)]


def _known_source(source: str) -> str:
    """A source as it is.

    Raises:
        ValueError: It is an address that nothing reads.
    """
    scheme, _, rest = source.partition("://")
    if not ADDRESS.match(source) or (rest and _READ_BY.fullmatch(scheme)):
        return source
    raise ValueError("an address begins with https://, http://, git+https:// or git+ssh://")


#: The kinds of `knowledge.cleaning.masking`.
PrivateData = Literal["email", "id_card", "iban", "bank_card", "us_ssn", "passport",
    "mobile", "phone", "ip", "plate", "address", "name"]  # fmt: skip
#: Kinds, or those that `knowledge.cleaning.masking` masks by default.
PrivateKinds = tuple[PrivateData, ...] | Literal["default"]


class FieldSettings(Section):
    """`[knowledge.<name>.fields]`: what documents get for filters beside what they say."""

    #: What folders and file names tell: "{product}/{version}/", "manuals/{product}-{language}.md".
    path: str = ""


class KnowledgeSettings(Section):
    """`[knowledge.<name>]`: one knowledge base."""

    #: Files, folders, archives and addresses; see docs/sources.md. Paths are relative to the
    #: settings file, folders are read recursively.
    sources: tuple[Annotated[str, AfterValidator(_known_source)], ...] = Field(min_length=1)
    #: Addresses may lead to private networks and to this machine.
    allow_private: bool = False
    #: Pages that are asked for at most for one web source.
    max_pages: int = Field(default=1000, ge=1, le=100_000)
    #: What it is about; where there are hundreds, it helps to find the right one.
    description: str = ""
    #: It is for questions in these languages; empty: for all, also across languages.
    languages: tuple[Literal["zh", "en"], ...] = ()
    #: Channels whose customers are answered from it; empty: all.
    channels: tuple[str, ...] = ()
    #: Only people who have one of these roles are answered from it, and never in a group where
    #: others read along; empty: everybody. See `[channels.<name>.roles]`.
    roles: tuple[str, ...] = ()
    fields: FieldSettings = FieldSettings()
    #: Loaded again so often; 0: only when somebody asks for it.
    reload_every_minutes: float = Field(default=0, ge=0, le=60 * 24 * 366)
    #: Loaded soon after a file of a local source has changed.
    reload_on_change: bool = False
    #: Private data masked before anything is stored: kinds, or "default"; see docs/cleaning.md.
    mask: PrivateKinds = "default"
    #: What is never masked: "400-123-4567", "*@example.com".
    keep: tuple[str, ...] = ()
    #: Questions that the chat model writes for each chunk of a document, and that it is found by
    #: too; see docs/knowledge.md.
    generated_questions: int = Field(default=0, ge=0, le=10)
    #: Broken characters are repaired, residue of layout is dropped, and of documents that say
    #: the same one is kept; a step that is not named is not taken.
    clean: tuple[Literal["repair", "noise", "duplicates"], ...] = ("repair", "noise", "duplicates")
