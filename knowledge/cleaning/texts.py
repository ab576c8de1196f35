"""The texts of a document, changed all alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from knowledge.documents import Document


def change_texts(document: Document, change: Callable[[str], str]) -> Document:
    """The document with every text that people read changed; itself when none was."""
    sections = tuple(
        section
        if (heading, text) == (section.heading, section.text)
        else replace(section, heading=heading, text=text)
        for section in document.sections
        for heading, text in [(change(section.heading), change(section.text))]
    )
    changed = replace(
        document,
        title=change(document.title),
        sections=sections,
        question=change(document.question),
        answer=change(document.answer),
        variants=tuple(map(change, document.variants)),
        metadata={key: change(value) for key, value in document.metadata.items()},
    )
    return document if changed == document else changed
