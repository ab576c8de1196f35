"""Which split an example is in."""

from __future__ import annotations

from collections import Counter

from kfbot.model.tuning.splitting import Splitter

DOCUMENTS = [f"shop/{number}" for number in range(2000)]


def test_four_of_five_are_for_training() -> None:
    counts = Counter(map(Splitter(0).of_document, DOCUMENTS))
    assert abs(counts["train"] - 1600) < 80
    assert abs(counts["validation"] - 200) < 60


def test_what_is_added_moves_nothing() -> None:
    few, many = Splitter(0), Splitter(0)
    places = [(name, f"conversation-{n % 50}") for n, name in enumerate(DOCUMENTS)]
    before = [few.place(*place) for place in places[:100]]
    after = [many.place(*place) for place in places]
    assert after[:100] == before


def test_a_conversation_is_in_one_split_only() -> None:
    splitter, found = Splitter(0), Counter[str | None]()
    for name in DOCUMENTS[:100]:
        found[splitter.place(name, "conversation-1")] += 1
    kept = splitter.of_document(DOCUMENTS[0])
    assert set(found) == {kept, None}
    assert splitter.place("", "conversation-1") == kept


def test_another_seed_is_another_split() -> None:
    one, other = Splitter(0), Splitter(1)
    assert [*map(one.of_document, DOCUMENTS)] != [*map(other.of_document, DOCUMENTS)]
