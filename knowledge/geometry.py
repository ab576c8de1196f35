"""Where texts of one knowledge base lie in the vector space: centres, spread, near misses.

The embedding model squeezes everything that is written in one language, or about one field,
into a corner. Measured from that corner's centre, and with the directions shrunk in which
variants of one question differ anyway (linear discriminant analysis), questions come apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kfbot.knowledge_base import PassageKind
from kfbot.language import language_of
from knowledge.embedding import Embedder
from knowledge.index import Arrays
from knowledge.points import KINDS

Vectors = NDArray[np.float32]
_Floats = NDArray[Any]

LANGUAGES: Final = ("en", "zh")
#: Every day's questions about anything: where a language lies for this embedding model.
GENERIC_QUESTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "en": (
        "How do I change my password?",
        "Where is the parcel that I ordered?",
        "When are you open?",
        "What does it cost?",
        "Do I get my money back?",
        "Whom do I ask when something is wrong?",
        "When did the company start?",
        "Which products are there?",
        "Why did my payment fail?",
        "Is there a lower price for students?",
        "How many days does delivery take?",
        "How do the two versions differ?",
        "Where is the manual?",
        "Who wrote the novel?",
        "How many people live in this city?",
        "What is the capital of that country?",
        "I cannot sign in.",
        "The machine does not start.",
        "Does it work with the old version?",
        "What happens when the contract is over?",
        "How do you work out the result?",
        "In what year was that?",
        "I lost my card, what now?",
        "Tell me more about this service.",
        "What did she do after the war?",
        "What are the signs of the illness?",
        "Can I use another address?",
        "Do I need the internet for it?",
        "What is this river called?",
        "Please stop my subscription.",
    ),
    "zh": (
        "密码怎么修改？",
        "我买的东西到哪里了？",
        "你们几点开门？",
        "这个要多少钱？",
        "能把钱退给我吗？",
        "出了问题应该找谁？",
        "这家公司是哪一年成立的？",
        "你们有什么产品？",
        "为什么付款没有成功？",
        "学生可以便宜一点吗？",
        "送货要几天？",
        "这两个版本有什么不同？",
        "说明书在哪里？",
        "这部小说的作者是谁？",
        "这个城市有多少人？",
        "那个国家的首都在哪里？",
        "我登录不上去。",
        "机器开不了机。",
        "老版本还能用吗？",
        "合同到期以后怎么办？",
        "结果是怎么算出来的？",
        "这件事发生在哪一年？",
        "卡丢了怎么办？",
        "请再介绍一下这项服务。",
        "战争结束后他做了什么？",
        "这种病有哪些症状？",
        "可以换一个地址吗？",
        "没有网络能用吗？",
        "这条河叫什么名字？",
        "请帮我取消订阅。",
    ),
}
#: So many generic questions outweigh what a small knowledge base says of its centre.
_PRIOR = 20.0
#: Points that are compared with all others to learn how near a miss can be.
_SAMPLED = 600


def unit(rows: Vectors) -> Vectors:
    """Rows of length one."""
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-9), np.float32)


def generic_means(embedder: Embedder) -> Vectors:
    """The mean vector of each language's generic questions, in the order of LANGUAGES."""
    return np.stack(
        [embedder.embed_queries(GENERIC_QUESTIONS[language]).mean(0) for language in LANGUAGES]
    )


def centre(rows: Vectors, general: Vectors) -> Vectors:
    """The mean of vectors; the fewer there are, the nearer to what holds in general."""
    return np.asarray((rows.sum(0) + _PRIOR * general) / (len(rows) + _PRIOR), np.float32)


def language_number(text: str) -> int:
    """The place of a text's language in LANGUAGES."""
    return LANGUAGES.index(language_of(text))


def survey(arrays: Arrays, texts: Sequence[str], generic: Vectors) -> dict[str, NDArray[Any]]:
    """Everything about the space that ranking and evidence use.

    Args:
        texts: The text of each point.
        generic: One row a language: the mean vector of its generic questions.
    """
    languages = np.array([language_number(text) for text in texts], np.uint8)
    found: dict[str, NDArray[Any]] = {"generic": generic, "languages": languages}
    size = len(arrays.kinds)
    dimensions = generic.shape[1]
    shifted = np.zeros((len(texts), dimensions), np.float32)
    centroids = np.zeros((size, dimensions), np.float32)
    means = np.zeros((size, dimensions), np.float32)
    for place, kind in enumerate(KINDS):
        points = np.flatnonzero(arrays.kinds[arrays.owner] == place)
        if not len(points):
            continue
        own = _survey_kind(kind, arrays, points, languages[points], generic)
        white = own.pop("white")
        shifted[points] = unit(white)
        counts = np.bincount(arrays.owner[points], minlength=size)[:, None]
        np.add.at(means, arrays.owner[points], white)
        np.divide(means, counts, out=means, where=counts > 0)
        np.add.at(centroids, arrays.owner[points], shifted[points])
        found |= {f"{kind}_{name}": array for name, array in own.items()}
        found[f"{kind}_misses"] = _misses(kind, arrays, points, shifted)
    found["shifted"] = shifted.astype(np.float16)
    found["centroids"] = unit(centroids).astype(np.float16)
    found["means"] = means.astype(np.float16)
    return found


def placed(
    prepared: Mapping[str, NDArray[Any]],
    vectors: Vectors,
    languages: NDArray[np.uint8],
    owner: NDArray[np.int64],
    size: int,
) -> dict[str, NDArray[np.float16]]:
    """The rows of `survey` for more FAQ entries, in the space that it has found.

    Args:
        owner: Of each vector its entry, from 0; there are `size`.
    """
    white = (vectors - prepared["faq_asked"][languages]) @ prepared["faq_whiten"]
    shifted = unit(white)
    means = np.zeros((size, vectors.shape[1]), np.float32)
    centroids = np.zeros_like(means)
    np.add.at(means, owner, white)
    means /= np.maximum(np.bincount(owner, minlength=size), 1)[:, None]
    np.add.at(centroids, owner, shifted)
    return {
        "shifted": shifted.astype(np.float16),
        "centroids": unit(centroids).astype(np.float16),
        "means": means.astype(np.float16),
    }


def _survey_kind(
    kind: PassageKind,
    arrays: Arrays,
    points: NDArray[np.int64],
    languages: NDArray[np.uint8],
    generic: Vectors,
) -> dict[str, NDArray[Any]]:
    raw = arrays.vectors[points].astype(np.float32)
    centres = np.stack(
        [_centre(kind, raw, languages == number, generic[number]) for number in range(2)]
    )
    # A passage is no question: the question's side keeps the questions' centre.
    asked = centres if kind == "faq" else generic
    whiten = _whitening(kind, raw, arrays.owner[points])
    white = (raw - centres[languages]) @ whiten
    total = white.T @ white / len(white)
    background = np.linalg.inv(_shrunk(total, len(white)))
    return {
        "white": white,
        "asked": asked.astype(np.float32),
        "whiten": whiten,
        "background": background.astype(np.float32),
        "domain": unit(raw.mean(0) - generic),
    }


def _centre(
    kind: PassageKind, raw: Vectors, chosen: NDArray[np.bool_], general: Vectors
) -> Vectors:
    rows = raw[chosen]
    if kind == "document" and len(rows) > _PRIOR:
        return np.asarray(rows.mean(0), np.float32)
    prior = general if kind == "faq" or not len(rows) else raw.mean(0)
    return centre(rows, prior)


def _whitening(kind: PassageKind, raw: Vectors, owner: NDArray[np.int32]) -> Vectors:
    """Shrinks the directions in which variants of one entry differ (none: the identity)."""
    entries, group = np.unique(owner, return_inverse=True)
    freedom = len(raw) - len(entries)
    if kind != "faq" or freedom <= 0:
        return np.eye(raw.shape[1], dtype=np.float32)
    means = np.zeros((len(entries), raw.shape[1]), np.float32)
    np.add.at(means, group, raw)
    rest = raw - (means / np.bincount(group)[:, None])[group]
    values, basis = np.linalg.eigh(_shrunk(rest.T @ rest / freedom, freedom))
    return np.asarray((basis * values**-0.5) @ basis.T, np.float32)


def _shrunk(scatter: _Floats, freedom: int) -> _Floats:
    """A covariance of mean variance one, drawn to the identity the fewer samples it is from."""
    dimensions = len(scatter)
    keep = 0.5 * freedom / (freedom + dimensions)
    scaled = scatter / max(float(np.trace(scatter)) / dimensions, 1e-9)
    return np.asarray(keep * scaled + (1 - keep) * np.eye(dimensions))


def _misses(
    kind: PassageKind, arrays: Arrays, points: NDArray[np.int64], shifted: Vectors
) -> NDArray[np.float32]:
    """How near a point comes to others: mean and spread, three times.

    To its own entry, to the nearest other entry, and (as a plain cosine) to the nearest
    other entry. Documents have too few neighbours of their own to tell.
    """
    owner = arrays.owner[points]
    if kind == "document" or len(np.unique(owner)) < 2:
        return np.array([0.7, 0.15, 0.4, 0.15, 0.86, 0.02], np.float32)
    sample = np.random.default_rng(0).permutation(len(points))[:_SAMPLED]
    same = owner[sample][:, None] == owner[None, :]
    raw = arrays.vectors[points].astype(np.float32)
    plain = np.where(same, -1, raw[sample] @ raw.T).max(1)
    near = shifted[points][sample] @ shifted[points].T
    other = np.where(same, -1, near).max(1)
    near[np.arange(len(sample)), sample] = -1
    own = np.where(same, near, -1).max(1)
    own = own[own > -1]
    far = (other.mean(), other.std())
    # Entries with their question alone: somewhat nearer than the nearest miss is a hit.
    near_own = (own.mean(), own.std()) if len(own) >= 10 else (far[0] + 1.5 * far[1], far[1])
    pairs = [near_own, far, (plain.mean(), plain.std())]
    return np.array(pairs, np.float32).ravel()
