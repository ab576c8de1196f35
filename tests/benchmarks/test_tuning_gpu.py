"""Tuning on a GPU: steps a second, tokens a second and peak memory, by method.

KFBOT_BENCH_MODEL names the model, SmolLM2-135M without it.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from kfbot.grounding.prompting import NO_ANSWER
from kfbot.model.tuning.asking import Tuning
from kfbot.model.tuning.progress import Look

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.skipif(
        not torch.cuda.is_available(),
        reason="NO GPU: tuning on one is not measured; see docs/tuning.md for the commands",
    ),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
STEPS, WARM = 40, 10


def examples(folder: Path) -> Path:
    """Examples of about 1,000 tokens each."""
    folder.mkdir()
    facts = "A kettle can be returned within 30 days, a lamp within 14, a tent within 90. " * 40
    rows = []
    for place in range(512):
        asked = f"<passages>\n\n[1] Terms\n{facts}\n\n</passages>\n\nHow long, number {place}?"
        answer = NO_ANSWER if place % 4 == 0 else "A kettle can be returned within 30 days. [1]"
        talk = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
        rows.append(json.dumps({"messages": talk}) + "\n")
    (folder / "train.jsonl").write_text("".join(rows), "utf-8")
    for name in ("validation", "test"):
        (folder / f"{name}.jsonl").touch()
    return folder


def measure(method: Any, data: Path, base: str) -> dict[str, float]:
    from kfbot.model.tuning.training import tune

    seen: list[tuple[float, Look]] = []
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    tuning = Tuning(
        data=data, base=base, out=data.parent / method, method=method, batch=8, steps=STEPS,
        device="cuda",
    )  # fmt: skip
    tune(
        tuning,
        report=print,
        on_look=lambda look: seen.append((time.monotonic(), look)),
        progress=lambda *told: None,
    )
    learned = [(at, look) for at, look in seen if look.loss is not None]
    # What comes first allocates and compiles; saving falls on the last step.
    seconds = learned[-2][0] - learned[WARM][0]
    steps = learned[-2][1].step - learned[WARM][1].step
    return {
        "steps/s": steps / seconds,
        "tokens/s": learned[-1][1].tokens_per_second,
        "GB": torch.cuda.max_memory_allocated() / 1e9,
    }


def test_methods_side_by_side_on_one_gpu(tmp_path: Path, measured: list[str]) -> None:
    from tests.small_model import smollm2

    base = os.environ.get("KFBOT_BENCH_MODEL") or str(smollm2())
    data = examples(tmp_path / "data")
    found = {method: measure(method, data, base) for method in ("lora", "qlora", "full")}
    measured.append(f"tuning {base}, bf16, {torch.cuda.get_device_name()}, batch 8:")
    for method, numbers in found.items():
        ratio = numbers["steps/s"] / found["lora"]["steps/s"]
        measured.append(
            f"  {method}: {numbers['steps/s']:.2f} steps/s ({ratio:.2f} × lora),"
            f" {numbers['tokens/s']:,.0f} tokens/s, peak {numbers['GB']:.1f} GB"
        )
    assert found["lora"]["GB"] < found["full"]["GB"]
