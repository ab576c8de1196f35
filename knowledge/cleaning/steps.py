"""Cleans a document in its order: repaired, freed of noise, private data masked."""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass

from knowledge.cleaning.encoding import drop_invisible
from knowledge.cleaning.masking import DEFAULT, mask
from knowledge.cleaning.quality import drop_noise
from knowledge.cleaning.repair import repair
from knowledge.cleaning.texts import change_texts
from knowledge.documents import Document


@dataclass(frozen=True, slots=True)
class CleaningPolicy:
    """What is done to the documents of a knowledge base; nothing changes at the source."""

    repair: bool = True
    drop_noise: bool = True
    #: Kinds of private data to mask: see `masking.KINDS`.
    mask: frozenset[str] = DEFAULT
    #: What is never masked: see `masking.mask`.
    keep: tuple[str, ...] = ()


def clean_document(
    document: Document, policy: CleaningPolicy
) -> tuple[Document | None, Counter[str]]:
    """The document as it is stored, and what was done, as "lines repaired" → times.

    None when nothing but noise is in it. Deterministic; keeps no state.
    """
    counts: Counter[str] = Counter()
    if policy.repair:
        document, counts["lines repaired"] = _repair(document)
    cleaned: Document | None = document
    if policy.drop_noise:
        cleaned, dropped = drop_noise(document)
        counts.update({f"{kind} lines dropped": times for kind, times in dropped.items()})
    if cleaned is not None and policy.mask:
        cleaned, masked = mask(cleaned, policy.mask, policy.keep)
        counts.update({f"{kind} masked": times for kind, times in masked.items()})
    return cleaned, +counts


def _repair(document: Document) -> tuple[Document, int]:
    times = 0

    def change(text: str) -> str:
        nonlocal times
        repaired, lines = repair(text)
        times += lines
        return text if repaired == text else unicodedata.normalize("NFC", repaired)

    document = change_texts(document, change)
    return change_texts(document, lambda text: drop_invisible(text, broken=True)), times
