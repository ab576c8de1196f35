"""Tunes a chat model: looks at what is asked, measures, learns, measures again, writes it down."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kfbot.knowledge_base import Progress
from kfbot.model.tuning import held_out
from kfbot.model.tuning.asking import Tuning, TuningError, checkpoints, failures_as_lines
from kfbot.model.tuning.base_model import (
    check_base,
    fingerprint,
    licence_of,
    load_config,
    load_model,
    load_tokenizer,
    pick_device,
)
from kfbot.model.tuning.chat_tokens import example_tokens
from kfbot.model.tuning.choices import Choices, Surroundings, choose
from kfbot.model.tuning.examples import ChatExample
from kfbot.model.tuning.gathering import Gathered, gather, short_enough, tokens_of
from kfbot.model.tuning.held_out import Answered
from kfbot.model.tuning.loss_plot import draw_losses
from kfbot.model.tuning.methods import build_trainer, preference_rows, sft_rows
from kfbot.model.tuning.model_card import model_card
from kfbot.model.tuning.progress import OnLook, read_losses, resumed_step, watching
from kfbot.model.tuning.record import (
    asked,
    check_folder,
    versions,
    write_record,
)
from kfbot.model.weights import check_installed

_NEEDED = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "matplotlib")
#: Where nobody says how many held-out examples are answered.
_TEST_LIMIT = {"cuda": 200, "cpu": 20}
_ANSWERED_TOGETHER = {"cuda": 16, "cpu": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A tuning that came to its end."""

    #: Rows of `held_out.table`; none: nothing was measured.
    rows: Sequence[Sequence[str]]
    #: What got worse, a line each.
    worse: Sequence[str]
    steps: int
    #: Whether this process is the one that writes and speaks.
    first: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    """What every step of a tuning works with."""

    tuning: Tuning
    device: str
    state: Any
    tokenizer: Any
    report: Callable[[str], None]
    progress: Progress

    def say(self, text: str) -> None:
        if self.state.is_main_process:
            self.report(text)


def tune(
    tuning: Tuning, *, report: Callable[[str], None], on_look: OnLook, progress: Progress
) -> Tuned:
    """Tune a model and write it, its card and its record to `tuning.out`.

    Under `accelerate launch` every process calls this, and the first one writes.

    Raises:
        TuningError: It cannot be done like this; checkpoints are kept.
        TuningDataError: Names file and line of an example that cannot be used.
    """
    check_installed(*_NEEDED, extra="tune")
    _quiet()
    with failures_as_lines(tuning.out):
        base = check_base(tuning.base)
        device = pick_device(tuning.device)
        data = gather(tuning)
        base_sha256 = fingerprint(base)
        record = check_folder(tuning, base_sha256, data.sha256)
        bench = _bench(tuning, base, device, report, progress)
        model = load_model(base, tuning.method, device)
        data, choices = _fitting(bench, data, model, base, record)
        if record is None:
            record = _new_record(bench, base, base_sha256, data, choices, model)
        return _run(bench, model, data, choices, record, on_look)


def _run(
    bench: _Bench,
    model: Any,
    data: Gathered,
    choices: Choices,
    record: dict[str, Any],
    on_look: OnLook,
) -> Tuned:
    """Measure, learn, measure again, write."""
    out, first = bench.tuning.out, bench.state.is_main_process
    before = _answers(bench, model, data.test, "before")
    trainer = _trainer(bench, model, data, choices, on_look)
    from_checkpoint = str(checkpoints(out)[-1]) if resumed_step(out) else None
    trainer.train(resume_from_checkpoint=from_checkpoint)
    tuned = trainer.accelerator.unwrap_model(trainer.model)
    if first:
        _save(bench, tuned)
    after = _answers(bench, tuned, data.test, "after")
    worse = held_out.what_got_worse(before, after)
    rows = held_out.table(held_out.shares(before), held_out.shares(after)) if after else []
    best = trainer.state.best_model_checkpoint
    record |= {
        "finished": True,
        "verdict": ("worse" if worse else "not worse") if after else "not measured",
        "steps_done": trainer.state.global_step,
        "best_step": int(best.rpartition("-")[2]) if best else trainer.state.global_step,
        "before": {name: asdict(row) for name, row in held_out.shares(before).items()},
        "after": {name: asdict(row) for name, row in held_out.shares(after).items()},
    }
    if first:
        plotted = draw_losses(read_losses(out), out / "loss.png", title=out.name)
        card = model_card(record, worse=worse, rows=rows, plotted=plotted)
        (out / "README.md").write_text(card, "utf-8")
        write_record(out, record)
        # The folder itself is the best checkpoint now; the state of Adam is several times as big.
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return Tuned(rows=rows, worse=worse, steps=trainer.state.global_step, first=first)


def _quiet() -> None:
    """Leave the terminal to our own progress."""
    import logging as standard
    import warnings

    import datasets
    from transformers.utils import logging

    # transformers 5.23 reads a name that it has itself given up.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
    standard.getLogger("bitsandbytes").setLevel(standard.ERROR)
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    datasets.disable_progress_bars()


def _bench(
    tuning: Tuning, base: str, device: str, report: Callable[[str], None], progress: Progress
) -> _Bench:
    from accelerate import PartialState

    launched = "LOCAL_RANK" in os.environ
    if device == "cuda" and not launched:
        import torch

        if (gpus := torch.cuda.device_count()) > 1:
            # One process that sees several would split each batch among them, slowly.
            os.environ["CUDA_VISIBLE_DEVICES"] = _first_gpu()
            report(
                f"One of {gpus} GPUs is used; all of them: accelerate launch"
                f" --num_processes {gpus} -m kfbot model tune …"
            )
    return _Bench(
        tuning=tuning,
        device=device,
        state=PartialState(cpu=device == "cpu"),
        tokenizer=load_tokenizer(base),
        report=report,
        progress=progress,
    )


def _first_gpu() -> str:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]


def _fitting(
    bench: _Bench, data: Gathered, model: Any, base: str, record: dict[str, Any] | None
) -> tuple[Gathered, Choices]:
    """The examples that are short enough, and every number of the tuning."""
    sizes = [tokens_of(bench.tokenizer, one) for one in data.train]
    config = load_config(base)
    context = getattr(config, "max_position_embeddings", None) or max(sizes)
    if record is not None:
        choices = Choices(**record["choices"])
    else:
        around = Surroundings(
            examples=len(sizes),
            longest=max(sizes),
            context=context,
            parameters=model.num_parameters(),
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            memory_bytes=_free_bytes(bench.device),
            devices=bench.state.num_processes,
        )
        choices = choose(bench.tuning, around)
    if choices.length > context:
        raise TuningError(f"--length {choices.length}: --base reads {context} tokens at most")
    limit = bench.tuning.test_limit
    kept = short_enough(
        bench.tokenizer,
        data,
        length=choices.length,
        context=context,
        test_limit=_TEST_LIMIT[bench.device] if limit is None else limit,
        seed=bench.tuning.seed,
        say=bench.say,
    )
    return kept, choices


def _free_bytes(device: str) -> int:
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _new_record(
    bench: _Bench, base: str, base_sha256: str, data: Gathered, choices: Choices, model: Any
) -> dict[str, Any]:
    """Begin a folder: from here on --resume goes on."""
    out, tuning = bench.tuning.out, bench.tuning
    record = {
        "kind": "model" if tuning.method == "full" else "adapter",
        "base": base,
        "base_sha256": base_sha256,
        "licence": licence_of(base),
        "method": tuning.method,
        "objective": tuning.objective,
        "data_sha256": data.sha256,
        "examples": {name: len(getattr(data, name)) for name in ("train", "validation", "test")},
        "choices": asdict(choices),
        "asked": asked(tuning),
        "device": bench.device,
        "versions": versions(),
        "finished": False,
        "verdict": "not measured",
    }
    # Every process has looked into the folder before one of them writes.
    bench.state.wait_for_everyone()
    if bench.state.is_main_process:
        out.mkdir(parents=True, exist_ok=True)
        _check_room(out, tuning, model.num_parameters())
        write_record(out, record)
    return record


def _check_room(out: Path, tuning: Tuning, parameters: int) -> None:
    # Weights in float32 and Adam's two numbers for each, in three checkpoints at once.
    learned = parameters if tuning.method == "full" else parameters // 50
    needed, free = learned * 12 * 3, shutil.disk_usage(out).free
    if free < needed:
        raise TuningError(
            f"{out} has {free / 1e9:.1f} GB left, checkpoints take {needed / 1e9:.1f} GB:"
            " name an --out on another disk"
        )


def _trainer(bench: _Bench, model: Any, data: Gathered, choices: Choices, on_look: OnLook) -> Any:
    def rows(examples: Sequence[Any]) -> Any:
        if bench.tuning.objective != "sft":
            return preference_rows(examples)
        return sft_rows([example_tokens(bench.tokenizer, one.messages) for one in examples])

    return build_trainer(
        bench.tuning,
        choices,
        model,
        bench.tokenizer,
        rows(data.train),
        rows(data.validation) if data.validation else None,
        device=bench.device,
        callbacks=[watching(bench.tuning.out, on_look)],
    )


def _save(bench: _Bench, model: Any) -> None:
    out = bench.tuning.out
    if bench.tuning.method == "full":
        dtype = load_config(model.config._name_or_path).dtype
        (model.to(dtype) if dtype is not None else model).save_pretrained(out)
    else:
        model.save_pretrained(out, save_embedding_layers=False)
    bench.tokenizer.save_pretrained(out)


def _answers(
    bench: _Bench, model: Any, examples: Sequence[ChatExample], when: str
) -> list[Answered]:
    """What the model writes for the held-out examples, shared out among the processes.

    It is kept in the folder: for a person, and so that a tuning that goes on has it.
    """
    from accelerate.utils import gather_object

    path = bench.tuning.out / f"answers.{when}.jsonl"
    if bench.tuning.resume and when == "before" and path.is_file():
        kept = [Answered(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]
        if len(kept) == len(examples):
            return kept
    state = bench.state
    model.eval()
    mine = held_out.answer_all(
        model.to(state.device) if not getattr(model, "is_quantized", False) else model,
        bench.tokenizer,
        examples[state.process_index :: state.num_processes],
        batch=_ANSWERED_TOGETHER[bench.device],
        progress=bench.progress,
    )
    parts: list[list[Answered]] = gather_object([mine])
    many = state.num_processes
    answers = [parts[place % many][place // many] for place in range(len(examples))]
    if state.is_main_process:
        lines = [json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in answers]
        path.write_text("".join(lines), "utf-8")
    return answers
