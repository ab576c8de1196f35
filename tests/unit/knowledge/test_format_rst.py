"""What is read of reStructuredText."""

from __future__ import annotations

from pathlib import Path

import pytest

from knowledge.documents import Section
from tests.unit.knowledge.found import read_one, text_of


def read(tmp_path: Path, text: str) -> str:
    (tmp_path / "a.rst").write_text(text)
    return text_of(read_one(tmp_path / "a.rst").document)


def test_headings_lists_tables_and_fields_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.rst").write_text(
        "========\n退货政策\n========\n\n:Version: 2.10\n:语言: zh\n\n前言。\n\n"
        "期限\n====\n#. 七天\n#. 十天\n\n运费\n----\n"
        "======  ====\n城市    天数\n======  ====\n北京    2\n======  ====\n"
    )
    document = read_one(tmp_path / "a.rst").document
    assert document.title == "退货政策"
    assert document.metadata == {"version": "2.10", "language": "zh"}
    assert document.sections == (
        Section("", "前言。"),
        Section("期限", "1. 七天\n2. 十天"),
        Section("期限 › 运费", "| 城市 | 天数 |\n| --- | --- |\n| 北京 | 2 |"),
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("See :ref:`the words <label>` and :doc:`/intro`.", "See the words and /intro."),
        (".. versionadded:: 2.0\n   Was **not** there.", "2.0 Was not there."),
        (
            ".. tab-set::\n\n   .. tab-item:: Windows\n      :sync: w\n\n      Run it.",
            "Windows\n\nRun it.",
        ),
        (".. code-block:: sh\n   :caption: x\n   :linenos:\n\n   a\n     b", "a\n  b"),
        (".. toctree::\n   :maxdepth: 2\n\n   intro\n\nText.", "Text."),
        (".. only:: html\n\n   Text.", "Text."),
        ("Text.\n\n.. a comment", "Text."),
        ("A `broken and |undefined| text.", "A `broken and |undefined| text."),
    ],
)
def test_what_only_sphinx_knows_is_read_for_its_text(tmp_path: Path, text: str, shown: str) -> None:
    assert read(tmp_path, text) == shown


@pytest.mark.parametrize(
    "directive",
    [
        ".. include:: {}",
        ".. literalinclude:: {}",
        ".. csv-table::\n   :file: {}",
        ".. raw:: html\n   :file: {}",
        ".. raw:: html\n\n   <b>SECRET</b>",
    ],
)
def test_no_other_file_and_no_raw_html_is_let_in(tmp_path: Path, directive: str) -> None:
    (tmp_path / "secret.txt").write_text("SECRET")
    text = directive.format(tmp_path / "secret.txt")
    assert "SECRET" not in read(tmp_path, f"before\n\n{text}\n\nafter")


def test_front_matter_goes_before_fields(tmp_path: Path) -> None:
    (tmp_path / "a.rst").write_text("---\ntitle: T\nversion: 3\n---\n\n:Version: 2\n\nText.\n")
    document = read_one(tmp_path / "a.rst").document
    assert (document.title, document.metadata) == ("T", {"version": "3"})
    assert text_of(document) == "Text."


@pytest.mark.parametrize("text", ["> " * 300 + "x", "* " * 300 + "x", "*" * 5000, "|a|_ " * 200])
def test_hostile_texts_do_not_stop_the_reader(tmp_path: Path, text: str) -> None:
    from tests.unit.knowledge.found import read_all

    (tmp_path / "a.rst").write_text(text)
    found, faults = read_all(tmp_path / "a.rst")
    assert len(found) + len(faults) == 1
