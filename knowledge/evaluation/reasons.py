"""Why a question was answered wrong or missed, found by rule, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kfbot import confidence
from kfbot.knowledge_base import Passage, PassageKind, Retrieval
from kfbot.language import language_of
from knowledge import terms
from knowledge.evaluation.asking import RANKED, Asked

#: Entries with so many of their words in common are hard to tell apart (Jaccard).
_ALIKE = 0.5
#: A question that has so many of its words in an entry shares its words.
_SHARED = 0.5
#: A rank score this far behind is close behind.
_CLOSE = 0.05
#: Signals named for a question, and the least that they add to the log-odds.
_SIGNALS, _COUNTS = 3, 0.1


@dataclass(frozen=True, slots=True)
class Entry:
    """A document or FAQ entry as the report shows it."""

    id: str
    knowledge_base: str
    kind: PassageKind
    #: The question of an FAQ entry, the title of a document.
    name: str
    text: str

    @property
    def key(self) -> tuple[str, str]:
        """Ids are unique inside a knowledge base only."""
        return self.knowledge_base, self.id


#: By the key of an entry, the keys of those found first when it is asked by its own question.
Nearest = Mapping[tuple[str, str], frozenset[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Reason:
    """A class of mistakes."""

    title: str
    #: One line: what an operator does about it.
    advice: str


REASONS: Mapping[str, Reason] = {
    "unknown_gold": Reason(
        "The right entry is not in the knowledge",
        "Add it, or correct gold_ids in the questions file.",
    ),
    "same_text": Reason(
        "Both entries say the same",
        "Merge the two, or list both in gold_ids.",
    ),
    "follow_up": Reason(
        "The question leans on what was said before",
        "Ask it whole; a chat model that rewrites follow-ups helps most.",
    ),
    "other_language": Reason(
        "The question is in another language than the right entry",
        "Give the entry a variant, or a translation, in the customers' language.",
    ),
    "alike": Reason(
        "Another entry asks nearly the same",
        "Say in both what tells them apart (product, case, country), or merge them.",
    ),
    "close_second": Reason(
        "The right entry was second, close behind",
        "Add the customers' wording to the right entry, as a variant or in its text.",
    ),
    "outranked": Reason(
        "Another entry was nearer than the right one",
        "Add the customers' wording to the right entry, as a variant or in its text.",
    ),
    "not_found": Reason(
        f"The right entry was not among the first {RANKED}",
        "The entry and its customers use other words: add theirs, as variants or as a heading.",
    ),
    "shares_words": Reason(
        "Out of scope, but it shares the words of an entry",
        "Add an entry that says what you do not offer, or turn the dial down.",
    ),
    "near_meaning": Reason(
        "Out of scope, but near an entry in meaning",
        "Turn the dial down, or run `kfbot calibrate` with questions of your customers.",
    ),
    "unsure": Reason(
        "The right entry was first, but not sure enough",
        "Add the wording as a variant, or turn the dial up: the table of the dial shows the price.",
    ),
    "taken_for_talk": Reason(
        "Taken for small talk or for the wish for a person",
        "Ask it in a whole sentence; if customers do write it so, report it to us.",
    ),
    "model_refused": Reason(
        "The chat model said that the passages do not answer",
        "Say it in the entry in so many words; if it stands there, try another chat model.",
    ),
    "no_gold": Reason(
        "In scope by its label, but no right entry is named",
        "Name the right entry in gold_ids to learn why; or add the entry that is missing.",
    ),
}


def reason_of(
    asked: Asked, right: Sequence[Entry], answered: Entry | None, nearest: Nearest
) -> tuple[str, str]:
    """The class of a mistake, and what is special about this question ("" for nothing).

    Args:
        right: The right entries that the knowledge holds; none for an out-of-scope question.
        answered: The entry that came first; None: nothing was found.
        nearest: Of right entries, the entries that are hardest to tell from them.
    """
    one = asked.scored
    if asked.taken_for == "model_refused":
        return "model_refused", ""
    if asked.taken_for:
        return "taken_for_talk", asked.taken_for.replace("_", " ")
    if one.in_scope is False:
        return _out_of_scope(asked.searched, answered)
    if not one.has_gold:
        return "no_gold", ""
    if not right:
        return "unknown_gold", ", ".join(one.gold_ids)
    if one.place == 1:
        return "unsure", _needed(asked)
    return _outranked(asked, right, answered, nearest)


def _out_of_scope(question: str, answered: Entry | None) -> tuple[str, str]:
    asked = set(terms.tokenise(question))
    shared = asked & _words(answered) if answered else set()
    if asked and len(shared) >= _SHARED * len(asked):
        # The terms are stems: shown is what the customer wrote.
        written = [word for word in re.findall(r"\w+", question) if _has(shared, word)]
        return "shares_words", ", ".join(dict.fromkeys(written)) or ", ".join(sorted(shared))
    return "near_meaning", ""


def _has(shared: set[str], word: str) -> bool:
    return word.isascii() and bool(shared & set(terms.tokenise(word)))


def _outranked(
    asked: Asked, right: Sequence[Entry], answered: Entry | None, nearest: Nearest
) -> tuple[str, str]:
    question, place = asked.scored.text, asked.scored.place
    where = f"place {place}" if place else ""
    if answered and any(_same(answered.text, one.text) for one in right):
        return "same_text", where
    if asked.searched != question and asked.question.history:
        return "follow_up", where
    if all(language_of(question) != language_of(one.name + one.text) for one in right):
        return "other_language", where
    if answered and any(
        answered.key in nearest.get(one.key, ()) or _alike(answered, one) for one in right
    ):
        return "alike", where
    if place is None:
        return "not_found", ""
    if place == 2 and (gap := _gap(asked.found)) is not None and 0 <= gap <= _CLOSE:
        return "close_second", f"{gap:.3f} behind"
    return "outranked", where


def _needed(asked: Asked) -> str:
    """The first position of the dial at which it would have been answered."""
    dials = [at for at, one in asked.scored.at_dial.items() if one.decision == "answer"]
    return f"answered from dial {min(dials):g}" if dials else "answered at no dial"


def _gap(found: Retrieval | None) -> float | None:
    if found is None or len(found.passages) < 2:
        return None
    return found.passages[0].score - found.passages[1].score


def _same(one: str, other: str) -> bool:
    return bool(one.strip()) and one.split() == other.split()


def _alike(one: Entry, other: Entry) -> bool:
    first, second = (set(terms.tokenise(each.name or each.text)) for each in (one, other))
    either = first | second
    return bool(either) and len(first & second) >= _ALIKE * len(either)


def _words(entry: Entry) -> set[str]:
    return set(terms.tokenise(f"{entry.name} {entry.text}"))


def entry_of(passage: Passage) -> Entry:
    """The entry that a passage is of."""
    name = passage.question or " › ".join(filter(None, (passage.title, passage.heading)))
    text = passage.quote or passage.text
    return Entry(passage.document_id, passage.knowledge_base, passage.kind, name, text)


# Signals in words: for a high value and for a low one, each beside the mean it was fitted with

_SAID: Mapping[str, tuple[str, str]] = {
    "fused": ("a high score", "a low score"),
    "dense": ("near in meaning", "far in meaning"),
    "fused_margin": ("ahead of the second", "hardly ahead of the second"),
    "dense_margin": ("ahead in meaning", "another is as near in meaning"),
    "above_pack": ("stands out from the rest", "does not stand out from the rest"),
    "pack_spread": ("the rest are told apart", "the rest are all alike"),
    "rivals": ("close rivals", "no close rival"),
    "lexical": ("many words in common", "few words in common"),
    "lexical_margin": ("ahead in words", "another shares as many words"),
    "covered": ("carries the question's words", "lacks words of the question"),
    "covered_window": ("one sentence has the words", "no sentence has the words"),
    "all_words": ("one sentence has every word", "no sentence has every word"),
    "far_apart": ("its words lie far apart", "its words lie together"),
    "unsaid_negation": (
        "asks for what is not, the passage does not deny it",
        "no unsaid negation",
    ),
    "opposite": ("says the opposite", "no opposite said"),
    "raw_z": ("nearer than questions of other fields", "no nearer than other fields' questions"),
    "covered_z": ("more of the words than near misses have", "no more words than near misses have"),
    "unknown": ("words that no entry has", "no unknown words"),
    "unknown_z": ("more unknown words than usual", "few unknown words"),
    "missing_numbers": ("a number is missing", "no number is missing"),
    "missing_names": ("a name is missing", "no name is missing"),
    "no_answer_type": ("asks for a number, has none", "has the kind of thing asked for"),
    "foreign": ("in another language", "in the question's language"),
    "near_miss_z": ("better than near misses", "no better than near misses"),
    "own_z": ("as near as its own variants", "farther than its own variants"),
    "background_distance": ("unlike everyday talk", "like everyday talk"),
    "domain": ("in this field", "outside this field"),
    "distance": ("far from the field's centre", "near the field's centre"),
    "norm": ("an unusual question", "a plain question"),
}
_HIGH_IS_AGAINST = (
    *("rivals", "unknown", "unknown_z", "missing_numbers", "missing_names"),
    *("no_answer_type", "foreign", "distance", "norm"),
    *("far_apart", "unsaid_negation", "opposite"),
)
#: They set the scale of others and say nothing by themselves.
_SILENT = ("length", "many")


def signals_of(asked: Asked) -> list[str]:
    """What counted most: for a wrong answer what spoke for it, for a missed one what against."""
    if asked.found is None or not asked.found.passages:
        return []
    kind = asked.found.passages[0].kind
    evidence = asked.found.evidence.get(kind)
    if not evidence:
        return []
    wanted = 1 if asked.scored.is_wrong_answer else -1
    usual = confidence.model(kind, "first").usual
    said = [
        f"{words} ({added:+.1f})"
        for name, added in confidence.explain(kind, evidence)
        if added * wanted >= _COUNTS and (words := _said(name, added, evidence[name] < usual[name]))
    ]
    return said[:_SIGNALS]


def _said(name: str, added: float, is_low: bool) -> str:
    """A signal in words; "" where its weight only corrects that of another one."""
    if name not in _SAID:
        return "" if name in _SILENT else name.replace("_", " ")
    if (added > 0) == (is_low != (name in _HIGH_IS_AGAINST)):
        return ""
    return _SAID[name][is_low]
