"""What is made of zip and tar files, honest and hostile."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from kfbot.errors import DocumentUnreadable
from knowledge.documents import SourceFile
from knowledge.sources import find_files
from knowledge.sources.contract import SourceUnreachable


def read(
    *sources: Path, cache: Path | None = None
) -> tuple[dict[str, SourceFile], list[DocumentUnreadable]]:
    found = list(find_files(sources, cache or sources[0].parent.parent / "cache"))
    files = [one for one in found if isinstance(one, SourceFile)]
    assert len({file.name for file in files}) == len(files)
    return (
        {file.name: file for file in files},
        [one for one in found if isinstance(one, DocumentUnreadable)],
    )


def zipped(entries: Mapping[str | zipfile.ZipInfo, str | bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return made.getvalue()


def raw_named(*names: bytes, content: bytes = b"x") -> bytes:
    """A zip whose names are bytes of an encoding that nobody noted."""
    made = zipped(
        {f"{number:04}" + "n" * (len(name) - 4): content for number, name in enumerate(names)}
    )
    for number, name in enumerate(names):
        made = made.replace(f"{number:04}".encode() + b"n" * (len(name) - 4), name)
    return made


@pytest.fixture
def save(tmp_path: Path) -> Callable[[bytes, str], Path]:
    (tmp_path / "docs").mkdir()

    def write(content: bytes, name: str = "a.zip") -> Path:
        path = tmp_path / "docs" / name
        path.write_bytes(content)
        return path

    return write


Save = Callable[..., Path]


def test_files_of_an_archive_are_named_below_it(save: Save) -> None:
    path = save(zipped({"faq/returns.md": "七天", "b.txt": "x", "empty/": ""}))
    files, faults = read(path)
    assert faults == []
    assert list(files) == ["a.zip/faq/returns.md", "a.zip/b.txt"]
    file = files["a.zip/faq/returns.md"]
    assert file.path.read_text() == "七天"
    assert file.path.name == "returns.md"
    assert file.origin == f"{path}/faq/returns.md"


def test_archives_in_a_folder_are_read_in_their_place(save: Save) -> None:
    save(b"x", "0.md")
    save(zipped({"in.md": "x"}))
    folder = save(b"x", "z.md").parent
    assert list(read(folder)[0]) == ["0.md", "a.zip/in.md", "z.md"]


def test_unchanged_archive_is_not_unpacked_again(save: Save) -> None:
    path = save(zipped({"a.md": "x", "../b.md": "x"}))
    files, faults = read(path)
    inode = files["a.zip/a.md"].path.stat().st_ino
    again, faults_again = read(path)
    assert again == files
    assert list(map(str, faults_again)) == list(map(str, faults))
    assert again["a.zip/a.md"].path.stat().st_ino == inode


def test_changed_archive_keeps_the_paths_of_its_files(save: Save) -> None:
    before = read(save(zipped({"a.md": "old", "gone.md": "x"})))[0]
    after = read(save(zipped({"a.md": "new"})))[0]
    assert after["a.zip/a.md"].path == before["a.zip/a.md"].path
    assert after["a.zip/a.md"].path.read_text() == "new"
    assert not before["a.zip/gone.md"].path.exists()


@pytest.mark.parametrize(
    "name",
    ["../out.md", "a/../../out.md", "/etc/out.md", "C:\\out.md", "..\\out.md", "\\\\host\\out.md"],
)
def test_name_that_leads_out_is_named_and_nothing_written_there(save: Save, name: str) -> None:
    path = save(raw_named(name.encode()) if len(name) >= 4 else b"")
    files, faults = read(path)
    assert files == {}
    assert len(faults) == 1
    assert "leads out of the archive" in faults[0].reason
    root = path.parent.parent
    assert not [one for one in root.rglob("out.md")]


def test_backslashes_of_old_windows_are_folders(save: Save) -> None:
    assert list(read(save(raw_named(b"faq\\returns.md")))[0]) == ["a.zip/faq/returns.md"]


def test_links_are_named_and_not_made(save: Save) -> None:
    link = zipfile.ZipInfo("passwd.md")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    files, faults = read(save(zipped({link: "/etc/passwd", "a.md": "x"})))
    assert list(files) == ["a.zip/a.md"]
    assert str(faults[0]) == "a.zip/passwd.md: a link"


def test_encrypted_files_are_one_line(save: Save) -> None:
    made = bytearray(zipped({"a.md": "x", "b.md": "y", "c.md": "z"}))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = 0
        for _ in range(2):
            start = made.index(mark, start)
            made[start + at] |= 1
            start += 4
    files, faults = read(save(bytes(made)))
    assert list(files) == ["a.zip/c.md"]
    assert [str(fault) for fault in faults] == ["a.zip: 2 of its files need a password, first a.md"]


@pytest.mark.parametrize(
    ("names", "encoding"),
    [
        (["常见问题/退货政策.md", "发票.txt"], "gbk"),
        (["运费说明（2024）.docx"], "gb18030"),
        (["退貨說明/運費.md"], "big5"),
        (["退货/résumé.md"], "utf-8"),
        (["Größe/café résumé.md", "Übersicht.md"], "cp437"),
        (["naïve.md"], "cp437"),
    ],
)
def test_names_without_a_noted_encoding_are_as_they_were_written(
    save: Save, names: list[str], encoding: str
) -> None:
    files, faults = read(save(raw_named(*(name.encode(encoding) for name in names))))
    assert faults == []
    assert list(files) == [f"a.zip/{name}" for name in names]
    assert [file.path.suffix for file in files.values()] == [Path(name).suffix for name in names]


def test_name_in_the_unicode_field_is_taken(save: Save) -> None:
    info = zipfile.ZipInfo("????.md")
    name = "退货.md".encode()
    field = b"\x01" + zlib.crc32(b"????.md").to_bytes(4, "little") + name
    info.extra = b"\x75\x70" + len(field).to_bytes(2, "little") + field
    assert list(read(save(zipped({info: "x"})))[0]) == ["a.zip/退货.md"]


def test_what_systems_leave_in_archives_is_left_out(save: Save) -> None:
    entries = {"__MACOSX/._a.md": "x", ".DS_Store": "x", "b/.git/config.md": "x", "a.md": "x"}
    files, faults = read(save(zipped(entries)))
    assert (list(files), faults) == (["a.zip/a.md"], [])


def test_archive_in_an_archive_is_read_and_a_deeper_one_named(save: Save) -> None:
    deepest = zipped({"deep.md": "x"})
    inner = zipped({"in.md": "x", "deepest.zip": deepest})
    files, faults = read(save(zipped({"inner.zip": inner})))
    assert list(files) == ["a.zip/inner.zip/in.md"]
    assert str(faults[0]).startswith("a.zip/inner.zip/deepest.zip: ")


def test_two_files_that_differ_in_case_only_are_not_mixed_up(save: Save) -> None:
    files, faults = read(save(zipped({"Faq.md": "one", "faq.md": "two"})))
    assert [file.path.read_text() for file in files.values()] == ["one"]
    assert "twice" in str(faults[0])


def test_name_that_is_a_file_and_a_folder_is_one_line(save: Save) -> None:
    files, faults = read(save(zipped({"a": "x", "a/b.md": "y"})))
    assert list(files) == ["a.zip/a"]
    assert "file and a folder" in str(faults[0])


def test_names_of_any_length_and_letters_are_unpacked(save: Save) -> None:
    long, deep = "退" * 80 + ".md", "/".join(["folder" * 15] * 30) + "/a.md"
    files, faults = read(
        save(zipped({long: "one", deep: "two", 'a:b*"c?.md': "x", "d\ne.md": "x"}))
    )
    assert faults == []
    assert [file.path.read_text() for file in files.values()] == ["one", "two", "x", "x"]
    assert all(file.path.suffix == ".md" for file in files.values())
    assert "a.zip/d?e.md" in files


# Bombs


def test_archive_that_unpacks_to_hundreds_of_times_its_size_is_refused(save: Save) -> None:
    path = save(zipped({"a.md": "x", "zeros.txt": bytes(40 * 1024**2)}))
    assert path.stat().st_size < 100_000
    files, faults = read(path)
    assert files == {}
    assert str(faults[0]) == "a.zip: unpacks to more than 200 times its size"
    assert not [one for one in path.parent.parent.rglob("zeros.txt")]


def test_archive_of_a_great_many_files_is_refused(save: Save) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for number in range(20_001):
            archive.writestr(f"{number}.md", "")
    files, faults = read(save(made.getvalue()))
    assert (files, [str(one) for one in faults]) == ({}, ["a.zip: more than 20000 entries"])


def test_directory_of_millions_of_entries_is_not_even_read(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bytearray(zipped({"a.md": "x"}))
    end = made.rindex(b"PK\5\6")
    made[end + 12 : end + 16] = (500_000_000).to_bytes(4, "little")
    # It would be read before anybody counts.
    monkeypatch.setattr(zipfile, "ZipFile", None)
    _, faults = read(save(bytes(made)))
    assert "more than 20000 entries" in str(faults[0])


def test_archives_in_an_archive_share_its_limit(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("knowledge.sources.archives.Budget", lambda: _budget(5 * 1024**2))
    noise = os.urandom(2 * 1024**2)
    inner = {f"{n}.zip": zipped({f"{n}.txt": noise + bytes([n])}) for n in range(3)}
    path = save(zipped(inner))
    _, faults = read(path)
    assert "unpacks to more than" in " ".join(map(str, faults))
    # The same when what was unpacked lies there already.
    assert list(map(str, read(path)[1])) == list(map(str, faults))


def _budget(size: int) -> object:
    from knowledge.sources.entries import Budget

    return Budget(size)


def test_file_too_large_to_be_read_is_named_and_the_rest_given(save: Save) -> None:
    noise = os.urandom(1024**2)
    big = b"".join(noise[n:] + noise[:n] for n in range(51))
    files, faults = read(save(zipped({"big.txt": big, "a.md": "x"})))
    assert list(files) == ["a.zip/a.md"]
    assert str(faults[0]) == "a.zip/big.txt: larger than 50 MB"


# Damage


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive", b"PK\x05\x06" + bytes(10)])
def test_damaged_archive_is_named_and_what_was_in_it_stays(save: Save, content: bytes) -> None:
    path = save(content)
    files, faults = read(path)
    assert files == {}
    assert isinstance(faults[0], SourceUnreachable)
    assert faults[0].kept == (str(path),)


def test_archive_that_was_copied_half_leaves_the_old_files_alone(save: Save) -> None:
    made = zipped({"a.md": os.urandom(5000)})
    before = read(save(made))[0]["a.zip/a.md"].path.read_bytes()
    _, faults = read(save(made[:3000]))
    assert isinstance(faults[0], SourceUnreachable)
    assert read(save(made))[0]["a.zip/a.md"].path.read_bytes() == before


def test_one_damaged_file_does_not_hide_the_others(save: Save) -> None:
    made = bytearray(zipped({"a.md": os.urandom(500), "b.md": "fine"}))
    made[100] ^= 0xFF
    files, faults = read(save(bytes(made)))
    assert list(files) == ["a.zip/b.md"]
    assert str(faults[0]) == "a.zip/a.md: damaged in its archive"


def test_unpacking_that_was_broken_off_is_done_again(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(zipped({"a.md": "x"}))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", _fail)
        assert isinstance(read(path)[1][0], SourceUnreachable)
    assert list(read(path)[0]) == ["a.zip/a.md"]


def _fail(*_: object) -> None:
    raise OSError(28, "No space left on device")


# Tar


def tarred(mode: str, entries: Mapping[str, bytes | tarfile.TarInfo], **given: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode, **given) as archive:  # type: ignore[call-overload]
        for name, content in entries.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if isinstance(content, tarfile.TarInfo) else content
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return made.getvalue()


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"])
def test_tar_files_are_read(save: Save, ending: str) -> None:
    mode = {"tar": "w", "tgz": "w:gz"}.get(ending, f"w:{ending[4:]}")
    path = save(tarred(mode, {"./docs/退货.md": "七天".encode()}), f"a.{ending}")
    files, faults = read(path)
    assert faults == []
    assert list(files) == [f"a.{ending}/docs/退货.md"]


def test_links_devices_and_ways_out_of_a_tar_are_named(save: Save) -> None:
    link, device = tarfile.TarInfo("link.md"), tarfile.TarInfo("device.md")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    device.type = tarfile.CHRTYPE
    entries = {"link.md": link, "device.md": device, "../out.md": b"x", "ok.md": b"x"}
    files, faults = read(save(tarred("w:gz", entries), "a.tgz"))
    assert list(files) == ["a.tgz/ok.md"]
    assert [fault.reason for fault in faults] == [
        "a link",
        "no file",
        "a name that leads out of the archive",
    ]


def test_chinese_names_of_a_tar_in_gbk_are_as_they_were_written(save: Save) -> None:
    made = tarred("w", {"退货政策.md": b"x"}, encoding="gbk", format=tarfile.GNU_FORMAT)
    assert list(read(save(made, "a.tar"))[0]) == ["a.tar/退货政策.md"]


def test_tar_whose_header_says_gigabytes_takes_no_memory(save: Save) -> None:
    info = tarfile.TarInfo("x")
    # tarfile reads a header of this type into memory, as long as it says it is.
    info.type, info.size = tarfile.XHDTYPE, 4 * 1024**3
    packed = gzip.compress(info.tobuf() + bytes(64 * 1024**2), 1)
    files, faults = read(save(packed, "a.tgz"))
    assert files == {}
    assert "has a header that is too long" in str(faults[0])


def test_tar_that_breaks_off_is_named(save: Save) -> None:
    made = tarred("w:gz", {"a.md": os.urandom(5000)})
    files, faults = read(save(made[:3000], "a.tgz"))
    assert (files, len(faults)) == ({}, 1)
    assert isinstance(faults[0], SourceUnreachable)
