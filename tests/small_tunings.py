"""Tunings of a tiny model in a moment: examples that tell three answers, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfbot.grounding.prompting import NO_ANSWER
from kfbot.model.tuning.asking import Tuning
from kfbot.model.tuning.examples import Message
from kfbot.model.tuning.progress import Look, read_losses
from kfbot.model.tuning.training import Tuned, tune

ANSWERS = ("You have 30 days. [1]", "可以在三十天内退货。[1]", NO_ANSWER)


def messages(question: str, answer: str) -> list[Message]:
    asked = f"<passages>\n\n[1] Terms\nYou have 30 days.\n\n</passages>\n\n{question}"
    return [
        {"role": "system", "content": "Answer from the passages."},
        {"role": "user", "content": asked},
        {"role": "assistant", "content": answer},
    ]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")


def make_data(folder: Path) -> Path:
    folder.mkdir()
    asked = [f"How long, number {place}?" for place in range(12)]
    pairs = [(question, ANSWERS[place % 3]) for place, question in enumerate(asked)]
    chats = [{"messages": messages(*pair)} for pair in pairs]
    write(folder / "train.jsonl", chats)
    write(folder / "validation.jsonl", chats[:3])
    write(folder / "test.jsonl", chats[3:6])
    preferences = [
        {
            "prompt": messages(question, answer)[:-1],
            "chosen": messages(question, answer)[-1:],
            "rejected": messages(question, "It is blue, I think.")[-1:],
        }
        for question, answer in pairs
    ]
    write(folder / "preferences.train.jsonl", preferences)
    write(folder / "preferences.validation.jsonl", preferences[:3])
    return folder


@dataclass
class Ran:
    """What came of a tuning."""

    tuned: Tuned
    out: Path
    looks: list[Look] = field(default_factory=list)

    @property
    def losses(self) -> list[float]:
        return [look["loss"] for look in read_losses(self.out) if look["loss"] is not None]

    @property
    def validation(self) -> list[float]:
        found = [look.validation_loss for look in self.looks]
        return [loss for loss in found if loss is not None]

    @property
    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.out / "kfbot.json").read_text("utf-8"))
        return found


def run(data: Path, base: Path | str, **changes: Any) -> Ran:
    given = {"steps": 5, "batch": 2, "learning_rate": 0.05, "test_limit": 0, **changes}
    given.setdefault("out", data.parent / "out")
    tuning = Tuning(data=data, base=str(base), device="cpu", **given)
    looks: list[Look] = []
    tuned = tune(
        tuning, report=lambda text: None, on_look=looks.append, progress=lambda *told: None
    )
    return Ran(tuned, tuning.out, looks)
