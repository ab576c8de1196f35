# ruff: noqa: E501 - payloads and fragments, as they come
"""Damaged files of every format: each gives documents or a reason, and never an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from knowledge.cleaning import CleaningPolicy
from knowledge.documents import SourceFile
from knowledge.reading import Parsed, parse
from tests.fuzz.mutation import Pick
from tests.fuzz.profile import PICKS, fuzz
from tests.fuzz.samples import mutated_file, samples
from tests.fuzz.work import check_linear

ENDINGS = (
    ".csv", ".docx", ".eml", ".epub", ".html", ".jsonl", ".md", ".pdf", ".pptx", ".rst", ".txt",
    ".xlsx",
)  # fmt: skip
#: Repeated thousands of times in a file.
UNITS = {
    ".md": ("> ", "- ", "* ", "[", "[a](", "`", "#", "|", "\n|a|b", "<!--", "<a ", "---\n", "  - a\n", "a\n\n"),
    ".html": ("<div>", "<p>", "<table><tr><td>", "<li>", "<b>", "&", "<!--", "<a href='", "<h1>a", "</p>",
              "<div style='font-size:0'>"),
    ".rst": ("`", "*", "|", "- ", "a\n=\n", ".. ", ":a:`", "> ", "  "),
    ".csv": ('"', ",", "a,b\n", '""'),
    ".jsonl": ("[", '{"a":', '"', "{}\n"),
    ".txt": ("a", " ", "\n", "。", "1. ", "@"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed")


def parsed(content: bytes, ending: str, folder: Path) -> Parsed:
    """What a file of these bytes gives, by the way that a load takes."""
    path = folder / f"fuzzed{ending}"
    path.write_bytes(content)
    return parse(SourceFile(path, path.name), CleaningPolicy())


def check_file(content: bytes, ending: str, folder: Path) -> None:
    """A file gives documents that can be stored, or reasons of one line each.

    Raises:
        AssertionError: Neither; any other error but of nesting is a reader's fault, too.
    """
    try:
        found = parsed(content, ending, folder)
    except RecursionError:
        # What is nested so deeply is named by the child process that reads it.
        return
    for reason in found.unreadable:
        assert "\n" not in reason
        assert len(reason) < 500
    for one in found.documents:
        assert one.document.id
        for chunk in one.chunks:
            assert chunk.text
            chunk.text.encode("utf-8")
            assert "\0" not in chunk.text


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_good_file_is_read(ending: str, folder: Path) -> None:
    found = parsed(samples(folder)[ending], ending, folder)
    assert found.documents
    assert not found.unreadable


def test_a_table_whose_header_has_an_open_quote_says_so(folder: Path) -> None:
    found = parsed(b'question,answer,"variants\na,b,c\n', ".csv", folder)
    assert found.unreadable == ("fuzzed.csv: line 1: a quote is not closed",)


def test_a_mail_of_an_hour_beyond_all_numbers_is_named(folder: Path) -> None:
    mail = samples(folder)[".eml"].replace(b"2026 09:", b"2026 " + b"9" * 30 + b":")
    assert parsed(mail, ".eml", folder).unreadable == ("fuzzed.eml: not a readable e-mail",)


@pytest.mark.parametrize("ending", ENDINGS)
@fuzz(12, pick=PICKS)
def test_a_damaged_file_gives_documents_or_a_reason(ending: str, folder: Path, pick: Pick) -> None:
    check_file(mutated_file(samples(folder)[ending], pick), ending, folder)


@pytest.mark.parametrize(
    ("ending", "unit"), [(ending, unit) for ending, units in UNITS.items() for unit in units]
)
def test_a_file_twice_as_long_takes_twice_the_work(ending: str, unit: str, folder: Path) -> None:
    check_linear(lambda text: check_file(text.encode(), ending, folder), unit, 40)


@pytest.mark.parametrize("ending", [".md", ".html", ".rst", ".eml", ".jsonl", ".csv"])
def test_what_is_nested_a_thousand_deep_is_named_or_read(ending: str, folder: Path) -> None:
    for unit in ("> ", "- ", "<div>", "[", '{"a":', '"', "* "):
        check_file((unit * 1_500).encode(), ending, folder)
