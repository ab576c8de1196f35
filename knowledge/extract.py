"""Finds the part of a passage that answers a question, to show it to the customer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from knowledge.sentences import (
    is_list_item,
    is_table_row,
    split_clauses,
    split_sentences,
    split_words,
)

Tokenise = Callable[[str], Sequence[str]]

_MOST_SENTENCES = 4
# Shares of the weight that a quote can carry. A quote of full length must carry this much more
# than a short one; a quote that begins with "It" or leaves
# the sentence out that says more about "it" is worth less.
_LENGTH_COST = 0.15
_DANGLING_COST = 0.2
_LEFT_OUT_COST = 0.06
_LEAD_IN_COST = 0.5
# A line of its own this short and without a full stop is the heading of what follows.
_HEADING_CHARS = 30

_REFERS_BACK = re.compile(
    r"\s*(?:(?:it|its|they|them|their|this|that|these|those|he|she|such|here|there|then|also|but"
    r"|however|otherwise|therefore|thus|instead|in that case|in this case|if so|if not|after that"
    r"|afterwards|additionally|moreover|furthermore|alternatively|and|or|so|once done)\b"
    r"|它|他们|她们|该|这|那|此|其|否则|但|不过|然而|同时|另外|此外|因此|所以|然后|之后|随后"
    r"|如果不|并且|而且|也|还|则)",
    re.IGNORECASE,
)
_TABLE_RULE = re.compile(r"[\s|:+-]+")


@dataclass(frozen=True, slots=True)
class _Piece:
    """A sentence, list item or table row, with what follows it up to the next."""

    text: str
    terms: frozenset[str]
    #: The header of the table whose row this is, to be shown with it.
    header: str
    is_item: bool
    #: It announces what follows and answers nothing itself.
    leads_in: bool


def best_quote(
    terms: Mapping[str, float], text: str, tokenise: Tokenise, *, max_chars: int = 320
) -> str:
    """The part of a passage that answers a question with these terms and their weights.

    A text of at most `max_chars` is returned whole. Else one to four consecutive sentences, list
    items or table rows (with the table's header), as they stand in the text; the items of a list
    follow the line that announces it as far as there is room. A sentence is cut only when it alone
    is too long, and "…" then shows where. Never longer than `max_chars`; the beginning of the
    text when it has none of the terms.
    """
    whole = text.strip()
    if len(whole) <= max_chars:
        return whole
    pieces = _read_pieces(whole, terms, tokenise)
    weight = _weigh(pieces, terms)
    if weight:
        best = max(
            _windows(pieces, max_chars),
            key=lambda window: (
                _weigh(pieces[slice(*window)], terms) / weight
                - _cost(pieces, *window, length=len(_show(pieces, *window)) / max_chars)
            ),
        )
    else:
        best = [window for window in _windows(pieces, max_chars) if window[0] == 0][-1]
    quote = _show(pieces, best[0], _end_of_list(pieces, *best, max_chars))
    return quote if len(quote) <= max_chars else _cut_long(quote, terms, tokenise, max_chars)


def _read_pieces(text: str, terms: Mapping[str, float], tokenise: Tokenise) -> list[_Piece]:
    pieces: list[_Piece] = []
    header = ""
    in_item = False
    for sentence, following in pairwise([*split_sentences(text), ""]):
        row = is_table_row(sentence)
        own_header, header = _headers(header, sentence) if row else ("", "")
        item = in_item or is_list_item(sentence)
        announces = not own_header and is_table_row(following) if row else _announces(sentence)
        pieces.append(
            _Piece(
                text=sentence,
                terms=frozenset(tokenise(sentence)) & terms.keys(),
                header=own_header,
                is_item=item,
                leads_in=bool(following) and announces,
            )
        )
        in_item = item and not sentence.endswith("\n")
    return pieces


def _headers(header: str, row: str) -> tuple[str, str]:
    """The header that this row is shown with, and that of the rows after it."""
    # A blank line ends the table.
    is_last = row.count("\n") != 1
    if not header:
        return "", "" if is_last else row
    if _TABLE_RULE.fullmatch(row):
        return "", "" if is_last else header + row
    return header, "" if is_last else header


def _announces(sentence: str) -> bool:
    shown = sentence.strip()
    if shown.endswith((":", "：", "?", "？")):
        return True
    if not sentence.endswith("\n") or is_list_item(sentence):
        return False
    return len(shown) < _HEADING_CHARS and not shown.endswith(tuple("。！；…!.;"))


def _weigh(pieces: Sequence[_Piece], terms: Mapping[str, float]) -> float:
    """The weight of the terms that these pieces have between them."""
    return sum(terms[term] for term in frozenset[str]().union(*(piece.terms for piece in pieces)))


def _windows(pieces: Sequence[_Piece], max_chars: int) -> Iterator[tuple[int, int]]:
    """Runs of pieces that fit; a single one even when it does not."""
    for start in range(len(pieces)):
        yield start, start + 1
        for end in range(start + 2, min(start + _MOST_SENTENCES, len(pieces)) + 1):
            if len(_show(pieces, start, end)) > max_chars:
                break
            yield start, end


def _show(pieces: Sequence[_Piece], start: int, end: int) -> str:
    body = "".join(piece.text for piece in pieces[start:end])
    # Only line breaks go from the front: spaces there indent a nested list item.
    return (pieces[start].header + body).strip("\n").rstrip()


def _cost(pieces: Sequence[_Piece], start: int, end: int, *, length: float) -> float:
    """What a run loses by its length and by what it leaves out on either side."""
    cost = _LENGTH_COST * length
    if start and _REFERS_BACK.match(pieces[start].text):
        cost += _DANGLING_COST
    if end < len(pieces) and _REFERS_BACK.match(pieces[end].text):
        cost += _LEFT_OUT_COST
    if pieces[end - 1].leads_in:
        cost += _LEAD_IN_COST
    return cost


def _end_of_list(pieces: Sequence[_Piece], start: int, end: int, max_chars: int) -> int:
    """Where the list ends that the run [start, end) begins, as far as there is room."""
    announced = any(
        before.leads_in and after.is_item for before, after in pairwise(pieces[start:end])
    )
    while announced and end < len(pieces) and pieces[end].is_item:
        if len(_show(pieces, start, end + 1)) > max_chars:
            break
        end += 1
    return end


def _cut_long(text: str, terms: Mapping[str, float], tokenise: Tokenise, max_chars: int) -> str:
    """The clauses of an over-long sentence that carry most, with "…" where it was cut."""
    room = max(max_chars - 2, 1)
    clauses = [part for clause in split_clauses(text) for part in _to_fit(clause, room)]
    found = [frozenset(tokenise(clause)) & terms.keys() for clause in clauses]
    runs = []
    for start in range(len(clauses)):
        end, length = start, 0
        while end < len(clauses) and length + len(clauses[end]) <= room:
            length += len(clauses[end])
            end += 1
        runs.append((start, end))

    def worth(run: tuple[int, int]) -> tuple[float, bool]:
        carried = frozenset[str]().union(*found[slice(*run)])
        # Of equals the one that begins with what was asked for: the answer follows it.
        return sum(terms[term] for term in carried), bool(found[run[0]])

    start, end = max(runs, key=worth)
    quote = "".join(clauses[start:end]).strip()
    before = "…" if start else ""
    return before + (quote if end == len(clauses) else quote.rstrip(" ,，、;；:：") + "…")


def _to_fit(clause: str, room: int) -> Iterator[str]:
    if len(clause) <= room:
        yield clause
        return
    for word in split_words(clause):
        for start in range(0, len(word), room):
            yield word[start : start + room]
