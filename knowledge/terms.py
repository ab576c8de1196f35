"""The words of a text as the index counts them: Chinese and English, for BM25 and for quotes."""

from __future__ import annotations

import re
import threading
import unicodedata
import zlib
from collections import Counter
from collections.abc import Mapping
from functools import cache, lru_cache
from itertools import pairwise

import opencc
import rjieba
import snowballstemmer

#: Raise it when the same text gives other terms: stored chunks are then counted again.
VERSION = 4
#: How soon a repeated term stops to count, and how much long chunks are held back (BM25).
K1 = 0.9
B = 0.4

# Kana and hangul are cut like Han characters: one at a time where the dictionary knows none.
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af"
_RUN = re.compile(rf"(?P<cjk>[{_CJK}]+)|(?P<word>[^\W{_CJK}]+)")
_ELISION = re.compile(r"(?<=[a-z])['’](?:s|m|d|t|re|ve|ll)\b")

#: Words that nearly every question has; they say nothing about what is asked.
_STOP_WORDS = """
a an the and or but if of at by for with about to from in on is are was were be been being
am do does did doing have has had having i me my we us our you your he him his she her it
its they them their this that these those what which who whom whose when where why how can
could will would should shall may might must so as than then there here also just any some
的 了 是 在 吗 呢 啊 吧 我 你 您 他 她 它 们 我们 你们 他们 这 那 这个 那个 哪 哪个 哪些
什么 怎么 怎样 如何 为什么 为何 谁 和 与 及 或 也 都 就 有 被 把 对 从 到 于 而 之 以 为
其 此 该 请 问 请问 一个 可以 能 会 要 么 着 过 得 地 是否
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


# What Taiwan and Hong Kong call by another word, in simplified characters, and what the mainland
# calls it. OpenCC's own list goes by mainland words too: of 程序 it makes 进程, of 文件 文档.
# Left out are words that also stand inside others: 单车 in 订单车辆, 机车 in 司机车辆.
_REGIONAL = """
软体 软件 硬体 硬件 韧体 固件 网路 网络 网际网路 互联网 资料库 数据库 伺服器 服务器 印表机 打印机
滑鼠 鼠标 萤幕 屏幕 触控萤幕 触摸屏 硬碟 硬盘 随身碟 优盘 光碟 光盘 记忆体 内存 解析度 分辨率
简讯 短信 讯息 消息 行动电话 手机 行动支付 移动支付 行动电源 充电宝 传输线 数据线 蓝芽 蓝牙
使用者 用户 帐号 账号 帐户 账户 帐单 账单 客服专线 客服热线 折价券 优惠券 抵用券 优惠券
提款卡 借记卡 宅配 快递 计程车 出租车 脚踏车 自行车 冷气机 空调 雪柜 冰箱 洗面乳 洗面奶 部落格 博客
"""
_PAIRS = _REGIONAL.split()
_MAINLAND = dict(zip(_PAIRS[::2], _PAIRS[1::2], strict=True))
_REGIONAL_WORD = re.compile(
    "(?:" + "|".join(sorted(_MAINLAND, key=len, reverse=True)) + ")(?!动物|由|径)"
)
_KANA = re.compile("[\u3040-\u30ff]")


@cache
def _traditional() -> opencc.OpenCC:
    # Thread-safe: it holds dictionaries and no state.
    return opencc.OpenCC("t2s")


def simplify(text: str) -> str:
    """The text in simplified characters: to compare and to embed, never to show.

    The model knows simplified Chinese better than traditional, and a question and a passage in
    one script better than in two. Japanese, which has characters of both, stays.
    """
    if text.isascii() or _KANA.search(text):
        return text
    simplified: str = _traditional().convert(text)
    return simplified


class _Stemmers(threading.local):
    """One stemmer a thread: it keeps the word that it works on."""

    def __init__(self) -> None:
        self.english = snowballstemmer.stemmer("english")


_stemmers = _Stemmers()


@lru_cache(maxsize=65_536)
def _stem(word: str) -> str:
    # Part numbers and names with digits are asked for as they are written.
    if len(word) <= 3 or not word.isascii() or not word.isalpha():
        return word
    stem: str = _stemmers.english.stemWord(word)
    return stem


def tokenise(text: str) -> list[str]:
    """The terms of a text, in order and with repeats.

    Width and case are folded, Chinese is simplified, words of Taiwan and Hong Kong are put in
    those of the mainland, Chinese is cut as for a search engine (long words and the
    words inside them), English is stemmed; punctuation and function words are left out.
    """
    folded = _ELISION.sub("", unicodedata.normalize("NFKC", text).lower())
    # Japanese as well: a question of two characters does not say that it is.
    folded = folded if folded.isascii() else _traditional().convert(folded)
    folded = _REGIONAL_WORD.sub(lambda match: _MAINLAND[match[0]], folded)
    terms: list[str] = []
    for run in _RUN.finditer(folded):
        if run["word"] is not None:
            if run["word"] not in STOP_WORDS:
                terms.append(_stem(run["word"]))
        else:
            terms += _chinese(run["cjk"])
    return terms


def _chinese(run: str) -> list[str]:
    """Words of the dictionary; what it does not know (names, brands) as pairs of characters.

    Guessed words would be another guess in every sentence, and never be found again.
    """
    terms: list[str] = []
    single = ""
    for word in [*rjieba.cut_for_search(run, False), ""]:
        if len(word) == 1 and word not in STOP_WORDS:
            single += word
            continue
        terms += [single] if len(single) == 1 else map("".join, pairwise(single))
        single = ""
        if word and word not in STOP_WORDS:
            terms.append(word)
    return terms


def counts(text: str) -> dict[str, int]:
    """How often each term occurs in a text."""
    return dict(Counter(tokenise(text)))


def term_id(term: str) -> int:
    """The number that stands for a term in the index: 32 bits, the same on every machine."""
    return zlib.crc32(term.encode())


def weights(
    terms: Mapping[str, int], average_length: float, *, k1: float = K1, b: float = B
) -> dict[int, float]:
    """A chunk's side of BM25, by term number; the index multiplies it by the term's IDF."""
    length = sum(terms.values())
    norm = k1 * (1 - b + b * length / max(average_length, 1.0))
    weighed: dict[int, float] = {}
    for term, count in terms.items():
        # Two terms may share a number, about one pair in 100,000 terms; the index takes one.
        number = term_id(term)
        weighed[number] = max(weighed.get(number, 0.0), count * (k1 + 1) / (count + norm))
    return weighed
