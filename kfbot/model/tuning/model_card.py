"""README.md of a tuned model, in the form that Hugging Face calls a model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

LIMITS = (
    "- It was tuned to answer from passages that its prompt holds, with a citation behind each"
    " sentence, and to write NO_ANSWER where they do not answer. It is no source of facts.\n"
    "- kfbot checks every sentence against its passage before a customer sees it; other programs"
    " that use this model do not.\n"
    "- The numbers above are of held-out examples of the same data; customers ask other things."
    " `kfbot evaluate` with questions of your own says more.\n"
    "- Support is judged by numbers, names, negations and words; a sentence in another language"
    " than its passage counts as not supported here."
)
#: A model that refuses less than this of what it should is said to do so, 0 to 1.
_REFUSES_OFTEN = 0.8


def model_card(
    record: Mapping[str, Any],
    *,
    worse: Sequence[str],
    rows: Sequence[Sequence[str]],
    plotted: bool,
) -> str:
    """The card of a tuned model.

    Args:
        record: See `record`.
        worse: What got worse, a line each.
        rows: Questions, measure, before, after; none: nothing was measured.
    """
    parts = [
        _head(record),
        f"# {record['method']} ({record['objective']}) of {record['base']}",
        _verdict(record, worse),
        "## Made of\n" + _table(("what", "value"), _facts(record)),
        "## Before and after\n" + _measured(rows),
        "## Losses\n![loss](loss.png)\n\nAll values: `loss.jsonl`." if plotted else "",
        "## Limits\n" + LIMITS,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(record: Mapping[str, Any]) -> str:
    lines = ["---", f'base_model: "{record["base"]}"']
    if record["kind"] == "adapter":
        lines.append("library_name: peft")
    if record["licence"] and "(" not in record["licence"]:
        lines.append(f"license: {record['licence']}")
    return "\n".join([*lines, "tags: [kfbot, customer-service]", "---"])


def _verdict(record: Mapping[str, Any], worse: Sequence[str]) -> str:
    if record["verdict"] == "not measured":
        return "**Not measured**: no held-out examples were answered."
    if worse:
        lines = [f"- {line}" for line in worse]
        return "\n".join(["**NOT FIT to answer customers: it got worse.**\n", *lines])
    refusals = record["after"]["all"]["right_refusals"]
    if refusals is not None and refusals < _REFUSES_OFTEN:
        return (
            f"It did not get worse, but it refuses only {100 * refusals:.0f} % of what the"
            " passages do not answer: kfbot's own checks have to catch the rest."
        )
    return "No measure got worse by more than chance makes likely."


def _facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = [
        ("base", str(record["base"])),
        ("base, fingerprint", record["base_sha256"] or "none: named, not a folder"),
        ("licence of the base", record["licence"] or "not stated in its folder"),
        ("data, SHA-256", record["data_sha256"]),
    ]
    facts += [(f"examples, {name}", str(many)) for name, many in record["examples"].items()]
    facts += [("method", record["method"]), ("objective", record["objective"])]
    facts += [(name.replace("_", " "), f"{value:g}") for name, value in record["choices"].items()]
    facts += [
        ("steps done", str(record["steps_done"])),
        ("best checkpoint, step", str(record["best_step"])),
        ("seed", str(record["asked"]["seed"])),
        ("device", record["device"]),
    ]
    return [*facts, *record["versions"].items()]


def _measured(rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return "Not measured."
    return _table(("questions", "measure", "before", "after"), rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
