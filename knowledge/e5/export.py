"""Writes the bundled model as a folder that transformers reads."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowledge.e5.weights import (
    BLOCK,
    HEADS,
    HIDDEN,
    INNER,
    LAYERS,
    MAX_TOKENS,
    Vocabulary,
    WeightsFile,
    find_weights,
)

#: What sentence-transformers calls the words before a text.
PROMPTS = {"query": "query: ", "passage": "passage: ", "document": "passage: "}
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "fi": "intermediate.dense",
    "fo": "output.dense",
}
_NORMS = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}
#: A character that no text has, for one that NFKC would change and XLM-R leaves.
_PLACEHOLDER = "\ue0fe"


def export(folder: Path) -> None:
    """Write weights (float32), tokenizer and settings; positions count from 0, as in BERT.

    Raises:
        KnowledgeBaseUnavailable: The weights are missing or damaged.
    """
    from safetensors.numpy import save_file

    weights = WeightsFile(find_weights())
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_tensors(weights), folder / "model.safetensors", metadata={"format": "pt"})
    head = weights.header
    _write(
        folder / "config.json",
        {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "vocab_size": head.vocabulary,
            "hidden_size": HIDDEN,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "intermediate_size": INNER,
            "max_position_embeddings": MAX_TOKENS,
            "type_vocab_size": head.token_types,
            "layer_norm_eps": 1e-12,
            "hidden_act": "gelu",
            "pad_token_id": head.pad,
            "bos_token_id": head.bos,
            "eos_token_id": head.eos,
        },
    )
    _save_tokenizer(folder, weights.vocabulary())
    _write(
        folder / "config_sentence_transformers.json",
        {"prompts": PROMPTS, "similarity_fn_name": "cosine"},
    )


def _tensors(weights: WeightsFile) -> dict[str, NDArray[np.float32]]:
    head = weights.header
    words = np.arange(head.vocabulary, dtype=np.int64)
    found = {
        "embeddings.word_embeddings.weight": weights.word_rows(words),
        "embeddings.position_embeddings.weight": weights.floats("emb.pos").reshape(-1, HIDDEN),
        "embeddings.token_type_embeddings.weight": weights.floats("emb.type").reshape(-1, HIDDEN),
        "embeddings.LayerNorm.weight": weights.floats("emb.ln.w"),
        "embeddings.LayerNorm.bias": weights.floats("emb.ln.b"),
    }
    for layer in range(LAYERS):
        place = f"encoder.layer.{layer}"
        for short, name in _LAYER.items():
            inputs = INNER if short == "fo" else HIDDEN
            found[f"{place}.{name}.weight"] = _matrix(weights, f"l{layer}.{short}.w", inputs)
            found[f"{place}.{name}.bias"] = weights.floats(f"l{layer}.{short}.b")
        for short, name in _NORMS.items():
            found[f"{place}.{name}.weight"] = weights.floats(f"l{layer}.{short}.w")
            found[f"{place}.{name}.bias"] = weights.floats(f"l{layer}.{short}.b")
    return {name: np.ascontiguousarray(values) for name, values in found.items()}


def _matrix(weights: WeightsFile, name: str, inputs: int) -> NDArray[np.float32]:
    values, scales = weights.quantised(name, inputs)
    rows = values.reshape(len(values), inputs // BLOCK, BLOCK).astype(np.float32) - 8
    return np.asarray((rows * scales[..., None]).reshape(len(values), inputs), np.float32)


def _save_tokenizer(folder: Path, vocabulary: Vocabulary) -> None:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from tokenizers import processors as post

    pieces = list(zip(vocabulary.pieces, vocabulary.scores, strict=True))
    made: Any = Tokenizer(models.Unigram(pieces, unk_id=vocabulary.unknown, byte_fallback=False))
    dropped = [code for code, said in vocabulary.replacements.items() if not said]
    spaces = [
        code
        for code, said in vocabulary.replacements.items()
        if said == " " and unicodedata.normalize("NFKC", chr(code)) != " "
    ]
    made.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(_class_of(dropped)), ""),
            normalizers.Replace(Regex(_class_of(spaces)), " "),
            normalizers.Replace("～", _PLACEHOLDER),
            normalizers.NFKC(),
            normalizers.Replace(_PLACEHOLDER, "～"),
            normalizers.Replace(Regex(" {2,}"), " "),
            normalizers.Strip(),
        ]
    )
    metaspace: dict[str, Any] = {"replacement": "▁", "prepend_scheme": "always", "split": False}
    made.pre_tokenizer = pre_tokenizers.Metaspace(**metaspace)
    made.decoder = decoders.Metaspace(**metaspace)
    ends = [("<s>", vocabulary.bos), ("</s>", vocabulary.eos)]
    made.post_processor = post.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=ends
    )
    made.save(str(folder / "tokenizer.json"))
    special = {"bos": "<s>", "eos": "</s>", "cls": "<s>", "sep": "</s>", "unk": "<unk>"}
    _write(
        folder / "tokenizer_config.json",
        {f"{name}_token": token for name, token in special.items()}
        | {"pad_token": "<pad>", "mask_token": "<mask>", "model_max_length": MAX_TOKENS}
        | {"tokenizer_class": "PreTrainedTokenizerFast"},
    )


def _class_of(codes: Iterable[int]) -> str:
    return "[" + "".join(f"\\x{{{code:x}}}" for code in sorted(codes)) + "]"


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
