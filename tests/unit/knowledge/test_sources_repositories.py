"""Git repositories as sources, fetched from this machine."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from kfbot.errors import DocumentUnreadable
from knowledge.documents import SourceFile
from knowledge.sources import find_files
from knowledge.sources.contract import Fetching, SourceUnreachable
from knowledge.sources.repositories import _parse, _web_address
from tests.unit.knowledge.test_sources_folders import git, write


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = write(tmp_path / "handbook", README_md="x", docs__a_md="one", docs__deep__b_md="b")
    git(folder, "init")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "first")
    return folder


def read(source: str, cache: Path) -> tuple[list[SourceFile], list[DocumentUnreadable]]:
    found = list(find_files([source], cache, Fetching(allow_private=True)))
    return (
        [one for one in found if isinstance(one, SourceFile)],
        [one for one in found if isinstance(one, DocumentUnreadable)],
    )


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-m", "more")


def test_files_of_a_repository_are_named_below_it(repository: Path, tmp_path: Path) -> None:
    source = f"git+file://{repository}"
    files, faults = read(source, tmp_path / "cache")
    assert faults == []
    assert [file.name for file in files] == [
        "handbook/README.md",
        "handbook/docs/a.md",
        "handbook/docs/deep/b.md",
    ]
    assert all(Path(file.origin).is_relative_to(source) for file in files)


def test_folder_file_and_branch_are_chosen(repository: Path, tmp_path: Path) -> None:
    git(repository, "checkout", "-b", "feature/x")
    (repository / "docs" / "a.md").write_text("branch")
    commit(repository)
    git(repository, "checkout", "main")
    at = f"git+file://{repository}"
    [a, b], _ = read(f"{at}@feature/x#docs", tmp_path / "cache")
    assert (a.name, a.path.read_text()) == ("handbook/docs/a.md", "branch")
    assert b.name == "handbook/docs/deep/b.md"
    [only], _ = read(f"{at}#docs/a.md", tmp_path / "cache")
    assert (only.name, only.path.read_text()) == ("handbook/docs/a.md", "one")


def test_new_commits_are_taken_up_and_other_files_not_touched(
    repository: Path, tmp_path: Path
) -> None:
    source = f"git+file://{repository}#docs"
    [a, b], _ = read(source, tmp_path / "cache")
    before = b.path.stat().st_ctime_ns
    (repository / "docs" / "a.md").write_text("two")
    write(repository, docs__c_md="new")
    commit(repository)
    files, _ = read(source, tmp_path / "cache")
    assert [file.path.read_text() for file in files] == ["two", "new", "b"]
    assert files[0].path == a.path
    assert b.path.stat().st_ctime_ns == before
    git(repository, "rm", "docs/a.md")
    commit(repository)
    assert len(read(source, tmp_path / "cache")[0]) == 2


def test_rewritten_history_is_taken_up(repository: Path, tmp_path: Path) -> None:
    source = f"git+file://{repository}#docs/a.md"
    read(source, tmp_path / "cache")
    (repository / "docs" / "a.md").write_text("rewritten")
    git(repository, "commit", "--amend", "-am", "other")
    assert read(source, tmp_path / "cache")[0][0].path.read_text() == "rewritten"


def test_fetching_that_was_killed_is_done_again(repository: Path, tmp_path: Path) -> None:
    source = f"git+file://{repository}#docs/a.md"
    read(source, tmp_path / "cache")
    [work] = (tmp_path / "cache" / "git").iterdir()
    (work / "git" / "index.lock").touch()
    (work / "git" / "shallow.lock").touch()
    assert len(read(source, tmp_path / "cache")[0]) == 1


def test_repository_that_cannot_be_fetched_stays(tmp_path: Path) -> None:
    source = f"git+file://{tmp_path}/none.git"
    files, [fault] = read(source, tmp_path / "cache")
    assert files == []
    assert isinstance(fault, SourceUnreachable)
    assert fault.kept == (source,)
    assert "git: " in fault.reason


def test_folder_that_a_repository_has_no_more_stays(repository: Path, tmp_path: Path) -> None:
    source = f"git+file://{repository}#gone"
    _, [fault] = read(source, tmp_path / "cache")
    assert isinstance(fault, SourceUnreachable)


def test_links_in_a_repository_lead_nowhere_else(repository: Path, tmp_path: Path) -> None:
    (repository / "docs" / "secret.md").symlink_to("/etc/passwd")
    (repository / "way").symlink_to("/etc")
    commit(repository)
    files, faults = read(f"git+file://{repository}", tmp_path / "cache")
    assert "handbook/docs/secret.md" not in [file.name for file in files]
    assert {fault.source for fault in faults} == {"handbook/docs/secret.md", "handbook/way"}
    files, faults = read(f"git+file://{repository}#way", tmp_path / "cache")
    assert (files, len(faults)) == ([], 1)


def test_hooks_do_not_run(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = tmp_path / "template" / "hooks"
    template.mkdir(parents=True)
    for hook in ("post-checkout", "post-merge", "reference-transaction"):
        (template / hook).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (template / hook).chmod(stat.S_IRWXU)
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(template.parent))
    assert read(f"git+file://{repository}", tmp_path / "cache")[1] == []
    assert not (tmp_path / "ran").exists()


def test_pointer_to_a_large_file_is_named(repository: Path, tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    (repository / "big.pdf").write_text(pointer)
    commit(repository)
    _, [fault] = read(f"git+file://{repository}", tmp_path / "cache")
    assert str(fault) == "handbook/big.pdf: is in Git LFS, which is not fetched"


def test_password_of_a_repository_is_never_shown(tmp_path: Path) -> None:
    source = "git+http://me:s3cret@127.0.0.1:9/docs/handbook.git"
    _, [fault] = read(source, tmp_path / "cache")
    assert isinstance(fault, SourceUnreachable)
    assert "s3cret" not in f"{fault} {fault.kept}"
    written = [one.read_bytes() for one in (tmp_path / "cache").rglob("*") if one.is_file()]
    assert not any(b"s3cret" in content for content in written)


def test_repository_at_a_private_address_is_refused_unless_it_is_allowed(tmp_path: Path) -> None:
    found = list(find_files(["git+https://127.0.0.1/a.git"], tmp_path))
    assert "allow_private = true" in str(found[0])


@pytest.mark.parametrize(
    "source",
    [
        "git+https://host",
        "git+https://host/",
        "git+https://host/a.git@--upload-pack=x",
        "git+https://host/a.git#../..",
        "git+ssh://-oProxyCommand=x/a.git",
    ],
)
def test_what_names_no_repository_is_one_line(tmp_path: Path, source: str) -> None:
    found = list(find_files([source], tmp_path, Fetching(allow_private=True)))
    assert len(found) == 1
    assert isinstance(found[0], DocumentUnreadable)


@pytest.mark.parametrize(
    ("source", "address"),
    [
        ("git+https://github.com/a/b.git", "https://github.com/a/b/blob/HEAD/docs/%E9%80%80.md"),
        ("git+https://me:x@gitlab.com/g/s/b@v1.2", "https://gitlab.com/g/s/b/-/blob/v1.2/docs/%E9%80%80.md"),
        ("git+ssh://git@gitee.com/a/b.git@master#docs", "https://gitee.com/a/b/blob/master/docs/%E9%80%80.md"),
        ("git+https://git.shop.example/a/b.git", ""),
    ],
)  # fmt: skip
def test_files_on_known_hosts_have_the_address_where_people_see_them(
    source: str, address: str
) -> None:
    repository = _parse(source)
    assert repository is not None
    assert _web_address(repository, "docs/退.md") == address


def test_what_was_not_used_for_a_month_is_removed(repository: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    read(f"git+file://{repository}", cache)
    [work] = (cache / "git").iterdir()
    long_ago = time.time() - 31 * 86_400
    os.utime(work / "git" / "FETCH_HEAD", (long_ago, long_ago))
    list(find_files([], cache))
    assert not work.exists()
