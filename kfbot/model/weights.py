"""A chat model's weights on disk: what is wrong with a folder, and an adapter merged into its base.

`python -m kfbot.model.weights MODEL ADAPTER FOLDER` merges, in a process of its own: the memory is
free again when the model is loaded.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kfbot.errors import SettingsError
from kfbot.extras import how_to_install

#: A name on the Hugging Face hub.
_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_SERVING = ("torch", "transformers", "fastapi", "uvicorn", "openai")
_LORA = re.compile(r"base_model\.model\.(.+)\.lora_(A|B)\.weight")
_MEMORY = (
    "outofmemoryerror",
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    # transformers, where what else it sets aside leaves nothing for keys and values.
    "num_sectors = -",
)


def check_installed(*modules: str, extra: str) -> None:
    """See that an extra is installed.

    Raises:
        SettingsError: One of its modules is missing.
    """
    if missing := [name for name in modules or _SERVING if find_spec(name) is None]:
        raise SettingsError(f"{missing[0]} is not installed: {how_to_install(extra)}")


def check_model(model: str) -> Path | None:
    """The folder of a chat model; None: `model` is a name on the hub.

    Raises:
        SettingsError: There is no such folder, or it holds no chat model.
    """
    folder = Path(model).expanduser()
    if not folder.exists():
        if _NAME.fullmatch(model) and not model.startswith("."):
            return None
        raise SettingsError(f"{model} does not exist: name the folder of a model, or ORG/NAME")
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise SettingsError(
            f"{folder} is an adapter: name its base, and this as adapter (--adapter {folder})"
        )
    missing = [
        what
        for what, names in (
            ("config.json", ("config.json",)),
            ("*.safetensors", ("*.safetensors", "*.bin")),
            ("tokenizer.json", ("tokenizer.json", "tokenizer.model", "vocab.json")),
        )
        if not any(list(folder.glob(name)) for name in names)
    ]
    if missing:
        raise SettingsError(f"{folder} is no model folder: it has no {', no '.join(missing)}")
    if not _has_template(folder):
        raise SettingsError(
            f"{folder} has no chat template: it is a base model; take its chat or instruct version"
        )
    return folder.resolve()


def check_adapter(adapter: Path, model: str) -> str:
    """Whether an adapter is made for a model; a remark where its name speaks against it, or "".

    Raises:
        SettingsError: It is no adapter, or made for a model of other shapes.
    """
    settings = adapter / "adapter_config.json"
    if not settings.is_file() or not (adapter / "adapter_model.safetensors").is_file():
        raise SettingsError(
            f"{adapter} is no adapter: it has no adapter_config.json and adapter_model.safetensors"
        )
    named = str(_json(settings).get("base_model_name_or_path") or "")
    base = check_model(model)
    other = bool(named) and Path(named).name != Path(model).name
    fault = f"the adapter {adapter} is made for {named or 'another model'}, not for {model}"
    if base is None:
        if other:
            raise SettingsError(f"{fault}: name its own base")
        return ""
    if wrong := next(_misfits(adapter, base), ""):
        raise SettingsError(f"{fault}: {wrong} is of another shape; name its own base")
    return f"{fault} by name, though its shapes fit" if other else ""


def merge_adapter(
    model: str, adapter: Path, cache: Path, report: Callable[[str], None]
) -> tuple[Path, str]:
    """A folder with the model and its adapter in one, made at the first call.

    Made anew when either has changed; what was merged of the same adapter before is removed.

    Returns:
        The folder, named as the adapter is, and what `check_adapter` remarks.

    Raises:
        SettingsError: The adapter does not fit, cannot be merged, or peft is not installed.
    """
    check_installed("peft", extra="tune")
    adapter = adapter.expanduser().resolve()
    remark = check_adapter(adapter, model)
    base = check_model(model)
    folder = cache / "merged" / _key(base, model, adapter) / adapter.name
    if folder.exists():
        return folder, remark
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (cache / "merged" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released by closing, also by a kill
        if not folder.exists():
            report(f"Merging {adapter.name} into {model} (once)…")
            _merge_in_child(str(base or model), adapter, folder)
            for older in (cache / "merged").glob(f"*/{adapter.name}"):
                if older != folder:
                    shutil.rmtree(older.parent)
    return folder, remark


def memory_fault(text: str) -> bool:
    """Whether what a process said means that memory ran out, of the GPU or the machine."""
    return any(sign in text.casefold() for sign in _MEMORY)


def _has_template(folder: Path) -> bool:
    if any((folder / name).exists() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    settings = folder / "tokenizer_config.json"
    return settings.is_file() and bool(_json(settings).get("chat_template"))


def _json(file: Path) -> dict[str, Any]:
    try:
        read = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise SettingsError(f"{file} cannot be read: it is no JSON") from error
    return read if isinstance(read, dict) else {}


def _misfits(adapter: Path, base: Path) -> Iterator[str]:
    """Modules of the adapter that the base does not have in that shape."""
    if "quantization_config" in _json(base / "config.json"):
        return  # packed weights have shapes of their own
    known = {name: shape for file in base.glob("*.safetensors") for name, shape in _shapes(file)}
    for name, shape in _shapes(adapter / "adapter_model.safetensors"):
        if (found := _LORA.fullmatch(name)) is None or not known:
            continue
        weight = known.get(f"{found[1]}.weight")
        fits = weight and (weight[1] == shape[1] if found[2] == "A" else weight[0] == shape[0])
        if not fits:
            yield found[1]


def _shapes(file: Path) -> Iterator[tuple[str, list[int]]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as weights:
            for name in weights.keys():  # noqa: SIM118 (it is no mapping)
                yield name, weights.get_slice(name).get_shape()
    except SafetensorError as error:
        raise SettingsError(f"{file} cannot be read: {error}") from error


def _key(base: Path | None, model: str, adapter: Path) -> str:
    """Of what goes into a merge: the adapter's bytes, and which files the base is."""
    digest = hashlib.sha256(str(base or model).encode())
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        digest.update((adapter / name).read_bytes())
    for file in sorted(base.glob("*")) if base else ():
        state = file.stat()
        digest.update(f"{file.name} {state.st_size} {state.st_mtime_ns}".encode())
    return digest.hexdigest()[:12]


def _merge_in_child(model: str, adapter: Path, folder: Path) -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    command = [sys.executable, "-P", "-m", __name__, model, str(adapter), str(partial)]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 (our own module)
    if done.returncode:
        shutil.rmtree(partial, ignore_errors=True)
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        if memory_fault(done.stderr) or done.returncode == -9:
            last = "out of memory: merge it on a machine with more"
        raise SettingsError(f"{adapter} cannot be merged into {model}: {last}")
    partial.rename(folder)


def _merge(model: str, adapter: str, folder: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(model, dtype="auto")
    merged = PeftModel.from_pretrained(base, adapter).merge_and_unload()
    merged.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model).save_pretrained(folder)


if __name__ == "__main__":
    _merge(*sys.argv[1:])
