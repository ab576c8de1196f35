"""How a knowledge base's own questions use its words: what is usual for one that it answers.

Each variant of an FAQ entry is looked at as if a customer had asked it and the entry did not
have it. Where entries have many variants, such a question has hardly a word that is unknown;
where they have their question alone, many.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from knowledge.index import Arrays
from knowledge.points import KINDS

#: Variants that are looked at.
_SAMPLED = 600
#: Too few to tell: as measured on question sets of several fields.
_UNTOLD = (0.35, 0.25, 0.45, 0.25)


def usual_words(
    arrays: Arrays, answer_starts: NDArray[np.int64], answer_ids: NDArray[np.uint32]
) -> NDArray[np.float32]:
    """Mean and spread of the unknown, then of the covered share of a question's words.

    Shares are of the words' IDF. Unknown: in no entry and no document. Covered: in the entry
    that answers.
    """
    points = np.flatnonzero(arrays.kinds[arrays.owner] == KINDS.index("faq"))
    # An entry with its question alone has nothing left to cover it.
    points = points[np.diff(arrays.starts)[arrays.owner[points]] > 1]
    if len(points) < 10:
        return np.array(_UNTOLD, np.float32)
    chosen = np.random.default_rng(0).permutation(points)[:_SAMPLED]
    known, having = np.unique(_terms(arrays, points), return_counts=True)
    elsewhere = np.concatenate([answer_ids, arrays.document_terms])
    unknown, covered = [], []
    for point in chosen:
        terms = _terms(arrays, np.array([point]))
        weight = arrays.idf("faq", terms)
        if not len(terms) or not (mass := float(weight.sum())):
            continue
        alone = having[np.searchsorted(known, terms)] == 1
        unknown.append(weight[alone & ~np.isin(terms, elsewhere)].sum() / mass)
        document = arrays.owner[point]
        others = np.arange(arrays.starts[document], arrays.starts[document + 1])
        answer = answer_ids[answer_starts[document] : answer_starts[document + 1]]
        held = np.concatenate([_terms(arrays, others[others != point]), answer])
        covered.append(weight[np.isin(terms, held)].sum() / mass)
    if not unknown:
        return np.array(_UNTOLD, np.float32)
    spread = [np.mean(unknown), np.std(unknown), np.mean(covered), np.std(covered)]
    return np.array(spread, np.float32)


def _terms(arrays: Arrays, points: NDArray[np.int64]) -> NDArray[np.uint32]:
    rows = [
        arrays.term_ids[arrays.term_starts[point] : arrays.term_starts[point + 1]]
        for point in points
    ]
    return np.concatenate(rows) if rows else np.zeros(0, np.uint32)
