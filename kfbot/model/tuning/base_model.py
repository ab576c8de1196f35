"""The model that is tuned: found, looked at, loaded; and how another of its kind is told apart."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from kfbot.model.tuning.asking import Device, Method, TuningError
from kfbot.model.weights import check_model

_SAMPLE_BYTES = 64 * 1024
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def check_base(base: str) -> str:
    """A folder as an absolute path, a Hugging Face name as it is.

    Raises:
        SettingsError: There is no such folder, or it holds no chat model.
        TuningError: It holds an adapter.
    """
    settings = Path(base).expanduser() / "adapter_config.json"
    if settings.is_file():
        of = json.loads(settings.read_text("utf-8")).get("base_model_name_or_path", "?")
        raise TuningError(f"--base {base} is an adapter, not a model: its own base is {of}")
    folder = check_model(base)
    return base if folder is None else str(folder)


def fingerprint(base: str) -> str:
    """A hash that two models share only where their weights are the same; "" for a name.

    SHA-256 over names, sizes and three samples (64 KiB each) of every weight file: seconds where
    hashing all of a large model takes minutes.
    """
    digest = hashlib.sha256()
    folder = Path(base)
    if not folder.is_dir():
        return ""
    for path in _weight_files(folder):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}\n".encode())
        with path.open("rb") as file:
            for place in (0, size // 2, max(0, size - _SAMPLE_BYTES)):
                file.seek(place)
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def licence_of(base: str) -> str:
    """The licence as the model's folder states it; "" where it does not."""
    folder = Path(base)
    try:
        card = (folder / "README.md").read_text("utf-8", "replace")
    except OSError:
        card = ""
    head = card.split("---")[1] if card.startswith("---") and card.count("---") > 1 else ""
    if found := re.search(r"^license(?:_name)?:\s*(\S.*?)\s*$", head, re.MULTILINE):
        return found[1]
    for path in sorted(folder.glob("LICEN[CS]E*")) if folder.is_dir() else ():
        lines = path.read_text("utf-8", "replace").strip().splitlines()
        return f"{lines[0].strip()} ({path.name})" if lines else path.name
    return ""


def pick_device(wanted: Device) -> str:
    """ "cuda" or "cpu".

    Raises:
        TuningError: A GPU is asked for, and there is none.
    """
    import torch

    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise TuningError(
            "--device cuda: no GPU can be used here (see `python -m torch.utils.collect_env`);"
            " without it, --device cpu tunes small models"
        )
    return "cpu" if wanted == "cpu" or not there else "cuda"


def load_tokenizer(base: str) -> Any:
    """The tokenizer of a model, able to pad.

    Raises:
        TuningError: There is none, or it has no chat template.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base)
    except (OSError, ValueError) as error:
        raise TuningError(f"--base {base} has no tokenizer that can be read: {error}") from error
    if not tokenizer.chat_template:
        raise TuningError(
            f"--base {base} has no chat template: take the instruct or chat version of the model"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_config(base: str) -> Any:
    """What a model is built like, without its weights.

    Raises:
        TuningError: It cannot be read.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(base).get_text_config()
    except (OSError, ValueError, KeyError) as error:
        raise TuningError(f"--base {base} cannot be read: {error}") from error


def load_model(base: str, method: Method, device: str) -> Any:
    """The model, ready to be tuned.

    Raises:
        TuningError: It cannot be loaded like this.
    """
    import torch
    from transformers import AutoModelForCausalLM

    # Adam's small steps would be lost in bfloat16: what is tuned itself is kept in float32.
    dtype = torch.bfloat16 if device == "cuda" and method != "full" else torch.float32
    more: dict[str, Any] = {"quantization_config": _four_bits(dtype)} if method == "qlora" else {}
    if method == "qlora":
        more["device_map"] = {"": _place(device)}
    try:
        return AutoModelForCausalLM.from_pretrained(base, dtype=dtype, **more)
    except (OSError, ValueError, KeyError) as error:
        raise TuningError(f"--base {base} cannot be loaded: {error}") from error


def _place(device: str) -> str:
    from accelerate import PartialState

    return f"cuda:{PartialState().local_process_index}" if device == "cuda" else "cpu"


def _four_bits(dtype: Any) -> Any:
    try:
        import bitsandbytes  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        raise TuningError(
            "--method qlora needs bitsandbytes, which does not work on this machine:"
            " --method lora needs about three times the memory and nothing else"
        ) from error
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def _weight_files(folder: Path) -> list[Path]:
    return sorted(path for kind in _WEIGHTS for path in folder.glob(kind))
