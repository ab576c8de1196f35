"""How a model answers held-out examples, judged by the proof that customers' answers go through."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

from kfbot.conversation import Language
from kfbot.grounding.draft import Draft
from kfbot.grounding.prompting import NO_ANSWER
from kfbot.grounding.sentences import sentences
from kfbot.knowledge_base import Passage, Progress
from kfbot.language import language_of
from kfbot.model.tuning.chat_tokens import end_token, prompt_tokens
from kfbot.model.tuning.examples import ChatExample, question_of

_MARK = re.compile(r"\s*\[(\d{1,2})\]")
_WORD = re.compile(r"[a-z0-9]+|[㐀-鿿]")
#: A change is called worse where chance alone would make one as large less often than this;
#: loud rather than late: four answers that got worse and none better are enough.
_CHANCE = 0.1
_AT_LEAST_TOKENS = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a model wrote for one example."""

    text: str
    language: Language
    #: Whether the passages answer, by the example.
    answerable: bool
    refused: bool
    #: Whether it is an answer every sentence of which a passage says; None: there are no
    #: numbered passages to look at, or it is none.
    supported: bool | None
    #: Overlap with the example's answer, 0 to 1.
    f1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """A row of the table; None: no example tells. All shares are 0 to 1."""

    examples: int
    #: Of the answers given to answerable questions.
    supported: float | None
    #: Of the unanswerable questions.
    right_refusals: float | None
    #: Of the answerable questions.
    wrong_refusals: float | None
    #: Token-level, of the answerable questions; a refusal has none.
    f1: float | None


def chosen_examples(examples: Sequence[ChatExample], limit: int, seed: int) -> list[ChatExample]:
    """At most so many examples, drawn by a seed, refusals as often as among all."""
    if len(examples) <= limit:
        return list(examples)
    order = random.Random(seed)  # noqa: S311
    groups = [[one for one in examples if _refuses(one) is kind] for kind in (True, False)]
    for group in groups:
        order.shuffle(group)
    share = round(limit * len(groups[0]) / len(examples))
    refusals = min(limit, max(share, 1 if groups[0] else 0))
    return groups[0][:refusals] + groups[1][: limit - refusals]


def answer_all(
    model: Any,
    tokenizer: Any,
    examples: Sequence[ChatExample],
    *,
    batch: int,
    progress: Progress,
) -> list[Answered]:
    """Have a model answer each example, the likeliest token at a time, and judge what it wrote.

    An answer is cut off at twice the length of the longest that was expected.
    """
    from transformers import GenerationConfig

    if not examples:
        return []
    longest = max(len(tokenizer(one.messages[-1]["content"])["input_ids"]) for one in examples)
    ends = model.generation_config.eos_token_id
    known = [ends] if isinstance(ends, int) else list(ends or ())
    config = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=max(_AT_LEAST_TOKENS, 2 * longest),
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=[*known, end_token(tokenizer, examples[0].messages)],
    )
    prompts = [prompt_tokens(tokenizer, one.messages[:-1]) for one in examples]
    # Prompts of one length pad least.
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    found: dict[int, Answered] = {}
    for start in range(0, len(order), batch):
        places = order[start : start + batch]
        texts = _generate(model, tokenizer, [prompts[place] for place in places], config)
        for place, text in zip(places, texts, strict=True):
            found[place] = judge(examples[place], text)
        progress("asking", len(found), len(order))
    return [found[place] for place in range(len(order))]


def judge(example: ChatExample, text: str) -> Answered:
    """What is true of an answer to an example."""
    passages = passages_of(example.messages[-2]["content"]) if len(example.messages) > 1 else ()
    draft = asyncio.run(_drafted(question_of(example), text, passages))
    refused, right = draft.refused, example.messages[-1]["content"]
    return Answered(
        text=text,
        language=language_of(question_of(example)),
        answerable=not _refuses(example),
        refused=refused,
        supported=bool(draft.cited()) and not draft.dropped if passages and not refused else None,
        f1=0.0 if refused else token_f1(_MARK.sub("", text), _MARK.sub("", right)),
    )


def passages_of(asked: str) -> tuple[str, ...]:
    """The numbered passages of a prompt of `kfbot.grounding.prompting`; () where it is none."""
    found = re.search(r"<passages>(.*)</passages>", asked, re.DOTALL)
    if not found:
        return ()
    passages: list[str] = []
    for line in found[1].splitlines():
        if line.startswith(f"[{len(passages) + 1}]"):
            passages.append(line.partition("]")[2].strip())
        elif passages:
            passages[-1] += f"\n{line}"
    return tuple(one.strip() for one in passages)


def shares(answers: Sequence[Answered]) -> dict[str, Shares]:
    """The rows of the table: all, then each language."""
    found = {"all": _shares(answers)}
    for language in sorted({one.language for one in answers}):
        found[language] = _shares([one for one in answers if one.language == language])
    return found


def what_got_worse(before: Sequence[Answered], after: Sequence[Answered]) -> list[str]:
    """One line for each thing that got worse by more than chance makes likely.

    The same examples in the same order; one-sided sign test over those that changed.
    """
    lines = []
    for what, bad in (
        ("answers that no passage supports", _is_unsupported),
        ("answers where no passage answers", _is_missing_refusal),
        ("refusals where a passage answers", _is_wrong_refusal),
    ):
        was, now = [bad(one) for one in before], [bad(one) for one in after]
        lost = sum(b and not a for a, b in zip(was, now, strict=True))
        won = sum(a and not b for a, b in zip(was, now, strict=True))
        if _sign_test(lost, won) < _CHANCE:
            lines.append(f"{what}: {sum(was)} before, {sum(now)} after, of {len(now)} questions")
    return lines


def token_f1(text: str, right: str) -> float:
    """Overlap of words, of characters in Chinese, 0 to 1 (as for SQuAD and CMRC 2018)."""
    said, meant = Counter(_WORD.findall(text.casefold())), Counter(_WORD.findall(right.casefold()))
    common = (said & meant).total()
    return 2 * common / (said.total() + meant.total()) if common else 0.0


def _generate(model: Any, tokenizer: Any, prompts: Sequence[list[int]], config: Any) -> list[str]:
    import torch

    width = max(map(len, prompts))
    ids = [[tokenizer.pad_token_id] * (width - len(one)) + one for one in prompts]
    mask = [[0] * (width - len(one)) + [1] * len(one) for one in prompts]
    with torch.inference_mode():
        made = model.generate(
            input_ids=torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            generation_config=config,
        )
    texts = tokenizer.batch_decode(made[:, width:], skip_special_tokens=True)
    return [str(text).strip() for text in texts]


def _refuses(example: ChatExample) -> bool:
    return NO_ANSWER in example.messages[-1]["content"]


async def _drafted(question: str, text: str, passages: Sequence[str]) -> Draft:
    """What customers would get of an answer, were there no judge beside the rules."""
    found = [
        Passage(
            knowledge_base="",
            document_id=str(place),
            chunk_id=str(place),
            kind="document",
            title="",
            text=passage,
            score=1.0,
        )
        for place, passage in enumerate(passages)
    ]
    draft = Draft(found, language_of(question), question=question)
    for sentence in sentences(text):
        await draft.add(sentence)
    return draft


def _shares(answers: Sequence[Answered]) -> Shares:
    answerable = [one for one in answers if one.answerable]
    given = [one.supported for one in answerable if one.supported is not None]
    return Shares(
        examples=len(answers),
        supported=_mean(given),
        right_refusals=_mean([one.refused for one in answers if not one.answerable]),
        wrong_refusals=_mean([one.refused for one in answerable]),
        f1=_mean([one.f1 for one in answerable]),
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _is_unsupported(one: Answered) -> bool:
    return one.answerable and one.supported is False


def _is_missing_refusal(one: Answered) -> bool:
    return not one.answerable and not one.refused


def _is_wrong_refusal(one: Answered) -> bool:
    return one.answerable and one.refused


def _sign_test(lost: int, won: int) -> float:
    """Chance of at least so many losses where a change is as likely to be either."""
    changed = lost + won
    return float(sum(comb(changed, many) for many in range(lost, changed + 1)) / 2**changed)


def table(before: Mapping[str, Shares], after: Mapping[str, Shares]) -> list[list[str]]:
    """Rows for a person: questions, measure, before, after."""
    rows = []
    for name, now in after.items():
        was = before[name]
        for field, label in (
            ("supported", "answers with every sentence supported"),
            ("right_refusals", "right refusals, of what passages do not answer"),
            ("wrong_refusals", "wrong refusals, of what they answer"),
            ("f1", "word F1 to the reference"),
        ):
            rows.append(
                [
                    f"{name} ({now.examples})",
                    label,
                    _percent(getattr(was, field)),
                    _percent(getattr(now, field)),
                ]
            )
    return rows


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
