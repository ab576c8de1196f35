"""What models are tuned on, and the folder that holds it: written here, read by every tuning.

    FOLDER/train.jsonl  validation.jsonl  test.jsonl      chat examples
        {"messages": [{"role": "system|user|assistant", "content": "…"}, …],
         "source": "agent|feedback|documents|unanswerable|imported",
         "conversation": "…", "document": "…"}
        The last message is the assistant's; its citations are "[n]" of the passages that the last
        of the user holds, and where those do not answer it is NO_ANSWER. But for imported
        examples the messages before it are kfbot's own grounding prompt.
    FOLDER/preferences.train.jsonl  preferences.validation.jsonl
        {"prompt": [messages], "chosen": [messages], "rejected": [messages],
         "source": "…", "conversation": "…", "document": "…"}
        `chosen` and `rejected` hold one message each, the assistant's.
    FOLDER/pairs.train.jsonl  pairs.test.jsonl            for the embedding model
        {"query": "…", "positive": "…", "negatives": ["…"], "kind": "faq|document",
         "source": "…", "conversation": "…", "document": "…"}
        Bare texts: prefixes that a model wants are the tuning's to add. faq: `positive` is a
        question too; document: it is a passage.
    FOLDER/manifest.json                                  how it was made, see `Manifest`

All files are UTF-8, one JSON object a line; every file is there, it may be empty. `conversation`
and `document` are "" where there is none. No conversation and no document is in two splits, also
not as a passage of a prompt; pairs.test.jsonl has those of validation and of test. Private data is
masked.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from kfbot.errors import KfbotError
from kfbot.knowledge_base import PassageKind
from kfbot.language import language_of

Source = Literal["agent", "feedback", "documents", "unanswerable", "imported"]
SOURCES: tuple[Source, ...] = get_args(Source)
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
#: {"role": "system" | "user" | "assistant", "content": text}
Message = dict[str, str]
MANIFEST = "manifest.json"
#: What the teacher has written, for a build that goes on.
TEACHER = "teacher.jsonl"
T = TypeVar("T")


class TuningDataError(KfbotError):
    """A file of examples cannot be used: its text names file and line, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatExample:
    """A prompt and the answer that it should get."""

    messages: tuple[Message, ...]
    source: Source
    conversation: str = ""
    document: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """A prompt, an answer to it, and a worse one."""

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    source: Source
    conversation: str = ""
    document: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A question, the text that it should find, and texts that it should not."""

    query: str
    positive: str
    negatives: tuple[str, ...] = ()
    #: faq: the others are questions too, as FAQ entries are found by; document: passages.
    kind: PassageKind = "faq"
    source: Source
    conversation: str = ""
    document: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """How a folder of examples was made."""

    #: By file without ".jsonl" ("train", "preferences.train", "pairs.test"), then by source and
    #: by language ("zh", "en"): examples.
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    #: What was left out, by reason.
    left_out: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    #: Share of the chat examples whose right answer is NO_ANSWER, 0 to 1.
    unanswerable_share: float = 0.0
    #: The model that wrote questions and answers; "": none did.
    teacher: str = ""
    #: By name: kfbot, and of what it was made with.
    versions: Mapping[str, str] = field(default_factory=dict)
    #: SHA-256 over the JSONL files, in the order of their names.
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class TuningData:
    """Everything that a folder holds, by file without ".jsonl"."""

    chat: Mapping[Split, Sequence[ChatExample]]
    preferences: Mapping[Split, Sequence[Preference]]
    pairs: Mapping[Split, Sequence[Pair]]

    def files(self) -> dict[str, Sequence[ChatExample | Preference | Pair]]:
        """The examples of each file; preferences have no test, pairs no validation."""
        found: dict[str, Sequence[ChatExample | Preference | Pair]] = {}
        for split in SPLITS:
            found[split] = self.chat.get(split, ())
        for split in SPLITS[:2]:
            found[f"preferences.{split}"] = self.preferences.get(split, ())
        found["pairs.train"] = self.pairs.get("train", ())
        found["pairs.test"] = [*self.pairs.get("validation", ()), *self.pairs.get("test", ())]
        return found


def row_of(example: ChatExample | Preference | Pair) -> dict[str, Any]:
    """An example as its line says it."""
    return asdict(example)


def question_of(example: ChatExample | Preference | Pair) -> str:
    """What was asked: the customer's last words, without the passages above them."""
    if isinstance(example, Pair):
        return example.query
    messages = example.messages if isinstance(example, ChatExample) else example.prompt
    asked = [one["content"] for one in messages if one["role"] == "user"]
    return asked[-1].rpartition("</passages>")[2].strip() if asked else ""


def write_folder(folder: Path, data: TuningData, manifest: Manifest) -> Manifest:
    """Write a folder of examples and return its manifest, counts and hash filled in.

    While it is written there is no manifest.

    Raises:
        TuningDataError: The folder holds something else, or cannot be written.
    """
    try:
        if folder.is_dir() and not _is_ours(folder):
            raise TuningDataError(f"{folder} holds something else: name a new folder with --out")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
        digest = hashlib.sha256()
        counts: dict[str, Mapping[str, int]] = {}
        for name, examples in sorted(data.files().items()):
            lines = [json.dumps(row_of(one), ensure_ascii=False) + "\n" for one in examples]
            written = "".join(lines).encode()
            (folder / f"{name}.jsonl").write_bytes(written)
            digest.update(written)
            labels = ((one.source, language_of(question_of(one))) for one in examples)
            counts[name] = dict(Counter(label for both in labels for label in both))
        made = replace(manifest, counts=counts, sha256=digest.hexdigest())
        text = json.dumps(asdict(made), ensure_ascii=False, indent=1)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise TuningDataError(f"{folder} cannot be written: {error.strerror}") from error
    return made


def _is_ours(folder: Path) -> bool:
    """True where there is nothing but what a build writes, also one that was broken off."""
    names = {MANIFEST, TEACHER, *(f"{name}.jsonl" for name in TuningData({}, {}, {}).files())}
    return {one.name for one in folder.iterdir()} <= names


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder of examples.

    Raises:
        TuningDataError: It is none, or was never finished.
    """
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return Manifest(**found)
    except (OSError, ValueError, TypeError) as error:
        raise TuningDataError(
            f"{folder} is no finished folder of examples: kfbot model data build --out {folder}"
        ) from error


def read_chat(path: Path) -> list[ChatExample]:
    """The examples of train.jsonl, validation.jsonl or test.jsonl.

    Raises:
        TuningDataError: Names file and line of the first fault.
    """
    return [_read(path, line, row, _chat) for line, row in _rows(path)]


def read_preferences(path: Path) -> list[Preference]:
    """The examples of a preferences.*.jsonl.

    Raises:
        TuningDataError: Names file and line of the first fault.
    """
    return [_read(path, line, row, _preference) for line, row in _rows(path)]


def read_pairs(path: Path) -> list[Pair]:
    """The examples of a pairs.*.jsonl.

    Raises:
        TuningDataError: Names file and line of the first fault.
    """
    return [_read(path, line, row, _pair) for line, row in _rows(path)]


def messages_of(value: object) -> tuple[Message, ...]:
    """Messages as a line holds them.

    Raises:
        ValueError: Says what they are not.
    """
    if not isinstance(value, list) or not value:
        raise ValueError("messages are missing")
    found = []
    for one in value:
        if not isinstance(one, dict) or one.get("role") not in ("system", "user", "assistant"):
            raise ValueError('a message needs a "role": system, user or assistant')
        found.append({"role": one["role"], "content": text_of(one, "content")})
    return tuple(found)


def text_of(row: Mapping[str, Any], name: str) -> str:
    """A field that must hold text.

    Raises:
        ValueError: It does not.
    """
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f'"{name}" is missing or no text')
    return value


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8") as file:
            for line, text in enumerate(file, start=1):
                if not text.strip():
                    continue
                row = json.loads(text)
                if not isinstance(row, dict):
                    raise TuningDataError(f"{path}:{line}: no JSON object")
                yield line, row
    except OSError as error:
        raise TuningDataError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TuningDataError(f"{path}: no UTF-8") from error
    except ValueError as error:
        raise TuningDataError(f"{path}:{line}: no JSON") from error


def _read(path: Path, line: int, row: dict[str, Any], make: Callable[[dict[str, Any]], T]) -> T:
    try:
        return make(row)
    except ValueError as error:
        raise TuningDataError(f"{path}:{line}: {error}") from error


def _chat(row: dict[str, Any]) -> ChatExample:
    messages = messages_of(row.get("messages"))
    if messages[-1]["role"] != "assistant":
        raise ValueError("the last message is not the assistant's")
    return ChatExample(messages=messages, **_origin(row))


def _preference(row: dict[str, Any]) -> Preference:
    return Preference(
        prompt=messages_of(row.get("prompt")),
        chosen=messages_of(row.get("chosen")),
        rejected=messages_of(row.get("rejected")),
        **_origin(row),
    )


def _pair(row: dict[str, Any]) -> Pair:
    negatives = row.get("negatives", [])
    if not isinstance(negatives, list) or not all(isinstance(one, str) for one in negatives):
        raise ValueError('"negatives" is no list of texts')
    kind = row.get("kind", "faq")
    if kind not in ("faq", "document"):
        raise ValueError('"kind" is faq or document')
    return Pair(
        query=text_of(row, "query"),
        positive=text_of(row, "positive"),
        negatives=tuple(negatives),
        kind=kind,
        **_origin(row),
    )


def _origin(row: dict[str, Any]) -> dict[str, Any]:
    source = row.get("source", "imported")
    if source not in SOURCES:
        raise ValueError(f'"source" is one of {", ".join(SOURCES)}')
    return {
        "source": source,
        "conversation": str(row.get("conversation", "")),
        "document": str(row.get("document", "")),
    }
