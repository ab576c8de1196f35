"""Examples in the forms of other tools, there and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kfbot.model.tuning.examples import ChatExample, Message, TuningDataError
from kfbot.model.tuning.formats import Format, read_foreign, rows_as

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@st.composite
def talks(draw: st.DrawFn) -> ChatExample:
    """Questions and answers in turn, perhaps after a system message."""
    turns: list[Message] = []
    if draw(st.booleans()):
        turns.append({"role": "system", "content": draw(TEXT)})
    for _ in range(draw(st.integers(1, 3))):
        turns.append({"role": "user", "content": draw(TEXT)})
        turns.append({"role": "assistant", "content": draw(TEXT)})
    return ChatExample(messages=tuple(turns), source="imported")


@pytest.mark.parametrize("form", ["chat", "alpaca"])
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(talks(), min_size=1, max_size=4))
def test_what_is_exported_is_imported_as_it_was(
    tmp_path: Path, form: Format, examples: list[ChatExample]
) -> None:
    lines = [json.dumps(row, ensure_ascii=False) for row in rows_as(examples, form)]
    file = tmp_path / "examples.jsonl"
    file.write_bytes("\n".join(lines).encode())
    found, faults = read_foreign(file)
    assert [one.messages for one in found] == [one.messages for one in examples]
    assert faults == []


def test_input_stands_below_the_instruction(tmp_path: Path) -> None:
    file = tmp_path / "alpaca.json"
    row = {"instruction": "Translate.", "input": "退货", "output": "return"}
    file.write_text(json.dumps([row]), encoding="utf-8")
    [one], _ = read_foreign(file)
    assert [message["content"] for message in one.messages] == ["Translate.\n退货", "return"]


def test_bad_lines_are_named_by_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "mixed.jsonl"
    good = '{"instruction": "Where is it?", "output": "There."}'
    bad = ["{", "7", '{"messages": []}', '{"instruction": "a"}', '{"text": "b"}']
    bad.append('{"messages": [{"role": "user", "content": "a"}]}')
    file.write_text("\n".join([bad[0], good, *bad[1:]]), encoding="utf-8")
    found, faults = read_foreign(file)
    assert len(found) == 1
    assert sorted(int(one.split(":")[1]) for one in faults) == [1, 3, 4, 5, 6, 7]
    assert all(one.startswith(str(file)) for one in faults)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\xfa", b"[1"])
def test_a_file_without_any_example_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "none.jsonl"
    file.write_bytes(content)
    with pytest.raises(TuningDataError, match=r"none\.jsonl"):
        read_foreign(file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TuningDataError, match="cannot be read"):
        read_foreign(tmp_path / "gone.jsonl")
