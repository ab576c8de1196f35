"""`[reranker]`: read, secret, and refused in one line where it says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from kfbot.errors import SettingsError
from kfbot.settings import Settings, load_settings


def load(folder: Path, section: str) -> Settings:
    file = folder / "kfbot.toml"
    file.write_text(f"[reranker]\n{section}\n")
    return load_settings(file)


def test_there_is_none_unless_it_is_named(tmp_path: Path) -> None:
    assert load(tmp_path, "").reranker.model == ""


def test_model_and_key_are_read_and_the_key_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFBOT_RERANKER__API_KEY", "very-secret-key")
    settings = load(tmp_path, 'model = "https://rerank.example/v1#m"\ncandidates = 20')
    assert settings.reranker.api_key.get_secret_value() == "very-secret-key"
    assert settings.reranker.candidates == 20
    assert "very-secret-key" not in repr(settings)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("candidates = 5", "reranker: model is missing"),
        ('model = "m"\ncandidates = 1', "reranker.candidates"),
        ('model = "m"\ntimeout_seconds = 0', "reranker.timeout_seconds"),
        ('model = "m"\ntop_n = 3', "unknown setting reranker.top_n"),
    ],
)
def test_each_fault_of_the_section_is_named(tmp_path: Path, section: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, section)
    assert said in str(caught.value)
