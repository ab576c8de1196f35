"""What an operator can set, and how it is read: once, and passed down.

Order: arguments, environment (`kfbot.environment`), `kfbot.toml`.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from kfbot.actions.phrases import meaning_of
from kfbot.actions.settings import ActionName, ActionSettings
from kfbot.actions.slot_settings import SlotName, SlotSettings
from kfbot.environment import read_environment, variable_of
from kfbot.errors import SettingsError
from kfbot.event_webhook_settings import EventWebhookName, EventWebhookSettings
from kfbot.handoff.settings import HandoffSettings
from kfbot.knowledge_settings import ADDRESS, KnowledgeName, KnowledgeSettings
from kfbot.model_settings import (
    AnswerSettings,
    ChatModelSettings,
    EmbeddingSettings,
    RerankerSettings,
    Section,
)
from kfbot.overload.settings import OverloadSettings
from kfbot.privacy_settings import PrivacySettings

#: Channels that need no section: the chat page, the HTTP API, `kfbot chat`.
OWN_CHANNELS = ("web", "api", "terminal")
#: The checkout: what relative paths mean where there is no settings file.
CHECKOUT = Path(__file__).resolve().parent.parent


def _network(text: str) -> str:
    """An address or a network as it is.

    Raises:
        ValueError: It is none.
    """
    return str(ip_network(text))


class WebSettings(Section):
    """`[web]`: the HTTP server."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    #: Bearer tokens of the HTTP API, long and random. Needed on every address but
    #: loopback.
    tokens: tuple[Annotated[SecretStr, Field(min_length=1)], ...] = ()
    #: A bearer token that is good for /metrics and the words of /readyz, and for nothing else.
    metrics_token: SecretStr = SecretStr("")
    #: Proxies whose X-Forwarded-For is believed where failed sign-ins and open pages are
    #: counted: addresses, or networks as 10.0.0.0/8.
    trusted_proxies: tuple[Annotated[str, AfterValidator(_network)], ...] = ("127.0.0.1", "::1")


class DatabaseSettings(Section):
    """`[database]`: where conversations and knowledge are kept."""

    #: SQLAlchemy URL with an async driver; empty: SQLite in the data folder.
    url: SecretStr = SecretStr("")
    #: Events that were worked on and messages that were sent are kept so long; transcripts are
    #: not among them. Within that time an event that a platform repeats is recognised.
    keep_finished_days: int = Field(default=30, ge=1, le=36_500)


def _http_address(url: str) -> str:
    """An address as it is.

    Raises:
        ValueError: It is none, or holds a password.
    """
    parts = urlsplit(url)
    if not url or (
        parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    ):
        return url.rstrip("/")
    raise ValueError("write https://HOST:PORT or http://HOST:PORT, the key into api_key")


def _receiver(url: str) -> str:
    """The root of an address as it is.

    Raises:
        ValueError: It is none, or holds a password.
    """
    parts = urlsplit(url)
    if not url or (
        parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    ):
        return url.rstrip("/").removesuffix("/v1/traces")
    raise ValueError("write https://HOST:PORT or http://HOST:PORT")


class QdrantSettings(Section):
    """`[qdrant]`: a server that holds what is searched, instead of the data folder."""

    #: https://HOST:6333; empty: the embedded engine, without any server.
    url: Annotated[str, AfterValidator(_http_address)] = ""
    api_key: SecretStr = SecretStr("")
    #: A question that waits longer is handed to a person.
    timeout_seconds: float = Field(default=5.0, gt=0, le=60)
    #: The alias under which the collection is found; what the names of collections begin with.
    #: One for each deployment that uses the server.
    collection: str = Field(default="kfbot", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
    #: Into how many shards the collection is cut; empty: what the server takes.
    shard_number: int | None = Field(default=None, ge=1, le=1000)
    #: On how many nodes each shard lies.
    replication_factor: int = Field(default=1, ge=1, le=100)
    #: How many of them must have written what is said to be written.
    write_consistency_factor: int = Field(default=1, ge=1, le=100)

    @model_validator(mode="after")
    def _have_a_server(self) -> Self:
        if self.model_fields_set - {"url"} and not self.url:
            raise ValueError("url is missing: the other settings are about that server")
        if self.write_consistency_factor > self.replication_factor:
            raise ValueError("write_consistency_factor is greater than replication_factor")
        return self


class TracingSettings(Section):
    """`[tracing]`: where traces of turns go."""

    #: Receiver of OTLP over HTTP, http://HOST:4318; empty: nothing is traced.
    endpoint: Annotated[str, AfterValidator(_receiver)] = ""
    #: So many of all conversations' events are traced: 0 to 1.
    sample_ratio: float = Field(default=1.0, gt=0, le=1)


class DecisionSettings(Section):
    """`[decision]`: when the bot answers by itself."""

    #: The dial: of 100 answers at most so many may be wrong, by the bot's own estimate.
    max_wrong_percent: float = Field(default=5.0, gt=0, lt=100)


class Settings(BaseSettings):
    """Everything an operator can set."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    #: Database, index and model cache; relative to the settings file, else to the checkout.
    data_dir: Path = Path("var")
    #: Sections are validated by their adapters; they hold secrets, so they never print.
    channels: dict[str, dict[str, Any]] = Field(default_factory=dict, repr=False)
    knowledge: dict[KnowledgeName, KnowledgeSettings] = Field(default_factory=dict)
    web: WebSettings = WebSettings()
    database: DatabaseSettings = DatabaseSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    reranker: RerankerSettings = RerankerSettings()
    chat_model: ChatModelSettings = ChatModelSettings()
    answers: AnswerSettings = AnswerSettings()
    slots: dict[SlotName, SlotSettings] = Field(default_factory=dict)
    actions: dict[ActionName, ActionSettings] = Field(default_factory=dict)
    event_webhooks: dict[EventWebhookName, EventWebhookSettings] = Field(default_factory=dict)
    qdrant: QdrantSettings = QdrantSettings()
    tracing: TracingSettings = TracingSettings()
    decision: DecisionSettings = DecisionSettings()
    handoff: HandoffSettings = HandoffSettings()
    overload: OverloadSettings = OverloadSettings()
    privacy: PrivacySettings = PrivacySettings()
    #: "text" for people, "json" for machines.
    log_format: str = Field(default="text", pattern="^(text|json)$")

    @model_validator(mode="after")
    def _know_the_channels(self) -> Self:
        known = (*self.channels, *(name for name in OWN_CHANNELS if name not in self.channels))
        sections = {f"knowledge.{name}": one.channels for name, one in self.knowledge.items()}
        for name, webhook in self.event_webhooks.items():
            sections[f"event_webhooks.{name}"] = webhook.channels
        for section, channels in sections.items():
            for channel in channels:
                if channel not in known:
                    only = ", ".join(known)
                    where = f"[{section}] channels"
                    raise ValueError(f"{where}: there is no [channels.{channel}], only {only}")
        return self

    @model_validator(mode="after")
    def _know_the_slots(self) -> Self:
        begun: dict[frozenset[str], str] = {}
        for name, action in self.actions.items():
            for slot in action.slots:
                if slot not in self.slots:
                    only = ", ".join(self.slots) or "none"
                    where = f"[actions.{name}] slots"
                    raise ValueError(f"{where}: there is no [slots.{slot}], only {only}")
            for phrase in action.phrases:
                if not (meaning := meaning_of(phrase)):
                    raise ValueError(f"[actions.{name}] phrases: {phrase!r} says nothing")
                if (other := begun.setdefault(meaning, name)) != name:
                    clash = f"{phrase!r} begins [actions.{other}] too"
                    raise ValueError(f"[actions.{name}] phrases: {clash}")
        return self

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the database."""
        return self.database.url.get_secret_value() or (
            f"sqlite:///{self.data_dir / 'kfbot.sqlite3'}"
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read from arguments only: `load_settings` merges file and environment beforehand."""
        return (init_settings,)


def load_settings(
    path: Path | None = None, *, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Read the settings: `path`, else `KFBOT_SETTINGS`, else kfbot.toml in the checkout if any.

    Relative paths in the result are made absolute. `overrides` win over everything.

    Raises:
        SettingsError: Names each fault: unknown names with the nearest known one, bad values.
    """
    file, named = _settings_file(path)
    found = _read_toml(file) if named or file.is_file() else {}
    environment = read_environment(Settings.model_fields)
    merged = _merge(_merge(found, environment), dict(overrides or {}))
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        where = _where(file, environment)
        raise SettingsError(describe(error, Settings, where=where)) from None
    return _absolute(settings, file.resolve().parent)


def describe(
    error: ValidationError, model: type[BaseModel], *, where: str, section: tuple[str, ...] = ()
) -> str:
    """One line for all faults of a section, without any of its values.

    Args:
        section: Where `model` lies in the settings, as ("channels", "telegram").
    """
    return f"{where}: " + "; ".join(_fault(one, model, section) for one in error.errors())


def _fault(fault: ErrorDetails, model: type[BaseModel], section: tuple[str, ...]) -> str:
    location, kind, message = fault["loc"], fault["type"], fault["msg"]
    name = ".".join(str(part) for part in location)
    if kind in ("tuple_type", "list_type"):
        return f'{name}: write a list, as in ["one", "two"]'
    if kind == "missing":
        variable = variable_of((*section, *name.split(".")))
        return f"{name} is missing: write it there, or set {variable}"
    if kind != "extra_forbidden":
        said = message.removeprefix("Value error, ")
        return f"{name}: {said}" if name else said
    known = _known_names(model, location[:-1])
    near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.0)
    return f"unknown setting {name}" + (f", did you mean {near[0]}?" if near else "")


def _known_names(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        if field is None:
            continue
        for candidate in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                model = candidate
    return list(model.model_fields)


def find_settings_file(path: Path | None = None) -> Path:
    """The file that `load_settings` reads; it need not be there."""
    return _settings_file(path)[0]


def _settings_file(path: Path | None) -> tuple[Path, bool]:
    if path is None and (named := os.environ.get("KFBOT_SETTINGS")):
        path = Path(named)
    return (path, True) if path is not None else (CHECKOUT / "kfbot.toml", False)


def _where(file: Path, environment: Mapping[str, Any]) -> str:
    sources = [str(file)] if file.is_file() else []
    if environment:
        sources.append("KFBOT_… in the environment")
    return f"settings ({', '.join(sources)})" if sources else "settings"


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"settings file {file} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {file} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"settings file {file} is not valid TOML: {error}") from error
    except RecursionError:
        raise SettingsError(f"settings file {file} is nested too deeply") from None


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    spelled = {_plain(key): key for key in base}
    for key, value in over.items():
        # KFBOT_CHANNELS__SHOP_TELEGRAM__TOKEN belongs to [channels.shop-telegram].
        name = key if key in base else spelled.get(_plain(key), key)
        below = merged.get(name)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[name] = _merge(below, value)
        else:
            merged[name] = value
    return merged


def _plain(key: str) -> str:
    return key.lower().replace("-", "_")


def _absolute(settings: Settings, base: Path) -> Settings:
    knowledge = {
        name: section.model_copy(
            update={"sources": tuple(_absolute_source(one, base) for one in section.sources)}
        )
        for name, section in settings.knowledge.items()
    }
    url = settings.database.url.get_secret_value()
    model = settings.embedding.model
    return settings.model_copy(
        update={
            "data_dir": base / settings.data_dir,
            "knowledge": knowledge or _sample_knowledge(),
            "database": settings.database.model_copy(
                update={"url": SecretStr(_absolute_url(url, base))}
            ),
            # A name on the hub looks like a relative path too.
            "embedding": settings.embedding.model_copy(
                update={"model": str(base / model) if (base / model).is_dir() else model}
            ),
            "chat_model": _absolute_chat_model(settings.chat_model, base),
        }
    )


def _absolute_chat_model(section: ChatModelSettings, base: Path) -> ChatModelSettings:
    folder = base / section.model
    is_folder = bool(section.model) and not section.base_url and folder.is_dir()
    update = {"model": str(folder)} if is_folder else {}
    if section.adapter:
        update["adapter"] = str(base / section.adapter)
    return section.model_copy(update=update)


def _absolute_source(source: str, base: Path) -> str:
    return source if ADDRESS.match(source) else str(base / source)


def _absolute_url(url: str, base: Path) -> str:
    """An SQLite file named by a relative path lies beside the settings, wherever we run."""
    scheme, found, path = url.partition(":///")
    is_relative = found and scheme.startswith("sqlite") and not path.startswith(("/", ":", "file:"))
    return f"{scheme}:///{base / path}" if is_relative and path else url


def _sample_knowledge() -> dict[str, KnowledgeSettings]:
    return {"samples": KnowledgeSettings(sources=(str(CHECKOUT / "knowledge" / "samples"),))}
