"""The cases of the adversarial set, read from the files beside this one."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
_NOT_KINDS = frozenset(("question", "text", "true", "nothing"))


@dataclass(frozen=True, slots=True)
class Case:
    """A sentence that the scripted model writes about a document."""

    language: str
    question: str
    document: str
    kind: str
    sentence: str

    @property
    def name(self) -> str:
        return f"{self.language}-{self.kind}-{self.sentence[:40]}"


def cases() -> Iterator[Case]:
    """Every sentence of every document."""
    for language in ("en", "zh"):
        read = tomllib.loads((_HERE / f"{language}.toml").read_text("utf-8"))
        for document in read["document"]:
            for kind, sentences in document.items():
                if kind not in ("question", "text"):
                    for sentence in sentences:
                        yield Case(language, document["question"], document["text"], kind, sentence)


TRUE = tuple(case for case in cases() if case.kind == "true")
NOTHING = tuple(case for case in cases() if case.kind == "nothing")
UNTRUE = tuple(case for case in cases() if case.kind not in _NOT_KINDS)


@dataclass(frozen=True, slots=True)
class Scene:
    """A whole completion of the scripted model."""

    name: str
    question: str
    passages: tuple[str, ...]
    writes: str
    #: Must not be shown.
    lie: tuple[str, ...]
    #: Must be shown.
    says: tuple[str, ...]


def _scenes() -> Iterator[Scene]:
    for one in tomllib.loads((_HERE / "scenes.toml").read_text("utf-8"))["scene"]:
        yield Scene(
            one["name"],
            one["question"],
            tuple(one["passages"]),
            one["writes"],
            tuple(one["lie"]),
            tuple(one.get("says", ())),
        )


SCENES = tuple(_scenes())
