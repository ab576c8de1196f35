"""Files, folders and git checkouts of this machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from kfbot.errors import DocumentUnreadable
from knowledge.documents import SourceFile
from knowledge.sources import find_files
from knowledge.sources.contract import SourceUnreachable


def read(*sources: str | Path) -> tuple[list[str], list[DocumentUnreadable]]:
    found = list(find_files(sources, Path("/nonexistent")))
    return (
        [one.name for one in found if isinstance(one, SourceFile)],
        [one for one in found if isinstance(one, DocumentUnreadable)],
    )


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=x", "-c", "user.email=x@y.z", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_md", ".md")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_source_that_is_not_there_may_come_back(tmp_path: Path) -> None:
    _, [fault] = read(tmp_path / "unmounted")
    assert isinstance(fault, SourceUnreachable)
    assert fault.kept == (str(tmp_path / "unmounted"),)


def test_nothing_is_no_source(tmp_path: Path) -> None:
    _, [fault] = read("")
    assert isinstance(fault, SourceUnreachable)
    assert fault.kept == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="root lists every folder")
def test_folder_that_cannot_be_listed_may_come_back(tmp_path: Path) -> None:
    write(tmp_path, a_md="x", shut__b_md="x")
    (tmp_path / "shut").chmod(0)
    files, [fault] = read(tmp_path)
    assert files == ["a.md"]
    assert isinstance(fault, SourceUnreachable)
    assert fault.kept == (str(tmp_path / "shut"),)


def test_links_that_lead_out_or_in_circles_are_safe(tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("x")
    docs = write(tmp_path / "docs", a_md="x", below__b_md="x")
    (docs / "out.md").symlink_to(tmp_path / "secret.md")
    (docs / "circle").symlink_to(docs)
    (docs / "itself.md").symlink_to(docs / "itself.md")
    (docs / "twice.md").symlink_to(docs / "a.md")
    files, faults = read(docs)
    assert files == ["a.md", "below/b.md"]
    assert [fault.source for fault in faults] == ["itself.md", "out.md"]


def test_checkout_gives_what_git_tracks_or_would_track(tmp_path: Path) -> None:
    write(
        tmp_path,
        a_md="x",
        new_md="x",
        build__out_md="x",
        sub__b_md="x",
        sub__draft_md="x",
    )
    (tmp_path / ".gitignore").write_text("build/\ndraft.md\n")
    git(tmp_path, "init")
    git(tmp_path, "add", "a.md", "sub/b.md")
    (tmp_path / "退货.md").write_text("七天")
    assert read(tmp_path) == (["a.md", "new.md", "sub/b.md", "退货.md"], [])


def test_checkout_in_a_folder_has_its_own_rules_and_the_outer_ones_hold(tmp_path: Path) -> None:
    write(tmp_path, a_md="x", one__b_md="x", one__no_md="x", vendor__v_md="x", plain__no_md="x")
    (tmp_path / "one" / ".gitignore").write_text("no.md")
    (tmp_path / ".gitignore").write_text("vendor/\n")
    for folder in (tmp_path, tmp_path / "one", tmp_path / "vendor"):
        git(folder, "init")
    git(tmp_path, "add", "a.md")
    assert read(tmp_path)[0] == ["a.md", "one/b.md", "plain/no.md"]


def test_file_that_git_lists_and_nobody_has_is_no_file(tmp_path: Path) -> None:
    write(tmp_path, a_md="x", b_md="x")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    (tmp_path / "b.md").unlink()
    assert read(tmp_path) == (["a.md"], [])


def test_checkout_that_git_does_not_list_is_read_whole_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, a_md="x")
    (tmp_path / ".git").write_text("gitdir: /nonexistent")
    assert read(tmp_path) == (["a.md"], [])
    assert ".gitignore is not obeyed" in caplog.text


def test_checkout_is_read_whole_where_there_is_no_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, a_md="x", b_md="x")
    (tmp_path / ".gitignore").write_text("b.md")
    git(tmp_path, "init")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read(tmp_path) == (["a.md", "b.md"], [])


def test_checkout_runs_no_program_that_it_names(tmp_path: Path) -> None:
    write(tmp_path, a_md="x")
    git(tmp_path, "init")
    program = tmp_path / ".git" / "spy"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    git(tmp_path, "config", "core.fsmonitor", str(program))
    assert read(tmp_path)[0] == ["a.md"]
    assert not (tmp_path / "ran").exists()
