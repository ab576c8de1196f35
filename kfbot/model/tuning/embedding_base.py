"""An embedding model on torch, to be tuned: opened, asked, and saved as a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kfbot.extras import how_to_install
from kfbot.knowledge_models import export_bundled
from kfbot.model.tuning.examples import TuningDataError

if TYPE_CHECKING:
    import torch

BUNDLED = "bundled"
#: Where sentence-transformers keeps the words before a text.
PROMPTS = "config_sentence_transformers.json"
#: Questions and most passages have less; half of what the model reads, a quarter of the work.
_LEARNED_TOKENS = 256
_MEASURED_TOKENS = 512
_MEASURED_BATCH = 64


@dataclass(slots=True)
class Encoder:
    """A model that turns texts into vectors of length one: the mean of its last states."""

    model: Any
    tokenizer: Any
    device: str
    query_prefix: str
    passage_prefix: str

    def marked(self, kind: str, text: str) -> str:
        """A text with the word that the model wants before it; an FAQ's are questions."""
        return (self.query_prefix if kind == "faq" else self.passage_prefix) + text

    def learned(self) -> dict[str, torch.nn.Parameter]:
        """The weights that change: all but the vectors of words.

        Words that the pairs lack would stay where they are while the others move.
        """
        words = self.model.get_input_embeddings().weight
        words.requires_grad_(False)
        named: dict[str, torch.nn.Parameter] = dict(self.model.named_parameters())
        return {name: value for name, value in named.items() if value is not words}

    def embed(self, texts: Sequence[str], max_tokens: int = _LEARNED_TOKENS) -> torch.Tensor:
        """The vectors of marked texts, (texts, dimensions)."""
        import torch

        inputs = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=max_tokens, return_tensors="pt"
        ).to(self.device)
        states = self.model(**inputs).last_hidden_state.float()
        mask = inputs["attention_mask"].unsqueeze(-1).float()
        means = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        return torch.nn.functional.normalize(means, dim=1)

    def vectors(self, texts: Sequence[str], tell: Callable[[int], None]) -> NDArray[np.float32]:
        """The vectors of marked texts, as customers' questions are embedded; tells how many."""
        import torch

        self.model.eval()
        found = np.empty((len(texts), int(self.model.config.hidden_size)), np.float32)
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        for start in range(0, len(order), _MEASURED_BATCH):
            chosen = order[start : start + _MEASURED_BATCH]
            with torch.inference_mode():
                some = self.embed([texts[place] for place in chosen], _MEASURED_TOKENS)
            found[chosen] = some.cpu().numpy()
            tell(min(start + _MEASURED_BATCH, len(order)))
        return found

    def save(self, folder: Path) -> None:
        """Write a folder that transformers, sentence-transformers and kfbot open."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        prompts = {
            "query": self.query_prefix,
            "passage": self.passage_prefix,
            "document": self.passage_prefix,
        }
        said = {"prompts": prompts, "similarity_fn_name": "cosine"}
        (folder / PROMPTS).write_text(json.dumps(said, indent=1) + "\n", "utf-8")
        _write_modules(folder, int(self.model.config.hidden_size))


def open_encoder(base: str, exported: Path, device: str) -> Encoder:
    """Open a model to be tuned.

    Args:
        base: "bundled", or a folder.
        exported: Where the bundled model is written to, if it is not there yet.
        device: "auto", "cpu" or "cuda".

    Raises:
        TuningDataError: torch is missing, there is no such device, or no such model.
        KnowledgeBaseUnavailable: The bundled model is missing or damaged.
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        raise TuningDataError(f"tuning needs torch: {how_to_install('tune')}") from error
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise TuningDataError("--device cuda: torch finds no GPU here; use --device cpu")
    chosen = "cuda" if has_gpu and device != "cpu" else "cpu"
    folder = Path(base)
    if base == BUNDLED:
        folder = exported
        if not (folder / PROMPTS).exists():
            export_bundled(folder)
    elif not folder.is_dir():
        raise TuningDataError(f"--base {base}: is no folder; give one, or bundled")
    query, passage = prefixes_of(folder, base)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model: Any = transformers.AutoModel.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError) as error:
        raise TuningDataError(
            f"--base {base}: holds no embedding model that transformers opens"
            f" ({type(error).__name__})"
        ) from error
    if hasattr(model, "pooler"):
        # The mean is taken here: what it computes is used by nobody.
        model.pooler = None
    return Encoder(model.to(chosen).eval(), tokenizer, chosen, query, passage)


def prefixes_of(folder: Path, name: str) -> tuple[str, str]:
    """The words before a question and before a passage: as its folder says, or as e5 has them."""
    try:
        prompts = json.loads((folder / PROMPTS).read_text("utf-8"))["prompts"]
        return str(prompts["query"]), str(prompts.get("passage", prompts.get("document", "")))
    except (OSError, ValueError, KeyError, TypeError):
        is_e5 = name == BUNDLED or "e5" in name.lower()
        return ("query: ", "passage: ") if is_e5 else ("", "")


def _write_modules(folder: Path, dimensions: int) -> None:
    """What sentence-transformers does after the encoder."""
    parts = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{part}"}
        for at, (part, path) in enumerate(parts.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules, indent=1) + "\n", "utf-8")
    (folder / "1_Pooling").mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": dimensions, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling) + "\n", "utf-8")
