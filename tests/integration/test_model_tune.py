"""`kfbot model tune`, with a tiny random Llama: it learns, resumes, and says what is wrong."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kfbot.cli import run as run_command
from kfbot.errors import KfbotError
from kfbot.grounding.prompting import NO_ANSWER
from kfbot.model.tuning.asking import Tuning, TuningError
from kfbot.model.tuning.held_out import Answered
from kfbot.model.tuning.progress import read_losses
from tests.small_model import smollm2, tiny_llama

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from kfbot.model.tuning.base_model import load_tokenizer  # noqa: E402
from kfbot.model.tuning.chat_tokens import example_tokens, prompt_tokens  # noqa: E402
from kfbot.model.tuning.examples import Message  # noqa: E402
from kfbot.model.tuning.training import tune  # noqa: E402
from tests.small_tunings import ANSWERS, Ran, make_data, messages, run, write  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    # transformers asks a model by a name that it has given up itself.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:builtin type Swig:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tiny_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that knows a few hundred tokens: where nobody looks at what it learns."""
    said = [one["content"] for answer in ANSWERS for one in messages("How long?", answer)]
    return tiny_llama(tmp_path_factory.mktemp("models") / "fast", words=said)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Questions with three answers that are always the same."""
    return make_data(tmp_path / "data")


def logits(folder: Path, base: Path | None = None) -> Any:
    """What a model, or an adapter over its base, says next."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(base or folder)
    if base is not None:
        model = PeftModel.from_pretrained(model, str(folder))
    ids = prompt_tokens(load_tokenizer(str(base or folder)), messages("How long?", "x")[:-1])
    with torch.inference_mode():
        return model.eval()(input_ids=torch.tensor([ids])).logits[0, -1]


@pytest.fixture(scope="module")
def lora(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A tuning with held-out examples answered before and after."""
    data = make_data(tmp_path_factory.mktemp("lora") / "data")
    return run(data, base, steps=3, test_limit=3)


@pytest.mark.parametrize("method", ["lora", "dora", "ia3"])
def test_an_adapter_lowers_the_loss_and_changes_what_the_model_says(
    method: str, data: Path, base: Path, lora: Ran
) -> None:
    # IA3 only scales what is there, which in a random model is little.
    rate = 1.0 if method == "ia3" else 0.05
    shared = method == "lora"
    ran = lora if shared else run(data, base, method=method, learning_rate=rate, steps=3)
    assert ran.validation[-1] < ran.validation[0]
    assert ran.tuned.steps == 3
    assert not torch.allclose(logits(ran.out, base), logits(base), atol=1e-4)
    assert ran.record["kind"] == "adapter"


def test_an_adapter_over_four_bits_learns_too(data: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig, LlamaForCausalLM

    # On a CPU bitsandbytes wants layers of at least 32.
    wide = tiny_llama(tmp_path / "wide")
    torch.manual_seed(0)
    config: Any = AutoConfig.from_pretrained(wide)
    config.update({"hidden_size": 64, "intermediate_size": 64, "head_dim": 32})
    LlamaForCausalLM(config).save_pretrained(wide)
    ran = run(data, wide, method="qlora")
    assert ran.validation[-1] < ran.validation[0]


def test_narrow_layers_are_tuned_in_four_bits_or_refused_in_one_line(
    data: Path, base: Path
) -> None:
    # Which of them, is up to the processor: with AVX-512 bitsandbytes wants wider layers.
    refused, learnt = "", False
    try:
        ran = run(data, base, method="qlora")
        learnt = ran.validation[-1] < ran.validation[0]
    except TuningError as error:
        refused = str(error)
    assert learnt or "--method qlora: bitsandbytes cannot work with layers" in refused


def test_full_tuning_gives_a_model_that_loads_by_itself(data: Path, base: Path) -> None:
    ran = run(data, base, method="full", learning_rate=0.02)
    assert ran.validation[-1] < ran.validation[0] - 0.5
    assert not torch.allclose(logits(ran.out), logits(base), atol=1e-3)
    assert ran.record["kind"] == "model"


@pytest.mark.parametrize("objective", ["dpo", "ipo"])
def test_preferences_bring_the_better_answer_ahead(objective: str, data: Path, base: Path) -> None:
    ran = run(data, base, objective=objective, steps=3)
    margins = [look.margin for look in ran.looks if look.margin is not None]
    assert margins[0] == pytest.approx(0, abs=0.05)
    assert margins[-1] > margins[0] + 0.05
    assert ran.validation[-1] < ran.validation[0]


def test_only_the_answer_and_its_end_are_learned(base: Path) -> None:
    tokenizer = load_tokenizer(str(base))
    assert "generation %}" not in tokenizer.chat_template
    spoken = messages("How long?", "You have 30 days. [1]")
    earlier = [*spoken[:2], {"role": "assistant", "content": "Which one?"}, *spoken[1:]]
    for talk in (spoken, earlier):
        ids, labels = example_tokens(tokenizer, talk)
        learned = [label for label in labels if label != -100]
        assert tokenizer.decode(learned) == "You have 30 days. [1]<|im_end|>"
        assert ids[-len(learned) :] == learned
        assert ids[: -len(learned)] == prompt_tokens(tokenizer, talk[:-1])


def test_what_the_trainer_learns_from_has_no_token_of_a_prompt(
    data: Path, fast: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kfbot.model.tuning import training

    built: list[Any] = []
    build = training.build_trainer

    def kept(*given: Any, **more: Any) -> Any:
        built.append(build(*given, **more))
        return built[-1]

    monkeypatch.setattr(training, "build_trainer", kept)
    run(data, fast, steps=1)
    (batch,) = [next(iter(built[0].get_train_dataloader()))]
    tokenizer = load_tokenizer(str(fast))
    for labels in batch["labels"]:
        said = tokenizer.decode(labels[labels != -100])
        assert said in {f"{answer}<|im_end|>" for answer in ANSWERS}


def test_a_killed_tuning_goes_on_and_takes_as_many_steps(data: Path, fast: Path) -> None:
    out = data.parent / "out"
    given = f"--base {fast} --out {out} --steps 5 --batch 2 --test-limit 0 --device cpu"
    with subprocess.Popen(
        [sys.executable, "-m", "kfbot", "model", "tune", str(data), *given.split()],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stderr is not None
        # A line about step 3 comes after the checkpoint of step 2.
        said = next(line for line in process.stderr if line.startswith("step 3 of 5"))
        process.send_signal(signal.SIGKILL)
    assert said
    with pytest.raises(TuningError, match="steps was 5, not 14: go on with the same"):
        run(data, fast, steps=14, learning_rate=None, resume=True)
    ran = run(data, fast, steps=5, learning_rate=None, resume=True)
    assert ran.tuned.steps == 5
    assert ran.looks[0].step > 2
    steps = [look["step"] for look in read_losses(ran.out) if look["loss"] is not None]
    assert steps == list(range(1, 6))
    assert not (ran.out / "checkpoints").exists()


def test_the_folder_has_all_that_tells_what_the_model_is(lora: Ran, base: Path) -> None:
    ran = lora
    assert ran.record["verdict"] == "not worse"
    assert ran.record["data_sha256"] in (ran.out / "README.md").read_text("utf-8")
    assert (ran.out / "loss.png").read_bytes().startswith(b"\x89PNG")
    for when in ("before", "after"):
        assert len((ran.out / f"answers.{when}.jsonl").read_text("utf-8").splitlines()) == 3
    assert ran.tuned.rows
    assert load_tokenizer(str(ran.out)).chat_template == load_tokenizer(str(base)).chat_template


def test_learning_stops_where_validation_gets_no_better_and_the_best_is_kept(
    data: Path, base: Path
) -> None:
    # Validation wants the opposite of what is learned.
    other = [{"messages": messages("How long, number 1?", "zebra zebra zebra")}]
    write(data / "validation.jsonl", other)
    rows = [{"messages": messages(f"How long, number {n}?", NO_ANSWER)} for n in range(12)]
    write(data / "train.jsonl", rows)
    ran = run(data, base, method="full", steps=20, learning_rate=0.05)
    assert ran.tuned.steps < 20
    assert ran.record["best_step"] < ran.tuned.steps
    looks = read_losses(ran.out)
    seen = {
        look["step"]: look["validation_loss"]
        for look in looks
        if look["validation_loss"] is not None
    }
    assert seen[ran.record["best_step"]] == min(seen.values())
    assert mean_loss(ran.out, other[0]["messages"]) == pytest.approx(min(seen.values()), rel=0.02)


def mean_loss(folder: Path, talk: list[Message]) -> float:
    from transformers import AutoModelForCausalLM

    ids, labels = example_tokens(load_tokenizer(str(folder)), talk)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    with torch.inference_mode():
        found = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels]))
    return float(found.loss)


def test_a_model_that_got_worse_is_kept_marked_and_fails_the_command(
    data: Path, fast: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from kfbot.model.tuning import held_out

    refusal = Answered(
        text=NO_ANSWER, language="en", answerable=False, refused=True, supported=None, f1=0.0
    )
    invention = Answered(
        text="Blue.", language="en", answerable=False, refused=False, supported=False, f1=0.0
    )
    rounds = iter([[refusal] * 5, [invention] * 5])
    monkeypatch.setattr(held_out, "answer_all", lambda *given, **more: next(rounds))
    chats = [{"messages": messages(f"Which colour, number {n}?", NO_ANSWER)} for n in range(5)]
    write(data / "test.jsonl", chats)
    out = data.parent / "out"
    status = run_command(
        ["model", "tune", str(data), "--base", str(fast), "--out", str(out), "--steps", "1"]
    )
    assert status == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("kfbot: NOT FIT: ")
    assert "0 before, 5 after" in said[-1]
    assert "NOT FIT" in (out / "README.md").read_text("utf-8")
    assert (out / "adapter_model.safetensors").is_file()
    assert json.loads((out / "kfbot.json").read_text("utf-8"))["verdict"] == "worse"


def adapter_of(tmp_path: Path) -> str:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "Small-1B"}')
    return str(folder)


def without(base: Path, tmp_path: Path, name: str) -> str:
    folder = tmp_path / f"no-{name}"
    shutil.copytree(base, folder, ignore=shutil.ignore_patterns(name))
    return str(folder)


def test_a_base_that_cannot_be_tuned_is_one_line_each(
    data: Path, base: Path, tmp_path: Path
) -> None:
    for wrong, said in (
        ("./nowhere", r"nowhere does not exist"),
        (str(data), r"is no model folder"),
        (adapter_of(tmp_path), r"is an adapter, not a model: its own base is Small-1B"),
        (without(base, tmp_path, "chat_template.jinja"), r"has no chat template"),
        (without(base, tmp_path, "model.safetensors"), r"is no model folder"),
    ):
        with pytest.raises(KfbotError, match=said) as told:
            run(data, wrong)
        assert "\n" not in str(told.value)
    assert not (data.parent / "out").exists()


def test_a_gpu_that_is_not_there_is_one_line(data: Path, base: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    tuning = Tuning(data=data, base=str(base), out=data.parent / "out", device="cuda")
    with pytest.raises(TuningError, match="no GPU can be used here"):
        tune(tuning, report=print, on_look=print, progress=lambda *told: None)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("train.jsonl", "", r"train\.jsonl holds no examples"),
        ("train.jsonl", '{"messages": []}\n', r"train\.jsonl:1: "),
        ("train.jsonl", "{}\n{", r"train\.jsonl:1: "),
        ("validation.jsonl", "\n\nno json\n", r"validation\.jsonl:3: "),
        ("test.jsonl", '{"messages": [{"role": "robot"}]}', r"test\.jsonl:1: "),
    ],
)
def test_examples_that_cannot_be_used_are_named_by_file_and_line(
    data: Path, base: Path, name: str, text: str, said: str
) -> None:
    (data / name).write_text(text)
    with pytest.raises(KfbotError, match=said):
        run(data, base)


def test_data_without_a_refusal_is_refused_unless_that_is_wanted(data: Path, fast: Path) -> None:
    write(data / "train.jsonl", [{"messages": messages("How long?", ANSWERS[0])}] * 4)
    with pytest.raises(TuningError, match="no example whose right answer is NO_ANSWER"):
        run(data, fast)
    assert run(data, fast, steps=1, refusals=False).tuned.steps == 1


def test_an_example_that_is_too_long_is_left_out_and_never_cut(data: Path, fast: Path) -> None:
    rows = [json.loads(line) for line in (data / "train.jsonl").read_text("utf-8").splitlines()]
    long = {"messages": messages("How long? " * 200, ANSWERS[0])}
    write(data / "train.jsonl", [*rows, long])
    assert run(data, fast, steps=1, length=120).record["examples"]["train"] == 12
    with pytest.raises(TuningError, match="every example has more than 16 tokens"):
        run(data, fast, out=data.parent / "other", length=16)


def test_memory_and_disk_that_run_out_are_one_line_and_the_checkpoint_is_kept(
    data: Path, fast: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl.trainer.sft_trainer import SFTTrainer

    step, taken = SFTTrainer.training_step, [0]

    def fails(self: Any, *given: Any, **more: Any) -> Any:
        taken[0] += 1
        if taken[0] == 5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return step(self, *given, **more)

    monkeypatch.setattr(SFTTrainer, "training_step", fails)
    with pytest.raises(TuningError, match=r"smaller --batch.*kept: .*checkpoint-2\)"):
        run(data, fast, steps=4)
    monkeypatch.undo()

    def full(self: Any, *given: Any, **more: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(SFTTrainer, "_save_checkpoint", full)
        with pytest.raises(TuningError, match=r"disk of .* is full.*kept: .*checkpoint-2\)"):
            run(data, fast, steps=4, resume=True)
    assert run(data, fast, steps=4, resume=True).tuned.steps == 4


def test_a_disk_that_will_not_do_is_said_before_anything_is_learned(
    data: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type(shutil.disk_usage(data))(10**6, 10**6, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(TuningError, match="name an --out on another disk"):
        run(data, base)


def test_a_missing_library_is_named_with_the_extra_that_brings_it(
    data: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kfbot.model import weights

    found = weights.find_spec
    monkeypatch.setattr(weights, "find_spec", lambda name: None if name == "trl" else found(name))
    with pytest.raises(KfbotError, match=r"trl is not installed: .*pip install .*\[tune\]"):
        run(data, base)


def test_a_real_model_learns_and_its_adapter_loads_again(data: Path) -> None:
    torch.set_num_threads(1)
    write(data / "train.jsonl", [{"messages": messages("How long?", ANSWERS[0])}] * 2)
    (data / "validation.jsonl").write_text("")
    ran = run(data, smollm2(), steps=2, learning_rate=1e-3, refusals=False)
    assert ran.losses[-1] < 0.8 * ran.losses[0]
    assert not torch.allclose(logits(ran.out, smollm2()), logits(smollm2()), atol=0.1)
