"""Secrets come from files too, as Docker and Kubernetes give them, and show in no error."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, SecretStr

from kfbot.channels import adapter_type, open_channel, platforms
from kfbot.environment import LONGEST_FILE
from kfbot.errors import SettingsError
from kfbot.settings import Settings, load_settings
from tests.contract.test_adapters import ADAPTERS, given_settings

PLANTED = "planted-zq81-planted"
#: Of the form that signing secrets have.
SIGNING = "whsec_cGxhbnRlZHBsYW50ZWRwbGFudGVkcGxhbnRlZA=="
_URL = "http://127.0.0.1:9/"
#: What sections need beside their secrets.
NEEDED = {
    "actions": f"""
[actions.one]
phrases = ["where is my order"]
url = "{_URL}"
answer_en = "x"
answer_zh = "x"
empty_en = "x"
empty_zh = "x"
""",
    "event_webhooks": f'[event_webhooks.one]\nurl = "{_URL}"',
    "chat_model": f'[chat_model]\nbase_url = "{_URL}"\nmodel = "m"',
    "qdrant": f'[qdrant]\nurl = "{_URL}"',
    "reranker": f'[reranker]\nmodel = "{_URL}"',
}


def secrets_of(kind: type[BaseModel]) -> list[str]:
    """The fields that hold one secret or several."""
    return [
        name
        for name, field in kind.model_fields.items()
        if "SecretStr" in str(field.annotation) and not list(_models(field.annotation))
    ]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections that a field's type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def sections(kind: type[BaseModel], *path: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every secret below a section, with the way to it; `one` stands for a name of one's own."""
    for name in secrets_of(kind):
        yield path, name
    for name, field in kind.model_fields.items():
        for section in _models(field.annotation):
            is_named = str(field.annotation).startswith("dict")
            # A list of sections is one value, written as JSON.
            if not str(field.annotation).startswith("tuple"):
                yield from sections(section, *path, name, *(("one",) if is_named else ()))


CORE = sorted(sections(Settings))
CHANNELS = [
    (name, secret) for name in ADAPTERS for secret in secrets_of(ADAPTERS[name].settings_type)
]


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """As `echo … > file` leaves it."""
    file = tmp_path / "secret"
    file.write_text(PLANTED + "\n")
    return file


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A settings file that says nothing."""
    file = tmp_path / "kfbot.toml"
    file.write_text("")
    return file


def test_the_settings_have_the_secrets_that_are_tried_here() -> None:
    assert (("web",), "tokens") in CORE
    assert (("actions", "one"), "secret") in CORE
    assert (("chat_model",), "api_key") in CORE
    assert len(CORE) >= 8
    assert {name for name, _ in CHANNELS} == set(platforms()) - {"console", "web"}


@pytest.mark.parametrize(("platform", "secret"), CHANNELS)
def test_every_secret_of_every_channel_comes_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty: Path, platform: str, secret: str
) -> None:
    given = given_settings(platform)
    value = given.pop(secret, None) or PLANTED
    file = tmp_path / "secret"
    file.write_text(f"{value}\r\n")
    for name, other in given.items():
        text = str(other) if isinstance(other, (str, int)) else str(other).replace("'", '"')
        monkeypatch.setenv(f"KFBOT_CHANNELS__MY_SHOP__{name.upper()}", text)
    monkeypatch.setenv(f"KFBOT_CHANNELS__MY_SHOP__{secret.upper()}_FILE", str(file))
    settings = load_settings(empty)
    assert settings.channels["my_shop"][secret] == value
    assert value not in f"{settings!r} {settings}"
    assert str(file) not in str(settings.channels)


@pytest.mark.parametrize(("path", "secret"), CORE)
def test_every_secret_of_the_sections_comes_from_a_file(
    monkeypatch: pytest.MonkeyPatch, empty: Path, tmp_path: Path, path: tuple[str, ...], secret: str
) -> None:
    empty.write_text(NEEDED.get(path[0], ""))
    value = SIGNING if "one" in path else PLANTED
    file = tmp_path / "secret"
    file.write_text(f'["{value}"]' if secret == "tokens" else value)
    monkeypatch.setenv(f"KFBOT_{'__'.join((*path, secret)).upper()}_FILE", str(file))
    found: Any = load_settings(empty)
    assert value not in f"{found!r}"
    for part in path:
        found = found[part] if isinstance(found, dict) else getattr(found, part)
    kept = getattr(found, secret)
    kept = kept[0] if isinstance(kept, tuple) else kept
    assert isinstance(kept, SecretStr)
    assert value in kept.get_secret_value()


@pytest.mark.parametrize(("platform", "secret"), CHANNELS)
def test_a_secret_of_the_wrong_form_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, empty: Path, platform: str, secret: str
) -> None:
    settings = load_settings(empty)
    for planted in (f"{PLANTED} \n\u00e9\0", f"  {PLANTED}", f"{PLANTED}\u2028"):
        section = given_settings(platform) | {secret: planted}
        try:
            adapter = open_channel("shop", section, settings)
        except SettingsError as error:
            shown = "".join(traceback.format_exception(error))
        else:
            shown = f"{adapter!r} {adapter.settings!r}"
        assert PLANTED not in shown


def test_a_setting_that_is_no_secret_comes_from_a_file_too(
    monkeypatch: pytest.MonkeyPatch, empty: Path, secret_file: Path
) -> None:
    secret_file.write_text("json")
    monkeypatch.setenv("KFBOT_LOG_FORMAT_FILE", str(secret_file))
    assert load_settings(empty).log_format == "json"


def test_no_setting_of_ours_is_called_like_a_file() -> None:
    kinds = [Settings, *(adapter_type(name).settings_type for name in platforms())]
    assert [name for kind in kinds for name in _names(kind) if name.endswith("_file")] == []


def _names(kind: type[BaseModel]) -> Iterator[str]:
    for name, field in kind.model_fields.items():
        yield name
        for section in _models(field.annotation):
            yield from _names(section)


def test_a_fault_names_the_file_and_not_what_is_in_it(
    monkeypatch: pytest.MonkeyPatch, empty: Path, secret_file: Path, tmp_path: Path
) -> None:
    name = "KFBOT_CHAT_MODEL__API_KEY_FILE"
    faults = {
        "is empty": b"\n",
        "is no UTF-8 text": PLANTED.encode() + b"\xff",
        "is larger than 64 KiB": PLANTED.encode() * LONGEST_FILE,
    }
    monkeypatch.setenv(name, str(secret_file))
    for fault, content in faults.items():
        secret_file.write_bytes(content)
        line = fault_of(empty)
        assert fault in line
        assert str(secret_file) in line
        assert name in line
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path / "missing", tmp_path, pipe):
        monkeypatch.setenv(name, str(path))
        assert f"{path} is missing or no file" in fault_of(empty)
    # The secret itself where the name of its file belongs.
    monkeypatch.setenv(name, PLANTED)
    assert "whole path" in fault_of(empty)


def test_a_file_beside_a_value_is_refused(
    monkeypatch: pytest.MonkeyPatch, empty: Path, secret_file: Path
) -> None:
    monkeypatch.setenv("KFBOT_CHAT_MODEL__API_KEY_FILE", str(secret_file))
    for other in ("KFBOT_CHAT_MODEL__API_KEY", "kfbot_chat_model__api_key"):
        with monkeypatch.context() as patch:
            patch.setenv(other, "x")
            assert "are both set" in fault_of(empty)


def test_an_unknown_name_with_a_file_is_named(
    monkeypatch: pytest.MonkeyPatch, empty: Path, secret_file: Path
) -> None:
    monkeypatch.setenv("KFBOT_CHATMODEL__API_KEY_FILE", str(secret_file))
    assert "did you mean KFBOT_CHAT_MODEL?" in fault_of(empty)
    monkeypatch.delenv("KFBOT_CHATMODEL__API_KEY_FILE")
    monkeypatch.setenv("KFBOT_CHAT_MODEL__APIKEY_FILE", str(secret_file))
    assert "did you mean api_key?" in fault_of(empty)


def fault_of(file: Path) -> str:
    """The one line that a person is shown; in no traceback is the secret."""
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    assert PLANTED not in "".join(traceback.format_exception(caught.value))
    line = str(caught.value)
    assert "\n" not in line
    return line
