"""Pages as they were fetched last, by address, so that an unchanged one is not fetched again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from knowledge.sources.locks import LOCK, writing

_ABOUT = "about.json"


@dataclass(frozen=True, slots=True)
class Kept:
    """What an address gave last."""

    #: Where it sends to instead; "": it is a page itself.
    redirect: str = ""
    #: Name of the page's file.
    file: str = ""
    etag: str = ""
    last_modified: str = ""
    #: X-Robots-Tag.
    robots: str = ""


def load(cache: Path, url: str) -> Kept | None:
    """What is known of an address, and is marked as used; None: nothing."""
    folder = folder_of(cache, url)
    try:
        kept = Kept(**json.loads((folder / _ABOUT).read_text(encoding="utf-8")))
        if kept.file and not (folder / kept.file).is_file():
            return None
        os.utime(folder / _ABOUT)
    except (OSError, ValueError, TypeError):
        return None
    return kept


def save(cache: Path, url: str, kept: Kept, body: bytes = b"") -> None:
    """Keep what an address gave. A file that holds the same already is not touched.

    Raises:
        OSError: It cannot be written.
    """
    folder = folder_of(cache, url)
    with writing(folder):
        if kept.file:
            _write(folder / kept.file, body)
        _write(folder / _ABOUT, json.dumps(asdict(kept)).encode())
        for other in folder.iterdir():
            if other.name not in (_ABOUT, kept.file, LOCK):
                other.unlink()


def forget(cache: Path, url: str) -> None:
    """Drop what is known of an address."""
    shutil.rmtree(folder_of(cache, url), ignore_errors=True)


def folder_of(cache: Path, url: str) -> Path:
    """Where an address has its page; the same for good."""
    return cache / hashlib.sha256(url.encode()).hexdigest()[:32]


def _write(path: Path, content: bytes) -> None:
    with suppress(OSError):
        if path.read_bytes() == content:
            return
    partial = path.with_name(".part")
    partial.write_bytes(content)
    partial.replace(path)
