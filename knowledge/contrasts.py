"""Words that turn a sentence into another claim: negations and opposites; zh and en."""

from __future__ import annotations

import re
from functools import cache

_NEGATION = re.compile(
    r"\b(?:not|no|never|none|nobody|nothing|neither|nor|without|cannot|unable|\w+n['’]t)\b"
    r"|不(?![仅但同过断久管锈])|没|沒|(?<!南)无(?![线论数锡])|無(?![線論數錫])"
    r"|未(?![来來])|非(?![洲常凡])|勿|并非",
    re.IGNORECASE,
)
#: Verbs and the like that say it without a negation.
_REFUSAL = re.compile(
    r"\b(?:fail(?:s|ed|ing|ure)?|refus\w*|den(?:y|ies|ied|ying)|reject\w*|lack\w*|prevent\w*"
    r"|avoid\w*|stop(?:s|ped|ping)?|exclud\w*|except|oppos\w*|forbid\w*|forbade|prohibit\w*"
    r"|ban(?:s|ned)?|ceas\w*|(?<!at )least|fewest|rarely|seldom|hardly|abandon\w*|ignor\w*"
    r"|disagree\w*|dislike\w*|unlike\w*)\b"
    r"|拒绝|拒絕|失败|失敗|禁止|避免|缺乏|缺少|反对|反對|停止|除了|以外|除外|否认|否認|取消|放弃|放棄",
    re.IGNORECASE,
)
_OPPOSITES = """
first last|latest earliest|most least|more less|more fewer|largest smallest|biggest smallest
highest lowest|best worst|before after|north south|northern southern|east west|eastern western
oldest youngest|oldest newest|longest shortest|early late|old new|increase decrease
increased decreased|gain lose|gained lost|win lose|won lost|begin end|began ended|start end
started stopped|larger smaller|higher lower|above below|allowed forbidden|accept reject
accepted rejected|always never|minimum maximum|inside outside|public private|positive negative
strong weak|stronger weaker|support oppose|supported opposed|join leave|joined left|rise fall
open closed|male female|good bad|high low|long short|large small|many few|same different
buy sell|cheap expensive|import export|rich poor|internal external|major minor|agree disagree
able unable|common uncommon|known unknown|build destroy|built destroyed|created destroyed
attack defend
最早 最晚|最大 最小|最高 最低|最多 最少|第一 最后|第一次 最后一次|首次 最后一次|之前 之后|以前 以后
开始 结束|增加 减少|上升 下降|成功 失败|支持 反对|加入 退出|北部 南部|东部 西部|父亲 母亲|儿子 女儿
成立 解散|建立 解散|出生 去世|同意 拒绝|允许 禁止|进口 出口|主要 次要|优点 缺点|正面 负面|公开 秘密
开放 关闭|接受 拒绝|喜欢 讨厌|相同 不同|新的 旧的|以上 以下|最长 最短|收入 支出|打开 关闭|购买 出售
"""
_WORD = re.compile(r"[a-z]+")


@cache
def opposites() -> dict[str, frozenset[str]]:
    """Words, and what each is the opposite of; Chinese in simplified characters."""
    found: dict[str, frozenset[str]] = {}
    for pair in _OPPOSITES.strip().replace("\n", "|").split("|"):
        one, other = pair.split()
        found[one] = found.get(one, frozenset()) | {other}
        found[other] = found.get(other, frozenset()) | {one}
    return found


def asks_for_what_is_not(question: str, sentence: str) -> bool:
    """Whether the question denies something and the sentence does not."""
    denied = _NEGATION.search(question) is not None
    refused = _REFUSAL.search(question) is not None
    if not denied and not refused:
        return False
    negated = _NEGATION.search(sentence) is not None
    if denied and not negated:
        return True
    return refused and not negated and _REFUSAL.search(sentence) is None


def says_the_opposite(question: str, passage: str) -> bool:
    """Whether the passage lacks a word of the question and has its opposite.

    Both in simplified characters.
    """
    question, passage = question.lower(), passage.lower()
    asked, said = set(_WORD.findall(question)), set(_WORD.findall(passage))

    def has(word: str, words: set[str], text: str) -> bool:
        return word in words if word.isascii() else word in text

    return any(
        has(word, asked, question)
        and not has(word, said, passage)
        and any(has(other, said, passage) for other in others)
        for word, others in opposites().items()
    )
