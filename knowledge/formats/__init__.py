"""Formats: one file each, by the ending of a file's name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from kfbot.errors import DocumentUnreadable
from knowledge.documents import SourceFile
from knowledge.formats.contract import FileFault, Found, Reader
from knowledge.formats.docx import read_docx
from knowledge.formats.epub import read_epub
from knowledge.formats.image import read_image_file
from knowledge.formats.mail import read_mail
from knowledge.formats.packages import SAVED_AS, read_foreign
from knowledge.formats.pdf import read_pdf
from knowledge.formats.pptx import read_pptx
from knowledge.formats.rows import read_csv, read_jsonl
from knowledge.formats.rst import read_rst
from knowledge.formats.text import read_html_file, read_markdown_file, read_plain
from knowledge.formats.xlsx import read_xlsx
from knowledge.sources.folders import io_reason, shown_name

READERS: Mapping[str, Reader] = {
    ".md": read_markdown_file,
    ".markdown": read_markdown_file,
    ".txt": read_plain,
    ".html": read_html_file,
    ".htm": read_html_file,
    ".csv": read_csv,
    ".jsonl": read_jsonl,
    ".json-lines": read_jsonl,
    ".ndjson": read_jsonl,
    ".rst": read_rst,
    ".docx": read_docx,
    ".docm": read_docx,
    ".pdf": read_pdf,
    ".pptx": read_pptx,
    ".pptm": read_pptx,
    ".ppsx": read_pptx,
    ".xlsx": read_xlsx,
    ".xlsm": read_xlsx,
    ".epub": read_epub,
    ".eml": read_mail,
    **dict.fromkeys(SAVED_AS, read_foreign),
    ".png": read_image_file,
    ".jpg": read_image_file,
    ".jpeg": read_image_file,
    ".webp": read_image_file,
    ".bmp": read_image_file,
    ".tif": read_image_file,
    ".tiff": read_image_file,
    ".gif": read_image_file,
}

_MOST_BYTES = 50 * 1024 * 1024


def read_file(file: SourceFile) -> Iterator[Found | DocumentUnreadable]:
    """The documents of a file; what cannot be read comes as a DocumentUnreadable in its place."""
    try:
        nothing = True
        for found in _reader(file.path)(file):
            nothing = False
            yield found
        if nothing:
            raise FileFault("empty")
    except FileFault as error:
        yield DocumentUnreadable(file.name, str(error))
    except OSError as error:
        yield DocumentUnreadable(file.name, io_reason(error))
    except UnicodeError:
        yield DocumentUnreadable(file.name, "binary, not text")


def _reader(path: Path) -> Reader:
    """The reader for a file.

    Raises:
        FileFault: There is none, or the file is not even opened.
    """
    suffix = path.suffix.lower()
    read = READERS.get(suffix)
    if read is None:
        kind = f"file {shown_name(suffix)}" if suffix else "file, its name has no ending"
        raise FileFault(f"unknown kind of {kind}")
    if not path.is_file():
        # A pipe or a device may have no end.
        raise FileFault("not a regular file" if path.exists() else "does not exist")
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise FileFault(f"larger than {_MOST_BYTES // 1024**2} MB")
    if not size:
        raise FileFault("empty")
    return read
