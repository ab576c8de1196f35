"""Settings: file and environment merged, faults named in one line, secrets never shown."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kfbot.channels import open_channels
from kfbot.errors import SettingsError
from kfbot.settings import CHECKOUT, Settings, load_settings

Load = Callable[..., Settings]
SECRET = "whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load a settings file of this text under this environment."""

    def load(text: str = "", **environment: str) -> Settings:
        file = tmp_path / "kfbot.toml"
        file.write_text(text, encoding="utf-8")
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            return load_settings(file)

    return load


@pytest.fixture
def fault(load: Load) -> Callable[..., str]:
    """The one line that a person is shown."""

    def fault(text: str = "", **environment: str) -> str:
        with pytest.raises(SettingsError) as caught:
            load(text, **environment)
        line = str(caught.value)
        assert "\n" not in line
        # What a traceback would show beside it.
        assert caught.value.__cause__ is None or isinstance(
            caught.value.__cause__, (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError)
        )
        return line

    return fault


# Defaults and places


def test_without_any_settings_everything_has_a_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("kfbot.settings.CHECKOUT", tmp_path)
    monkeypatch.chdir("/")
    settings = load_settings()
    assert settings.data_dir == tmp_path / "var"
    assert settings.knowledge["samples"].sources == (str(tmp_path / "knowledge" / "samples"),)
    assert (settings.web.host, settings.web.port, settings.web.tokens) == ("127.0.0.1", 8080, ())
    assert settings.embedding.model == "bundled"
    assert settings.decision.max_wrong_percent == 5
    assert settings.channels == {}
    assert settings.log_format == "text"
    assert settings.database_url == f"sqlite:///{tmp_path}/var/kfbot.sqlite3"


def test_the_checkout_is_where_the_code_lies() -> None:
    assert (CHECKOUT / "kfbot" / "settings.py").is_file()


def test_the_settings_of_the_checkout_are_found_by_themselves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("kfbot.settings.CHECKOUT", tmp_path)
    (tmp_path / "kfbot.toml").write_text("[web]\nport = 1234\n")
    assert load_settings().web.port == 1234


def test_the_environment_may_name_the_settings_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "other.toml").write_text("[web]\nport = 1234\n")
    monkeypatch.setenv("KFBOT_SETTINGS", str(tmp_path / "other.toml"))
    assert load_settings().web.port == 1234
    (tmp_path / "named.toml").write_text("[web]\nport = 4321\n")
    assert load_settings(tmp_path / "named.toml").web.port == 4321


def test_relative_paths_mean_the_folder_of_the_settings_wherever_we_are(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    (tmp_path / "models" / "mine").mkdir(parents=True)
    settings = load(
        'data_dir = "data"\n[knowledge.shop]\nsources = ["docs", "/srv/faq.jsonl"]\n'
        '[database]\nurl = "sqlite:///kept/bot.db"\n[embedding]\nmodel = "models/mine"\n'
    )
    assert settings.data_dir == tmp_path / "data"
    assert settings.knowledge["shop"].sources == (str(tmp_path / "docs"), "/srv/faq.jsonl")
    assert settings.database_url == f"sqlite:///{tmp_path}/kept/bot.db"
    assert settings.embedding.model == str(tmp_path / "models" / "mine")


@pytest.mark.parametrize(
    "source",
    [
        "https://shop.example/docs/**",
        "HTTP://wiki.intern/",
        "git+https://host/handbook.git@main#docs",
        "git+ssh://git@host/handbook.git",
        "git+file:///srv/handbook",
    ],
)
def test_a_source_that_is_an_address_stays_as_it_is(load: Load, source: str) -> None:
    settings = load(f'[knowledge.shop]\nsources = ["{source}"]\n')
    assert settings.knowledge["shop"].sources == (source,)


@pytest.mark.parametrize(
    "url",
    ["sqlite:////srv/bot.db", "postgresql+asyncpg://u:p@db/kfbot", "sqlite+aiosqlite://"],
)
def test_other_database_urls_stay_as_they_are(load: Load, url: str) -> None:
    assert load(f'[database]\nurl = "{url}"').database_url == url


@pytest.mark.parametrize(
    "model", ["bundled", "intfloat/multilingual-e5-base", "https://e.test/v1#m"]
)
def test_an_embedding_model_that_is_no_folder_is_a_name(load: Load, model: str) -> None:
    assert load(f'[embedding]\nmodel = "{model}"').embedding.model == model


def test_settings_do_not_change(load: Load) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().web.port = 1


# Environment


def test_the_environment_wins_over_the_file(load: Load) -> None:
    settings = load(
        '[web]\nport = 1000\nhost = "127.0.0.2"\n[decision]\nmax_wrong_percent = 3',
        KFBOT_WEB__PORT="2000",
        kfbot_decision__max_wrong_percent="7.5",
    )
    assert (settings.web.port, settings.web.host) == (2000, "127.0.0.2")
    assert settings.decision.max_wrong_percent == 7.5


def test_arguments_win_over_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kfbot.toml").write_text('[web]\nport = 1000\nhost = "127.0.0.2"\n')
    monkeypatch.setenv("KFBOT_WEB__PORT", "2000")
    settings = load_settings(tmp_path / "kfbot.toml", overrides={"web": {"port": 3000}})
    assert (settings.web.port, settings.web.host) == (3000, "127.0.0.2")


@pytest.mark.parametrize("name", ["shop", "shop-crm", "Shop_CRM", "shop_crm"])
def test_a_secret_from_the_environment_joins_its_channel(load: Load, name: str) -> None:
    variable = f"KFBOT_CHANNELS__{name.upper().replace('-', '_')}__SECRET"
    settings = load(
        f'[channels.{name}]\nplatform = "webhook"\nreply = "response"', **{variable: SECRET}
    )
    assert settings.channels == {
        name: {"platform": "webhook", "reply": "response", "secret": SECRET}
    }
    assert set(open_channels(settings)) == {name, "web", "api"}


@pytest.mark.parametrize("token", ["123456", "null", "true", "1e5", "[half", "{half", "0x10"])
def test_a_secret_is_text_whatever_it_looks_like(load: Load, token: str) -> None:
    assert load(KFBOT_CHANNELS__SHOP__TOKEN=token).channels["shop"]["token"] == token


def test_lists_and_sections_may_be_written_as_json(load: Load) -> None:
    settings = load(
        KFBOT_WEB__TOKENS='["one", "two"]',
        KFBOT_CHANNELS__SHOP__ADMINS='["7"]',
        KFBOT_KNOWLEDGE='{"shop": {"sources": ["/docs"]}}',
        KFBOT_DECISION='{"max_wrong_percent": 2}',
    )
    assert [token.get_secret_value() for token in settings.web.tokens] == ["one", "two"]
    assert settings.channels["shop"]["admins"] == ["7"]
    assert settings.knowledge["shop"].sources == ("/docs",)
    assert settings.decision.max_wrong_percent == 2


def test_what_only_tests_read_is_no_setting(load: Load) -> None:
    assert load(KFBOT_TEST_POSTGRES="postgresql://x", KFBOT_TEST_WEB__PORT="1") == load()


# Faults


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chanels = {}", "unknown setting chanels, did you mean channels?"),
        ("[web]\nprot = 1", "unknown setting web.prot, did you mean port?"),
        ("[knowledge.shop]\nsource = ['x']",
         "unknown setting knowledge.shop.source, did you mean sources?"),
        ("[decision]\nmax_wrong = 1",
         "unknown setting decision.max_wrong, did you mean max_wrong_percent?"),
        ("[embedding]\nmodell = 'x'", "unknown setting embedding.modell, did you mean model?"),
        ("[database]\nuri = 'x'", "unknown setting database.uri, did you mean url?"),
        ("[zzz]\nx = 1", "unknown setting zzz, did you mean "),
        ("[web]\nport = 99999", "web.port: Input should be less than or equal to 65535"),
        ("[web]\nport = 'x'", "web.port: Input should be a valid integer"),
        ("web = 1", "web: Input should be a valid dictionary"),
        ("[web]\ntokens = 'one'", 'web.tokens: write a list, as in ["one", "two"]'),
        ("[decision]\nmax_wrong_percent = 0",
         "decision.max_wrong_percent: Input should be greater than 0"),
        ("[decision]\nmax_wrong_percent = 100",
         "decision.max_wrong_percent: Input should be less than 100"),
        ("[knowledge.shop]\nsources = []", "knowledge.shop.sources: "),
        ("[knowledge.shop]", "knowledge.shop.sources is missing: write it there, or set"
         " KFBOT_KNOWLEDGE__SHOP__SOURCES"),
        ("[knowledge.shop]\nsources = ['ftp://host/a']",
         "knowledge.shop.sources.0: an address begins with https://, "),
        ("[knowledge.shop]\nsources = ['x', 'https://']",
         "knowledge.shop.sources.1: an address begins with https://, "),
        ("log_format = 'xml'", "log_format: "),
        ("channels = ['x']", "channels: Input should be a valid dictionary"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_the_nearest_known_name(
    fault: Callable[..., str], tmp_path: Path, text: str, said: str
) -> None:
    line = fault(text)
    assert line.startswith(f"settings ({tmp_path / 'kfbot.toml'}): ")
    assert said in line


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("KFBOT_LOG_FORMATT", "json",
         "unknown setting KFBOT_LOG_FORMATT, did you mean KFBOT_LOG_FORMAT?"),
        ("KFBOT_WEBB__PORT", "1", "unknown setting KFBOT_WEBB__PORT, did you mean KFBOT_WEB?"),
        ("KFBOT_SETTINGSFILE", "x", "unknown setting KFBOT_SETTINGSFILE, did you mean "),
        ("kfbot_webb", "x", "unknown setting kfbot_webb, did you mean KFBOT_WEB?"),
        ("KFBOT_WEB__PROT", "1", "unknown setting web.prot, did you mean port?"),
        ("KFBOT_WEB__PORT__X", "1", "web.port: Input should be a valid integer"),
        ("KFBOT_DATA_DIR__X", "1", "data_dir: Input is not a valid path"),
        ("KFBOT_WEB", "hunter2", "web: Input should be a valid dictionary"),
        ("KFBOT_WEB__PORT", "", "web.port: Input should be a valid integer"),
        ("KFBOT_WEB__TOKENS", "hunter2", 'web.tokens: write a list, as in ["one", "two"]'),
        ("KFBOT_CHANNELS__SHOP", "hunter2", "channels.shop: Input should be a valid dictionary"),
        ("KFBOT_KNOWLEDGE__SHOP__SOURCES", "docs", "knowledge.shop.sources: write a list"),
    ],
)  # fmt: skip
def test_a_fault_in_the_environment_is_named_too(
    fault: Callable[..., str], variable: str, value: str, said: str
) -> None:
    line = fault(**{variable: value})
    assert said in line
    assert "hunter2" not in line
    assert line.startswith("unknown") or "in the environment" in line


def test_a_section_cannot_be_a_value_too(fault: Callable[..., str]) -> None:
    line = fault(KFBOT_WEB="hunter2", KFBOT_WEB__PORT="1")
    assert line == "KFBOT_WEB__PORT: KFBOT_WEB is set too, and is no section"


def test_all_faults_are_named_at_once(fault: Callable[..., str]) -> None:
    line = fault("[web]\nport = 'x'\nhosst = 'y'\n[decision]\nmax_wrong_percent = 0")
    assert all(name in line for name in ("web.port", "web.hosst", "decision.max_wrong_percent"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml does not exist"):
        load_settings(tmp_path / "none.toml")


def test_bad_toml_is_named_with_its_place_and_shows_no_value(fault: Callable[..., str]) -> None:
    line = fault(f'[channels.shop]\nsecret = "{SECRET}\n')
    assert "not valid TOML" in line
    assert "line 2" in line
    assert SECRET not in line


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "kfbot.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(file)
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path)


# Secrets


def test_secrets_are_in_no_form_of_the_settings(load: Load) -> None:
    settings = load(
        f'[channels.shop]\nplatform = "webhook"\nreply = "response"\nsecret = "{SECRET}"\n'
        f'[database]\nurl = "postgresql+asyncpg://u:{SECRET}@db/k"\n'
        f'[embedding]\napi_key = "{SECRET}"\n[web]\ntokens = ["{SECRET}"]'
    )
    for shown in (repr(settings), str(settings), f"{settings}", repr(settings.web)):
        assert SECRET not in shown
    assert settings.channels["shop"]["secret"] == SECRET
    adapters = open_channels(settings)
    assert SECRET not in repr(adapters["shop"].settings)
    assert SECRET not in str(adapters["shop"].settings)


BAD_SECTIONS: list[tuple[dict[str, Any], str]] = [
    ({}, "platform is missing: one of"),
    ({"platform": "telegram"},
     "token is missing: write it there, or set KFBOT_CHANNELS__SHOP__TOKEN"),
    ({"platform": "webhok", "secret": SECRET},
     "platform: 'webhok' is unknown, did you mean webhook?"),
    ({"platform": "webhook", "secert": SECRET}, "unknown setting secert, did you mean secret?"),
    ({"platform": "webhook", "secret": [SECRET]}, "secret: Input should be a valid string"),
    ({"platform": "webhook", "secret": f"{SECRET}!!"}, "secret: "),
    ({"platform": "webhook", "secret": SECRET, "reply": SECRET}, "reply: "),
    ({"platform": "webhook", "secret": SECRET, "callback_url": SECRET}, "callback_url"),
    ({"platform": "webhook", "secret": SECRET, "admins": SECRET}, "admins: write a list"),
    ({"platform": "webhook", "secret": SECRET, "reply": "response", "knowledge": ["nix"]},
     "knowledge: there is no [knowledge.nix], only samples"),
]  # fmt: skip


@pytest.mark.parametrize(("section", "said"), BAD_SECTIONS)
def test_a_bad_channel_section_is_named_without_its_secrets(
    load: Load, section: dict[str, Any], said: str
) -> None:
    settings = load().model_copy(update={"channels": {"shop": section}})
    with pytest.raises(SettingsError) as caught:
        open_channels(settings)
    line = str(caught.value)
    assert line.startswith("settings [channels.shop]")
    assert said in line
    assert SECRET not in line
    assert "\n" not in line
    assert caught.value.__cause__ is None


def test_reading_settings_leaves_the_environment_alone(load: Load) -> None:
    before = dict(os.environ)
    load(KFBOT_WEB__PORT="1")
    assert dict(os.environ) == before


def test_a_knowledge_base_has_a_name_that_can_stand_before_an_id(
    fault: Callable[..., str],
) -> None:
    assert "has no / in it" in fault('[knowledge."a/b"]\nsources = ["."]')


def test_roles_are_lists_of_people(load: Load) -> None:
    read = load('[knowledge.a]\nsources = ["."]\nroles = ["staff", "admins"]')
    assert read.knowledge["a"].roles == ("staff", "admins")
