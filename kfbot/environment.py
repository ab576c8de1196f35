"""What the environment sets: `KFBOT_…`, nested by `__`; `…_FILE` names a file with the value."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from kfbot.errors import SettingsError

#: Docker's convention: KFBOT_WEB__TOKENS_FILE=/run/secrets/tokens
_IN_A_FILE = "_FILE"
#: No secret is longer; whatever is was named by mistake.
LONGEST_FILE = 64 * 1024


def read_environment(known: Collection[str]) -> dict[str, Any]:
    """All settings of the environment, nested; names there know neither case nor hyphens.

    A name that ends in `_FILE` stands for the setting without it, and its value for a file that
    holds the value: UTF-8, without the line ends at its end.

    Args:
        known: The names of the sections and settings at the top.

    Raises:
        SettingsError: Names the variable, and the file, but never what is in them.
    """
    found: dict[str, Any] = {}
    given: dict[str, str] = {}
    tops = {f"KFBOT_{name.upper()}" for name in known}
    for name in sorted(os.environ):
        shouted = name.upper()
        if not shouted.startswith("KFBOT_") or _is_no_setting(shouted):
            continue
        setting = shouted.removesuffix(_IN_A_FILE)
        is_file = setting != shouted
        if setting.split("__")[0] not in tops:
            nearest = difflib.get_close_matches(setting, tops, n=1, cutoff=0.0)
            raise SettingsError(f"unknown setting {name}, did you mean {nearest[0]}?")
        other = given.setdefault(setting, name)
        if other != name and (is_file or other.upper() != setting):
            raise SettingsError(f"{other} and {name} are both set: keep one of them")
        value = _read(name, os.environ[name]) if is_file else os.environ[name]
        _put(found, setting, _value(value))
    return found


def variable_of(path: Sequence[str]) -> str:
    """The variable of a setting: KFBOT_WEB__PORT of ("web", "port")."""
    return f"KFBOT_{'__'.join(path)}".replace("-", "_").upper()


def _is_no_setting(name: str) -> bool:
    """The settings file's own name, and what only tests read."""
    return name == "KFBOT_SETTINGS" or name.startswith("KFBOT_TEST_")


def _read(name: str, path: str) -> str:
    """The value that lies in a file."""
    file = Path(path)
    if not file.is_absolute():
        # The path itself is not shown: it may be the secret, put here by mistake.
        raise SettingsError(
            f"{name}: write the whole path of a file that holds the value"
            " (a setting that is itself called …_file goes into kfbot.toml)"
        )
    try:
        if not file.is_file():
            raise SettingsError(f"{name}: {file} is missing or no file")
        with file.open("rb") as opened:
            content = opened.read(LONGEST_FILE + 1)
    except OSError as error:
        fault = error.strerror or type(error).__name__
        raise SettingsError(f"{name}: {file} cannot be read: {fault}") from None
    if len(content) > LONGEST_FILE:
        raise SettingsError(f"{name}: {file} is larger than {LONGEST_FILE // 1024} KiB")
    try:
        value = content.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        # The error itself would hold the content.
        raise SettingsError(f"{name}: {file} is no UTF-8 text") from None
    if not value:
        raise SettingsError(f"{name}: {file} is empty")
    return value


def _put(found: dict[str, Any], name: str, value: Any) -> None:
    *sections, last = name.lower().removeprefix("kfbot_").split("__")
    for section in sections:
        found = found.setdefault(section, {})
        if not isinstance(found, dict):
            raise SettingsError(f"{name}: KFBOT_{section.upper()} is set too, and is no section")
    found[last] = value


def _value(text: str) -> Any:
    """Lists and sections may be written as JSON; whatever else is text for the validation."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
