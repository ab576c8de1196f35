"""Where documents lie that were uploaded: a folder that every knowledge base has as a source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from kfbot.knowledge_settings import KnowledgeSettings

#: Begins the ids of uploaded documents, so that they clash with those of no other source.
UPLOADED = "uploads"


def uploads_folder(data_dir: Path, knowledge_base: str) -> Path:
    """The source folder of a knowledge base; its documents lie in UPLOADED below it."""
    # A knowledge base may be called "..".
    return data_dir / "uploads" / quote(knowledge_base, safe="").replace(".", "%2E")


def with_uploads(
    sections: Mapping[str, KnowledgeSettings], data_dir: Path
) -> dict[str, KnowledgeSettings]:
    """The knowledge bases with their uploads as one more source; makes the folders."""
    found = {}
    for name, section in sections.items():
        folder = uploads_folder(data_dir, name)
        folder.mkdir(parents=True, exist_ok=True)
        found[name] = section.model_copy(update={"sources": (*section.sources, str(folder))})
    return found
