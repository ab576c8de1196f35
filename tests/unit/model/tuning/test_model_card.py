"""What a model card says, and what makes a tuning go on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kfbot.model.tuning.asking import Tuning, TuningError, failures_as_lines
from kfbot.model.tuning.base_model import fingerprint, licence_of
from kfbot.model.tuning.loss_plot import draw_losses
from kfbot.model.tuning.model_card import model_card
from kfbot.model.tuning.progress import forget_after, read_losses
from kfbot.model.tuning.record import asked, check_folder, hash_of_data, write_record

RECORD: dict[str, Any] = {
    "kind": "adapter", "base": "/models/Small-1B", "base_sha256": "ab" * 32, "licence": "mit",
    "method": "lora", "objective": "sft", "data_sha256": "cd" * 32,
    "examples": {"train": 90, "validation": 5, "test": 5},
    "choices": {"learning_rate": 2e-4, "rank": 8}, "asked": {"seed": 3}, "device": "cpu",
    "versions": {"trl": "1.16.0"}, "finished": True, "verdict": "not worse",
    "steps_done": 40, "best_step": 36, "after": {"all": {"right_refusals": 1.0}},
}  # fmt: skip
ROWS = [["all (5)", "right refusals", "40.0 %", "80.0 %"]]


def test_the_card_says_what_the_model_was_made_of() -> None:
    card = model_card(RECORD, worse=[], rows=ROWS, plotted=True)
    for said in ("license: mit", "/models/Small-1B", "cd" * 32, "| examples, train | 90 |",
                 "| steps done | 40 |", "40.0 % | 80.0 %", "loss.png"):  # fmt: skip
        assert said in card
    assert "NOT FIT" not in card


def test_a_card_of_a_worse_model_says_so_before_everything_else() -> None:
    worse = {**RECORD, "verdict": "worse"}
    card = model_card(worse, worse=["refusals: 9 before, 2 after"], rows=ROWS, plotted=False)
    assert card.index("NOT FIT") < card.index("refusals: 9 before, 2 after") < card.index("Made of")


def test_a_model_that_never_refused_is_not_praised_for_staying_so() -> None:
    never = {**RECORD, "after": {"all": {"right_refusals": 0.1}}}
    assert "refuses only 10 %" in model_card(never, worse=[], rows=ROWS, plotted=False)


def test_the_licence_is_read_from_the_card_of_the_base_or_its_licence_file(tmp_path: Path) -> None:
    assert licence_of(str(tmp_path)) == ""
    (tmp_path / "LICENSE").write_text("\nApache License\nVersion 2.0\n")
    assert licence_of(str(tmp_path)) == "Apache License (LICENSE)"
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\nlicense: none of this\n")
    assert licence_of(str(tmp_path)) == "mit"


def test_models_of_one_shape_and_other_weights_have_other_fingerprints(tmp_path: Path) -> None:
    for name, byte in (("a", b"\1"), ("b", b"\2"), ("c", b"\1")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"head" + byte * 300_000)
    a, b, c = (fingerprint(str(tmp_path / name)) for name in "abc")
    assert a == c != b


@pytest.fixture
def begun(tmp_path: Path) -> Tuning:
    """A tuning that was stopped, to be resumed."""
    tuning = Tuning(data=tmp_path / "data", base="base", out=tmp_path / "out", resume=True)
    tuning.out.mkdir()
    record = {**RECORD, "finished": False, "asked": asked(tuning), "base_sha256": "base"}
    write_record(tuning.out, record)
    return tuning


def test_a_tuning_goes_on_with_what_it_was_begun_with(begun: Tuning) -> None:
    record = check_folder(begun, "base", "cd" * 32)
    assert record is not None
    assert record["choices"] == RECORD["choices"]


def test_a_tuning_does_not_go_on_with_anything_else(begun: Tuning) -> None:
    data = "cd" * 32
    for changed, base, examples, said in (
        (begun, "other", data, "another base, /models/Small-1B"),
        (begun, "base", "other", "have changed"),
        (replace(begun, rank=4), "base", data, "rank was None, not 4"),
        (replace(begun, method="full"), "base", data, "method was lora, not full"),
        (replace(begun, resume=False), "base", data, "is not empty"),
        (replace(begun, out=begun.out / "none"), "base", data, "holds no tuning"),
    ):
        with pytest.raises(TuningError, match=said):
            check_folder(changed, base, examples)


def test_a_finished_tuning_does_not_go_on(begun: Tuning) -> None:
    write_record(begun.out, {**RECORD, "base_sha256": "base"})
    with pytest.raises(TuningError, match="is finished"):
        check_folder(begun, "base", "cd" * 32)


def test_the_hash_of_the_data_changes_with_any_example(tmp_path: Path) -> None:
    with pytest.raises(TuningError, match="holds no examples"):
        hash_of_data(tmp_path)
    (tmp_path / "train.jsonl").write_text("{}\n")
    first = hash_of_data(tmp_path)
    (tmp_path / "test.jsonl").write_text("{}\n")
    assert hash_of_data(tmp_path) != first


def test_losses_after_the_checkpoint_are_forgotten_and_a_cut_line_too(tmp_path: Path) -> None:
    lines = [json.dumps({"step": step, "loss": 1.0 / step}) for step in (1, 2, 3, 4)]
    (tmp_path / "loss.jsonl").write_text("\n".join(lines) + '\n{"step": 5, "lo')
    assert [look["step"] for look in read_losses(tmp_path)] == [1, 2, 3, 4]
    forget_after(tmp_path, 2)
    assert [look["step"] for look in read_losses(tmp_path)] == [1, 2]


def test_losses_are_drawn(tmp_path: Path) -> None:
    looks = [{"step": 1, "loss": 2.0}, {"step": 1, "validation_loss": 2.2}]
    assert draw_losses(looks, tmp_path / "loss.png", title="tuned")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert not draw_losses([], tmp_path / "none.png", title="tuned")
    assert not (tmp_path / "none.png").exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "--method qlora"),
        (MemoryError(), "smaller --batch or --length"),
        (OSError(28, "No space left on device"), "is full: make room, then --resume"),
        (RuntimeError("PytorchStreamWriter failed writing file data/1"), "is full"),
        (KeyboardInterrupt(), "--resume goes on"),
    ],
)
def test_failures_of_the_machine_are_one_line_that_names_what_is_kept(
    tmp_path: Path, error: BaseException, said: str
) -> None:
    for step in (9, 10, 11):
        (tmp_path / "checkpoints" / f"checkpoint-{step}").mkdir(parents=True)
    for step in (9, 10):
        (tmp_path / "checkpoints" / f"checkpoint-{step}" / "trainer_state.json").touch()
    with pytest.raises(TuningError) as told, failures_as_lines(tmp_path):
        raise error
    assert said in str(told.value)
    assert str(told.value).endswith("checkpoint-10)")
    assert "\n" not in str(told.value)


def test_a_fault_of_ours_is_not_taken_for_one_of_the_machine(tmp_path: Path) -> None:
    with pytest.raises(KeyError), failures_as_lines(tmp_path):
        raise KeyError("ours")
