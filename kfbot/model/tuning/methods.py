"""The trainer of a tuning: what is learned (the method) from what (the objective)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kfbot.model.tuning.asking import Method, Objective, Tuning, TuningError
from kfbot.model.tuning.choices import Choices
from kfbot.model.tuning.examples import Preference

#: Looks at the validation examples without a better loss until a tuning ends.
_PATIENCE = 3
#: Below it a model's activations fit without being computed twice.
_SMALL_MODEL = 500_000_000


def adapter_config(method: Method, rank: int) -> Any:
    """What peft is told; None where all weights are tuned.

    LoRA: arXiv:2106.09685; QLoRA: 2305.14314; DoRA: 2402.09353; IA3: 2205.05638.
    """
    from peft import IA3Config, LoraConfig

    if method == "full":
        return None
    if method == "ia3":
        return IA3Config(task_type="CAUSAL_LM")
    return LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.05,
        target_modules="all-linear",
        use_dora=method == "dora",
        task_type="CAUSAL_LM",
    )


def sft_rows(tokens: Sequence[tuple[list[int], list[int]]]) -> Any:
    """Tokens and labels as a dataset that trl takes as it is."""
    from datasets import Dataset

    return Dataset.from_list([{"input_ids": ids, "labels": labels} for ids, labels in tokens])


def preference_rows(examples: Sequence[Preference]) -> Any:
    """Preferences as a dataset; trl puts the chat template around them."""
    from datasets import Dataset

    return Dataset.from_list(
        [
            {name: list(getattr(one, name)) for name in ("prompt", "chosen", "rejected")}
            for one in examples
        ]
    )


def build_trainer(
    tuning: Tuning,
    choices: Choices,
    model: Any,
    tokenizer: Any,
    train: Any,
    validation: Any,
    *,
    device: str,
    callbacks: Sequence[Any],
) -> Any:
    """A trl trainer that keeps its best checkpoint and stops where validation gets no better.

    Args:
        validation: A dataset, or None: then it learns to the end and keeps the last checkpoint.

    Raises:
        TuningError: The method does not know this kind of model.
    """
    from transformers import EarlyStoppingCallback, PrinterCallback

    given = _arguments(tuning, choices, model, device, validates=validation is not None)
    kind, arguments = _kind(tuning.objective, given)
    try:
        trainer = kind(
            model=model,
            args=arguments,
            train_dataset=train,
            eval_dataset=validation,
            processing_class=tokenizer,
            peft_config=adapter_config(tuning.method, choices.rank),
            callbacks=list(callbacks),
        )
    except ValueError as error:
        if "target_modules" not in str(error):
            raise
        raise TuningError(
            f"--method {tuning.method} does not know this kind of model; --method lora does"
        ) from error
    trainer.remove_callback(PrinterCallback)
    if validation is not None:
        trainer.add_callback(EarlyStoppingCallback(early_stopping_patience=_PATIENCE))
    return trainer


def _kind(objective: Objective, given: dict[str, Any]) -> tuple[Any, Any]:
    """The trainer of trl for an objective, and its arguments."""
    if objective == "sft":
        from trl.trainer.sft_config import SFTConfig
        from trl.trainer.sft_trainer import SFTTrainer

        return SFTTrainer, SFTConfig(packing=False, **given)
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    # "sigmoid": DPO (arXiv:2305.18290); IPO: arXiv:2310.12036.
    loss = "ipo" if objective == "ipo" else "sigmoid"
    return DPOTrainer, DPOConfig(loss_type=[loss], **given)


def _arguments(
    tuning: Tuning, choices: Choices, model: Any, device: str, *, validates: bool
) -> dict[str, Any]:
    import torch

    looks = {"eval_strategy": "steps", "eval_steps": choices.every} if validates else {}
    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss"}
    return {
        "output_dir": str(Path(tuning.out) / "checkpoints"),
        "per_device_train_batch_size": choices.batch,
        "per_device_eval_batch_size": choices.batch,
        "gradient_accumulation_steps": choices.accumulation,
        "learning_rate": choices.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": min(100, choices.steps // 20),
        "max_steps": choices.steps,
        "max_length": choices.length,
        "logging_steps": max(1, choices.steps // 500),
        "save_strategy": "steps",
        "save_steps": choices.every,
        "save_total_limit": 2,
        **looks,
        **(best if validates else {}),
        "seed": tuning.seed,
        "bf16": device == "cuda" and torch.cuda.is_bf16_supported(),
        "use_cpu": device == "cpu",
        "activation_checkpointing": device == "cuda" or model.num_parameters() > _SMALL_MODEL,
        # Every weight that is learned is used in every step.
        "ddp_find_unused_parameters": False,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": device == "cuda",
    }
