"""Who works where: one process in a data folder on SQLite, one a place on PostgreSQL."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from kfbot import places
from kfbot.errors import AlreadyRunning, SettingsError
from kfbot.places import owning
from kfbot.settings import Settings


def settings(folder: Path, url: str = "") -> Settings:
    return Settings(data_dir=folder / "data", database={"url": url})


def on_postgres(folder: Path) -> Settings:
    return settings(folder, "postgresql+asyncpg://shop@db/kfbot")


def test_on_sqlite_the_second_is_refused_in_one_line_until_the_first_has_gone(
    tmp_path: Path,
) -> None:
    with owning(settings(tmp_path)) as place:
        assert place == tmp_path / "data"
        assert place.stat().st_mode & 0o777 == 0o700
        with pytest.raises(AlreadyRunning) as refused, owning(settings(tmp_path)):
            pass
        assert str(refused.value).startswith(f"another kfbot is working in {place}: stop it")
        assert "\n" not in str(refused.value)
    with owning(settings(tmp_path)):
        pass
    assert [path.name for path in place.iterdir()] == ["lock"]


def test_on_postgresql_everyone_has_the_first_place_that_is_free(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with ExitStack() as first, ExitStack() as second, ExitStack() as third:
        taken = [one.enter_context(owning(on_postgres(tmp_path))) for one in (first, second, third)]
        assert taken == [folder, folder / "replica-2", folder / "replica-3"]
        second.close()
        # Whoever is started again finds what it had.
        assert third.enter_context(owning(on_postgres(tmp_path))) == folder / "replica-2"
        first.close()
        assert third.enter_context(owning(on_postgres(tmp_path))) == folder


def test_there_is_an_end_to_the_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LIMIT", 2)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(owning(on_postgres(tmp_path)))
        with pytest.raises(AlreadyRunning, match=r"^2 processes are working in .*: stop one, "):
            stack.enter_context(owning(on_postgres(tmp_path)))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(SettingsError, match="data cannot be used: "), owning(settings(tmp_path)):
        pass


def test_two_data_folders_cannot_share_an_sqlite_file(tmp_path: Path) -> None:
    file = tmp_path / "kept" / "bot.sqlite3"
    file.parent.mkdir()
    one, other = (settings(tmp_path / name, f"sqlite:///{file}") for name in ("a", "b"))
    with owning(one):
        with pytest.raises(AlreadyRunning) as refused, owning(other):
            pass
        assert str(refused.value) == (
            f"another kfbot is working on {file}: stop it, or set another url"
        )
    with owning(other):
        pass
