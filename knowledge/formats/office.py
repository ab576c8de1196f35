"""What Word, PowerPoint and Excel packages share: relations, properties, pictures, diagrams."""

from __future__ import annotations

import hashlib
import io
import posixpath
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from knowledge.cleaning import clean
from knowledge.formats.contract import FileFault
from knowledge.formats.image import PICTURE_FORMATS, named_faults
from knowledge.formats.packages import parse_xml
from knowledge.front_matter import FACTS, name_facts

# Icons, bullets and rules hold no text.
_LEAST_SIDE = 50
_LEAST_PIXELS = 20_000
_MOST_PIXELS = 50_000_000
_MOST_PICTURES = 200
_JUNK_TITLES = ("microsoft word", "microsoft powerpoint", "powerpoint", "幻灯片", "document")


@dataclass(frozen=True, slots=True)
class Relation:
    """A link from a part of a package to another part, or to an address."""

    #: The last word of its type: "hyperlink", "image", "footnotes", …
    kind: str
    #: A member's name, or the address when it is external.
    target: str
    external: bool


def local(element: Any) -> str:
    """A tag without its namespace: strict and transitional files differ in nothing else."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: Any, name: str) -> str:
    """An attribute whatever its namespace; "" when it is absent."""
    if element is None:
        return ""
    value = element.get(name)
    if value is not None:
        return str(value)
    return next((str(text) for key, text in element.attrib.items() if key.endswith("}" + name)), "")


def child(element: Any, *path: str) -> Any:
    """The first child of this name, and its child, and so on; None when there is none."""
    for name in path:
        if element is None:
            return None
        element = next((inner for inner in element if local(inner) == name), None)
    return element


def elements(parent: Any) -> Iterator[Any]:
    """The elements in another, without comments; none in None."""
    if parent is not None:
        yield from (inner for inner in parent if isinstance(inner.tag, str))


def read_relations(package: zipfile.ZipFile, member: str) -> dict[str, Relation]:
    """The relations of a member by their ids; none where the package says nothing of it."""
    folder, name = posixpath.split(member)
    listing = posixpath.join(folder, "_rels", name + ".rels")
    relations = {}
    for element in elements(load(package, listing)):
        target = element.get("Target", "")
        external = element.get("TargetMode", "") == "External"
        if not external:
            target = posixpath.normpath(posixpath.join("/" + folder, target)).lstrip("/")
        kind = element.get("Type", "").rpartition("/")[2]
        relations[element.get("Id", "")] = Relation(kind, target, external)
    return relations


def load(package: zipfile.ZipFile, member: str) -> Any:
    """The XML of a member; None when the package has no such member.

    Raises:
        FileFault: It is damaged.
    """
    try:
        content = package.read(member)
    except KeyError:
        return None
    return parse_xml(content, member)


def core_facts(package: zipfile.ZipFile) -> dict[str, str]:
    """What the author filled in: title, language, date of the last change, version, …"""
    values: dict[str, object] = {}
    for member in ("docProps/core.xml", "docProps/custom.xml"):
        for element in elements(load(package, member)):
            name = element.get("name") or local(element)
            values.setdefault(name, "".join(element.itertext()))
    facts = {name: fact for name, fact in name_facts(values).items() if name in FACTS}
    if facts.get("title", "").lower().startswith(_JUNK_TITLES):
        del facts["title"]
    return facts


def diagram_text(package: zipfile.ZipFile, member: str) -> str:
    """The texts of a SmartArt diagram as a list."""
    lines = []
    for point in _all(load(package, member), "pt"):
        texts = (text.text for text in _all(point, "t") if text.text)
        lines.append(" ".join(clean("".join(texts)).split()))
    return "\n".join(f"- {line}" for line in lines if line)


def _all(element: Any, name: str) -> Iterator[Any]:
    if element is not None:
        yield from (inner for inner in element.iter() if local(inner) == name)


@dataclass(slots=True)
class PictureReader:
    """Reads the pictures of one document by OCR, each once."""

    counts: Counter[str] = field(default_factory=Counter)
    _confidences: list[float] = field(default_factory=list)
    _seen: set[bytes] = field(default_factory=set)

    def read(self, content: bytes) -> str:
        """The text in a picture; "" when there is none, or it was read before, or is too small."""
        digest = hashlib.sha256(content).digest()
        if digest in self._seen:
            return ""
        self._seen.add(digest)
        pixels = self._decode(content)
        if pixels is None:
            return ""
        if self.counts["pictures read by OCR"] >= _MOST_PICTURES:
            self.counts["pictures beyond the limit"] += 1
            return ""
        from knowledge.ocr import as_text, recognise

        self.counts["pictures read by OCR"] += 1
        found = recognise(pixels)
        self._confidences.extend(line.confidence for line in found.lines)
        return as_text(found)

    def facts(self) -> dict[str, str]:
        """How sure the recogniser was, when it read anything."""
        if not self._confidences:
            return {}
        mean = sum(self._confidences) / len(self._confidences)
        return {"ocr_confidence": f"{mean:.2f}"}

    def _decode(self, content: bytes) -> Any:
        import numpy as np
        from PIL import Image

        try:
            with named_faults():
                image = Image.open(io.BytesIO(content), formats=PICTURE_FORMATS)
                width, height = image.size
                if min(width, height) < _LEAST_SIDE or width * height < _LEAST_PIXELS:
                    return None
                if width * height > _MOST_PIXELS:
                    raise FileFault("more pixels than a page has")
                picture = image.convert("RGBA")
            page = Image.new("RGBA", picture.size, "white")
            page.alpha_composite(picture)
            return np.asarray(page.convert("RGB"))
        except FileFault:
            # Of another kind, as Windows metafiles are, damaged, or too large.
            self.counts["pictures that cannot be read"] += 1
            return None
