"""Groups questions that mean the same, in one language or two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from knowledge import terms
from knowledge.geometry import LANGUAGES, centre, language_number, unit

Vectors = NDArray[np.float32]

#: From this cosine on two questions of one language mean the same, each measured from the centre
#: of its language among these questions …
_ALIKE = 0.6
#: … and across languages, where the same words lie farther apart, from so much less.
_FOREIGN = 0.1


def said(question: str) -> str:
    """A question as it is embedded: whatever its layout and script."""
    return " ".join(terms.simplify(question).split())


def group_alike(
    questions: Sequence[str], vectors: Mapping[str, Vectors], generic: Vectors
) -> tuple[tuple[int, ...], ...]:
    """Groups of questions by meaning, each around the one that most others are alike to.

    Every question of a group is alike to its first: a chain of neighbours makes no group. Blocks;
    compares each question with each: half a second for 2,000. Deterministic.

    Args:
        vectors: Of what is `said` in each question.
        generic: See `generic_means`.

    Returns:
        Places in `questions`; the largest group first, in each the question that stands for it
        best, then the others in their order.
    """
    if not questions:
        return ()
    texts = [said(question) for question in questions]
    distinct = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    rows = np.array([distinct[text] for text in texts])
    near = _near(list(distinct), np.stack([vectors[text] for text in distinct]), generic)
    return tuple(_groups(near[np.ix_(rows, rows)]))


def _near(texts: Sequence[str], vectors: Vectors, generic: Vectors) -> Vectors:
    """Cosines from the centre of each language; those that mean the same reach `_ALIKE`."""
    languages = np.array([language_number(text) for text in texts])
    centres = np.stack(
        [centre(vectors[languages == one], generic[one]) for one in range(len(LANGUAGES))]
    )
    shifted = unit(vectors - centres[languages])
    near = shifted @ shifted.T + _FOREIGN * (languages[:, None] != languages[None, :])
    # Rounded: the last digits of a sum are the machine's.
    near = np.round(near, 4)
    np.fill_diagonal(near, 1)
    return np.asarray(near, np.float32)


def _groups(near: Vectors) -> list[tuple[int, ...]]:
    alike = near >= _ALIKE
    # In whole numbers: what is taken away again leaves no rest behind.
    near = np.where(alike, np.rint(near * 10_000), 0).astype(np.int32)
    counts, weight = alike.sum(1), near.sum(1, dtype=np.int64)
    left = np.ones(len(near), np.bool_)
    groups: list[tuple[int, ...]] = []
    while left.any():
        leader = int(np.lexsort((-weight, -counts, ~left))[0])
        members = np.flatnonzero(alike[leader] & left)
        left[members] = False
        counts -= alike[:, members].sum(1)
        weight -= near[:, members].sum(1, dtype=np.int64)
        groups.append((leader, *(one for one in members.tolist() if one != leader)))
    return sorted(groups, key=lambda group: -len(group))
