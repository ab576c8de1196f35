"""Tunes an embedding model on an operator's question pairs, and shows what that gained."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kfbot.model.tuning.embedding_base import Encoder, open_encoder
from kfbot.model.tuning.examples import Pair, TuningDataError, read_pairs
from kfbot.model.tuning.loss_plot import draw_losses
from kfbot.model.tuning.retrieval_measures import Gain, Task, gains_of, ranks_of, task_of
from kfbot.model.tuning.splitting import fraction_of

if TYPE_CHECKING:
    import torch

REPORT = "report.json"
#: What a run that was broken off goes on from.
_WORK = ".tuning"
_SAVE_EVERY = 200
_WARMUP = 0.1
#: (stage, done, total)
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How an embedding model is tuned."""

    epochs: int = 3
    #: Pairs of a step; the positives of the others are the negatives of each.
    batch: int = 32
    learning_rate: float = 2e-5
    #: That of E5: L. Wang et al., "Text Embeddings by Weakly-Supervised Contrastive
    #: Pre-training", 2022, arXiv:2212.03533.
    temperature: float = 0.01
    device: str = "auto"
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedEmbedding:
    """What came of a tuning."""

    folder: Path
    #: False: it finds worse than before; the folder holds the report alone.
    usable: bool
    #: "hit@1", "hit@5" and "mrr" on the held-out pairs.
    gains: dict[str, Gain]
    held_out: int
    candidates: int
    pairs: int
    losses: tuple[float, ...]


def tune_embedding(
    data: Path, out: Path, base: str, recipe: Recipe, progress: Progress
) -> TunedEmbedding:
    """Tune a model and write it as a folder that `[embedding] model` takes.

    The same call goes on where one was broken off, and ends as if it had not been.

    Args:
        data: A folder with pairs.train.jsonl and pairs.test.jsonl.
        base: "bundled", or a folder.

    Raises:
        TuningDataError: The data, the folder, the base or the device cannot be used.
        KnowledgeBaseUnavailable: The bundled model is missing or damaged.
    """
    train, test = read_pairs(data / "pairs.train.jsonl"), read_pairs(data / "pairs.test.jsonl")
    task = task_of(test, train)
    _check(data, out, train, task)
    work = out / _WORK
    identity = _identity(train, test, base, recipe)
    _claim(work, identity)
    progress("Opening the model", 0, 1)
    encoder = open_encoder(base, work / "base", recipe.device)
    before = _before(work, encoder, task, progress)
    losses = _learn(encoder, train, recipe, work, progress)
    after = _ranks(encoder, task, progress, "Measuring after")
    gains = dict(gains_of(before, after, seed=recipe.seed))
    result = TunedEmbedding(
        folder=out,
        usable=gains["mrr"].after >= gains["mrr"].before,
        gains=gains,
        held_out=len(task.queries),
        candidates=len(task.candidates),
        pairs=len(train),
        losses=tuple(losses),
    )
    _write(result, encoder, recipe, base)
    shutil.rmtree(work)
    return result


def _check(data: Path, out: Path, train: Sequence[Pair], task: Task) -> None:
    if len(train) < 2:
        raise TuningDataError(
            f"{data}/pairs.train.jsonl: {len(train)} pairs are too few: add variants to FAQ"
            " entries, or have a chat model ask (kfbot model data build --teacher)"
        )
    if not task.queries:
        raise TuningDataError(
            f"{data}/pairs.test.jsonl: no held-out pairs, and so no gain to be shown"
        )
    if out.is_dir() and any(one.name != _WORK for one in out.iterdir()):
        raise TuningDataError(f"{out} is not empty: name a new folder with --out")


def _identity(train: Sequence[Pair], test: Sequence[Pair], base: str, recipe: Recipe) -> str:
    rows = [[asdict(pair) for pair in pairs] for pairs in (train, test)]
    said = json.dumps([rows, base, asdict(recipe)], ensure_ascii=False)
    return sha256(said.encode("utf-8", "replace")).hexdigest()


def _claim(work: Path, identity: str) -> None:
    """Take a folder for a run, or go on with the same run in it."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        mark = work / "run.txt"
        if mark.exists() and mark.read_text("utf-8") != identity:
            raise TuningDataError(
                f"{work.parent} holds a run on other data or with other options that was broken"
                f" off: remove {work}, or name a new folder with --out"
            )
        mark.write_text(identity, "utf-8")
    except OSError as error:
        raise TuningDataError(f"{work.parent} cannot be written: {error.strerror}") from error


def _before(work: Path, encoder: Encoder, task: Task, progress: Progress) -> NDArray[np.int64]:
    """The ranks that the base gives, from an earlier part of this run if there was one."""
    kept = work / "before.json"
    if not kept.exists():
        ranks = _ranks(encoder, task, progress, "Measuring before")
        _replace(kept, lambda path: path.write_text(json.dumps(ranks.tolist()), "utf-8"))
    return np.array(json.loads(kept.read_text("utf-8")), np.int64)


def _ranks(encoder: Encoder, task: Task, progress: Progress, stage: str) -> NDArray[np.int64]:
    texts: list[tuple[str, str]] = [("faq", query) for query in task.queries] + list(
        task.candidates
    )
    vectors = encoder.vectors(
        [encoder.marked(kind, text) for kind, text in texts],
        lambda done: progress(stage, done, len(texts)),
    )
    count = len(task.queries)
    return ranks_of(task, vectors[:count], vectors[count:])


def _learn(
    encoder: Encoder, train: Sequence[Pair], recipe: Recipe, work: Path, progress: Progress
) -> list[float]:
    """Take every step, from the last that was kept on; returns the loss of each."""
    import torch

    learned = encoder.learned()
    optimizer = torch.optim.AdamW(learned.values(), lr=recipe.learning_rate, weight_decay=0.01)
    per_epoch = math.ceil(len(train) / recipe.batch)
    total = per_epoch * recipe.epochs
    losses = _resume(work / "state.pt", learned, optimizer)
    encoder.model.train()
    for step in range(len(losses), total):
        epoch, place = divmod(step, per_epoch)
        # By step, so that a run that was broken off ends as one that was not.
        torch.manual_seed(recipe.seed * 1_000_003 + step)
        order = _order(train, recipe.seed + epoch)
        chosen = order[place * recipe.batch : (place + 1) * recipe.batch]
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _rate(step, total)
        losses.append(_step(encoder, chosen, recipe, optimizer))
        progress("Learning", step + 1, total)
        if (step + 1) % _SAVE_EVERY == 0 or (place + 1 == per_epoch and step + 1 < total):
            _keep(work / "state.pt", learned, optimizer, losses)
    encoder.model.eval()
    return losses


def _order(train: Sequence[Pair], seed: int) -> list[Pair]:
    return sorted(train, key=lambda pair: fraction_of(f"{pair.query}\0{pair.positive}", seed))


def _rate(step: int, total: int) -> float:
    """Up for the first tenth of the steps, then down in a line."""
    warm = max(1, round(_WARMUP * total))
    return (step + 1) / warm if step < warm else (total - step) / max(1, total - warm)


def _step(
    encoder: Encoder, pairs: Sequence[Pair], recipe: Recipe, optimizer: torch.optim.Optimizer
) -> float:
    import torch

    queries = [encoder.marked("faq", pair.query) for pair in pairs]
    texts, right, wrong = candidates_of(pairs)
    on_gpu = encoder.device == "cuda"
    half = torch.autocast("cuda", dtype=torch.bfloat16) if on_gpu else nullcontext()
    try:
        with half:
            asked = encoder.embed(queries)
            found = encoder.embed([encoder.marked(kind, text) for kind, text in texts])
        loss = contrast(
            asked,
            found,
            torch.tensor(right, device=encoder.device),
            torch.from_numpy(wrong).to(encoder.device),
            recipe.temperature,
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(list(encoder.learned().values()), 1.0)
        optimizer.step()
    except torch.OutOfMemoryError as error:
        raise TuningDataError(
            f"the GPU has too little memory for {len(pairs)} pairs a step: a smaller --batch"
        ) from error
    return float(loss.detach())


def candidates_of(
    pairs: Sequence[Pair],
) -> tuple[list[tuple[str, str]], list[int], NDArray[np.bool_]]:
    """What the queries of a step are compared with.

    Returns:
        Kinds and texts, each once; for each query which one is right; and (queries, texts) True
        where one may count as wrong: another document's, and not the query itself.
    """
    documents: dict[tuple[str, str], set[str]] = {}
    for pair in pairs:
        name = pair.document or pair.positive
        documents.setdefault((pair.kind, pair.positive), set()).add(name)
    for pair in pairs:
        for negative in pair.negatives:
            documents.setdefault((pair.kind, negative), set())
    texts = list(documents)
    places = {text: place for place, text in enumerate(texts)}
    right = [places[pair.kind, pair.positive] for pair in pairs]
    wrong = np.ones((len(pairs), len(texts)), np.bool_)
    for row, pair in enumerate(pairs):
        name = pair.document or pair.positive
        for column, text in enumerate(texts):
            wrong[row, column] = name not in documents[text] and text[1] != pair.query
    return texts, right, wrong


def contrast(
    queries: torch.Tensor,
    texts: torch.Tensor,
    right: torch.Tensor,
    wrong: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """InfoNCE: A. van den Oord et al., 2018, arXiv:1807.03748; rows of length one.

    Args:
        right: (queries,) the place of the right text of each.
        wrong: (queries, texts) True where a text is a negative.
    """
    import torch

    scores = (queries.float() @ texts.float().T) / temperature
    is_right = torch.nn.functional.one_hot(right, texts.shape[0]).bool()
    scores = scores.masked_fill(~(wrong | is_right), float("-inf"))
    return torch.nn.functional.cross_entropy(scores, right)


def _keep(
    path: Path,
    learned: dict[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    losses: list[float],
) -> None:
    import torch

    state = {
        "weights": {name: value.detach().cpu() for name, value in learned.items()},
        "optimizer": optimizer.state_dict(),
        "losses": losses,
    }
    _replace(path, lambda made: torch.save(state, made))


def _resume(
    path: Path, learned: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> list[float]:
    import torch

    if not path.exists():
        return []
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    with torch.no_grad():
        for name, value in learned.items():
            value.copy_(state["weights"][name])
    optimizer.load_state_dict(state["optimizer"])
    return list(state["losses"])


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file as a whole, or not at all."""
    made = path.with_suffix(".part")
    write(made)
    made.replace(path)


def _write(result: TunedEmbedding, encoder: Encoder, recipe: Recipe, base: str) -> None:
    """The report and the picture; the model only where it finds no worse."""
    out = result.folder
    if result.usable:
        encoder.save(out)
    looks = [{"step": step, "loss": loss} for step, loss in enumerate(result.losses, start=1)]
    draw_losses(looks, out / "loss.png", title="Embedding model")
    report = {
        "usable": result.usable,
        "base": base,
        "recipe": asdict(recipe),
        "pairs": result.pairs,
        "held_out": result.held_out,
        "candidates": result.candidates,
        "gains": {name: asdict(gain) for name, gain in result.gains.items()},
        "losses": [round(loss, 5) for loss in result.losses],
    }
    (out / REPORT).write_text(json.dumps(report, indent=1) + "\n", "utf-8")
