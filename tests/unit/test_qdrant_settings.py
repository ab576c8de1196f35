"""The `[qdrant]` section: one server, its key kept to itself, every fault named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kfbot.errors import SettingsError
from kfbot.settings import Settings, load_settings
from knowledge.qdrant_server import require_extra


def load(folder: Path, section: str) -> Settings:
    file = folder / "kfbot.toml"
    file.write_text(f"[qdrant]\n{section}\n", encoding="utf-8")
    return load_settings(file)


def test_the_embedded_engine_is_the_default() -> None:
    assert load_settings(overrides={}).qdrant.url == ""


def test_the_key_comes_by_the_environment_and_never_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFBOT_QDRANT__API_KEY", "very-secret-key")
    settings = load(tmp_path, 'url = "https://qdrant.example:6333/"\nreplication_factor = 2')
    assert settings.qdrant.url == "https://qdrant.example:6333"
    assert settings.qdrant.api_key.get_secret_value() == "very-secret-key"
    assert "very-secret-key" not in repr(settings)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ('url = "qdrant.example:6333"', "qdrant.url: write https://HOST:PORT"),
        ('url = "ftp://qdrant.example"', "qdrant.url: write https://HOST:PORT"),
        ('url = "https://me:secret@qdrant.example"', "the key into api_key"),
        ('api_key = "k"', "qdrant: url is missing"),
        ('url = "https://q"\nshards = 2', "unknown setting qdrant.shards"),
        ('url = "https://q"\ncollection = "a b"', "qdrant.collection"),
        ('url = "https://q"\ntimeout_seconds = 0', "qdrant.timeout_seconds"),
        ('url = "https://q"\nreplication_factor = 0', "qdrant.replication_factor"),
        (
            'url = "https://q"\nwrite_consistency_factor = 2',
            "write_consistency_factor is greater than replication_factor",
        ),
    ],
)
def test_each_fault_of_the_section_is_named(tmp_path: Path, section: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, section)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("missing", ["qdrant_client", "llama_index.vector_stores.qdrant"])
def test_what_is_not_installed_is_told_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    require_extra()
    # Nothing can be uninstalled for a test; this is how Python notes that there is none.
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SettingsError, match=r"pip install .*\[qdrant\]"):
        require_extra()
