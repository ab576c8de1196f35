"""Settings of a bot with every secret planted, and the names of all that may be one."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, SecretStr

_AES_KEY = base64.b64encode(b"PLANTEDwecomaeskeyPLANTEDwecomae").decode().rstrip("=")


def _key(name: str) -> str:
    return "whsec_" + base64.b64encode(f"planted secret of {name}".encode()).decode()


def sections(url: str) -> dict[str, dict[str, Any]]:
    """A channel of every platform, whose every secret is planted and whose calls all fail."""
    return {
        "p-chatwoot": {
            "platform": "chatwoot", "base_url": url, "account_ids": [1],
            "bot_token": "plantedchatwootbot", "webhook_secret": "plantedchatwoothook",
            "url_secret": "plantedchatwooturl",
        },
        "p-dingtalk": {
            "platform": "dingtalk", "client_id": "ding", "client_secret": "planteddingtalk",
            "api_base": url,
        },
        "p-discord": {"platform": "discord", "token": "planted.discord", "api_base": url},
        "p-feishu": {
            "platform": "feishu", "app_id": "cli_1", "app_secret": "plantedfeishuapp",
            "encrypt_key": "plantedfeishuencrypt", "verification_token": "plantedfeishutoken",
            "api_base": url,
        },
        "p-matrix": {
            "platform": "matrix", "homeserver": url, "access_token": "plantedmatrix",
        },
        "p-onebot": {
            "platform": "onebot", "access_token": "plantedonebotaccess",
            "secret": "plantedonebotsecret", "api_base": url,
        },
        "p-openim": {
            "platform": "openim", "api_base": url, "bot_id": "bot",
            "secret": "plantedopenim", "webhook_secret": "plantedopenimwebhook",
        },
        "p-slack": {
            "platform": "slack", "bot_token": "xoxb-plantedslackbot", "mode": "socket",
            "app_token": "xapp-plantedslackapp", "signing_secret": "plantedslacksigning",
            "api_base": f"{url}/",
        },
        "p-telegram": {
            "platform": "telegram", "token": "123:plantedtelegram", "api_base": url,
            "webhook_secret": "plantedtelegramhook",
        },
        "p-webhook": {
            "platform": "webhook", "secret": _key("webhook"),
            "callback_url": f"{url}/hook?key=plantedcallbackkey",
        },
        "p-wecom": {
            "platform": "wecom", "corp_id": "corp", "secret": "plantedwecomsecret",
            "token": "plantedwecomtoken", "encoding_aes_key": _AES_KEY,
            "kf_accounts": ["wk1"], "robot_key": "plantedwecomrobot", "api_base": url,
        },
    }  # fmt: skip


def overrides(url: str) -> dict[str, Any]:
    """Settings beside the channels, with every other secret planted."""
    action = {
        "phrases": ["where is my order"], "url": f"{url}/action?key=plantedactionkey",
        "secret": _key("action"), "slots": ["phone"],
        "answer_en": "{order.status}", "answer_zh": "{order.status}",
        "empty_en": "None.", "empty_zh": "没有。",
    }  # fmt: skip
    endpoint = {"base_url": f"{url}/v1", "model": "m", "api_key": "plantedfallbackkey"}
    return {
        "chat_model": {
            "base_url": f"{url}/v1", "model": "m", "api_key": "plantedmodelkey",
            "fallbacks": [endpoint], "timeout_seconds": 5,
        },
        "actions": {"order": action},
        "slots": {
            "phone": {"pattern": r"1\d{10}", "ask_en": "Your?", "ask_zh": "手机？", "private": True}
        },
        "event_webhooks": {
            "crm": {"url": f"{url}/crm?key=plantedcrmkey", "secret": _key("crm")}
        },
        "web": {"tokens": ["plantedwebtoken"], "metrics_token": "plantedmetricstoken"},
    }  # fmt: skip


#: Opened by nothing in this test: a database and servers that are not there.
ELSEWHERE = {
    "database": {"url": "postgresql://kfbot:plantedpassword@127.0.0.1:1/kfbot"},
    "embedding": {"model": "http://127.0.0.1:1/v1", "api_key": "plantedembeddingkey"},
    "reranker": {"model": "http://127.0.0.1:1/v1", "api_key": "plantedrerankerkey"},
    "qdrant": {"url": "http://127.0.0.1:1", "api_key": "plantedqdrantkey"},
}


def secrets_in(given: Any) -> set[str]:
    """All planted secrets in settings as an operator writes them."""
    if isinstance(given, Mapping):
        return set().union(*map(secrets_in, given.values())) if given else set()
    if isinstance(given, list):
        return set().union(*map(secrets_in, given)) if given else set()
    text = str(given)
    if text.startswith("whsec_") or text == _AES_KEY:
        return {text}
    if "?key=" in text:
        return {text.partition("?key=")[2]}
    return {text.rpartition(":")[2].partition("@")[0]} if "planted" in text else set()


def secret_fields(model: type[BaseModel], at: str = "") -> Iterator[str]:
    """The dotted names of all secret fields of a model of settings."""
    for name, field in model.model_fields.items():
        inner = list(_types(field.annotation))
        if SecretStr in inner:
            yield f"{at}{name}"
        for one in inner:
            if isinstance(one, type) and issubclass(one, BaseModel):
                yield from secret_fields(one, f"{at}{name}.")


def _types(annotation: Any) -> Iterator[Any]:
    yield annotation
    for one in get_args(annotation):
        yield from _types(one)


def has(given: Any, path: str) -> bool:
    """Whether a value is given for a field; lists and tables of sections count by their first."""
    if isinstance(given, list) and given and isinstance(given[0], Mapping):
        given = given[0]
    name, _, rest = path.partition(".")
    if not isinstance(given, Mapping):
        return False
    if name in given:
        return has(given[name], rest) if rest else bool(given[name])
    return any(isinstance(one, Mapping) and has(one, path) for one in given.values())
