"""What a knowledge base is filled from, and how that is treated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from knowledge.cleaning import CleaningPolicy
from knowledge.cleaning.masking import DEFAULT
from knowledge.sources.contract import Fetching

if TYPE_CHECKING:
    from kfbot.knowledge_settings import KnowledgeSettings


@dataclass(frozen=True, slots=True)
class Intake:
    """The sources of a knowledge base; another policy means reading all of them again."""

    #: Files, folders, archives and addresses: see docs/sources.md.
    sources: tuple[str, ...]
    fetching: Fetching = field(default_factory=Fetching)
    policy: CleaningPolicy = field(default_factory=CleaningPolicy)
    #: Of documents that say the same one is found, and stands for the others.
    merges_duplicates: bool = True
    #: What it is about, in the operator's words; helps to choose among many.
    description: str = ""
    #: The languages of the questions that it is for, of "zh" and "en"; empty: of all.
    languages: tuple[str, ...] = ()
    #: Fields that the path of a file tells, as in "{product}/{version}/"; see `path_fields`.
    path_fields: str = ""
    #: That a chat model writes for each chunk; see `asked`.
    generated_questions: int = 0


def intake_of(section: KnowledgeSettings) -> Intake:
    """What a `[knowledge.<name>]` section says."""
    return Intake(
        sources=section.sources,
        description=section.description,
        languages=section.languages,
        path_fields=section.fields.path,
        generated_questions=section.generated_questions,
        fetching=Fetching(allow_private=section.allow_private, max_pages=section.max_pages),
        policy=CleaningPolicy(
            repair="repair" in section.clean,
            drop_noise="noise" in section.clean,
            mask=DEFAULT if section.mask == "default" else frozenset(section.mask),
            keep=section.keep,
        ),
        merges_duplicates="duplicates" in section.clean,
    )
