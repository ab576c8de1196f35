"""`kfbot.json`: what a tuned model was made of, in the folder that holds it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from kfbot.model.tuning.asking import Tuning, TuningError

RECORD = "kfbot.json"
#: What may differ between a tuning and its going on.
_FREE = ("out", "resume", "device")
_MADE_WITH = ("kfbot", "torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")


def check_folder(tuning: Tuning, base_sha256: str, data_sha256: str) -> dict[str, Any] | None:
    """The record of the tuning that goes on; None: a new one begins.

    Raises:
        TuningError: The folder holds something else, or what it was begun with has changed.
    """
    out = tuning.out
    if not tuning.resume:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise TuningError(
                f"--out {out} is not empty: name a new folder, or go on in it with --resume"
            )
        return None
    record = read_record(out)
    if record is None:
        raise TuningError(f"--resume: {out} holds no tuning; leave --resume out to begin one")
    if record["finished"]:
        raise TuningError(f"--resume: the tuning in {out} is finished")
    _check_same(record, tuning, base_sha256, data_sha256)
    return record


def _check_same(
    record: Mapping[str, Any], tuning: Tuning, base_sha256: str, data_sha256: str
) -> None:
    """See that nothing has changed since a tuning began.

    Raises:
        TuningError: Something has.
    """
    if record["base_sha256"] != base_sha256:
        raise TuningError(f"--resume: {tuning.out} has begun with another base, {record['base']}")
    if record["data_sha256"] != data_sha256:
        raise TuningError(
            f"--resume: the examples in {tuning.data} have changed since {tuning.out} began"
        )
    for name, value in asked(tuning).items():
        if record["asked"].get(name) != value:
            raise TuningError(
                f"--resume: {name} was {record['asked'].get(name)}, not {value}:"
                " go on with the same command"
            )


def asked(tuning: Tuning) -> dict[str, Any]:
    """What a tuning must keep while it goes on."""
    given = {name: value for name, value in asdict(tuning).items() if name not in _FREE}
    # Where they lie may change; what they hold is compared by its hash.
    return {name: value for name, value in given.items() if name not in ("data", "base")}


def read_record(out: Path) -> dict[str, Any] | None:
    """The record in a folder; None: there is none that can be read."""
    try:
        found = json.loads((out / RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "base_sha256" in found else None


def warning_of(folder: Path) -> str:
    """What must be known before a tuned model answers customers; "": nothing speaks against it.

    Also where there is no record: somebody else made the folder.
    """
    record = read_record(folder.expanduser())
    if record is None:
        return ""
    if not record.get("finished"):
        return f"{folder} is a tuning that has not come to its end: go on with --resume"
    if record.get("verdict") == "worse":
        return (
            f"{folder} is NOT FIT to answer customers: it got worse by its tuning, see"
            f" {folder / 'README.md'}"
        )
    return ""


def write_record(out: Path, record: Mapping[str, Any]) -> None:
    """Write a record, whole or not at all."""
    partial = out / f"{RECORD}.partial"
    partial.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", "utf-8")
    partial.replace(out / RECORD)


def hash_of_data(folder: Path) -> str:
    """SHA-256 over the JSONL files in the order of their names, as in a manifest of examples.

    Raises:
        TuningError: There are none.
    """
    digest = hashlib.sha256()
    paths = [path for path in sorted(folder.glob("*.jsonl")) if path.name != "teacher.jsonl"]
    if not paths:
        raise TuningError(
            f"{folder} holds no examples (*.jsonl): kfbot model data build makes such a folder"
        )
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """What the tuning was made with."""
    found = {}
    for name in _MADE_WITH:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
