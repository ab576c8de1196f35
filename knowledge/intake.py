"""What a knowledge base is filled from, and how that is treated."""

from __future__ import annotations

from dataclasses import dataclass, field

from knowledge.cleaning import CleaningPolicy
from knowledge.sources.contract import Fetching


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
