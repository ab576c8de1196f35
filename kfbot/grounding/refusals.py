"""How a chat model says that its passages do not answer: the form for it, and other words."""

from __future__ import annotations

import re

#: In any case with its line, in capitals without; as words only where they are all that is said.
_FORM = re.compile(
    r"(?i:no[_＿]answer)|\bNO[ -]?ANSWER\b|^\W*(?i:no answer)\W*$|^\W*无(?:法)?(?:答案|回答)\W*$"
)
_SOURCE = (
    r"(?:passages?|documents?|documentation|texts?|contexts?|sources?|excerpts?|materials?"
    r"|(?:provided|available|given) (?:information|content|details))"
)
_NOT = (
    r"(?:(?:do|does|did|is|are|was|were|can|could)(?: not|n['’]t)|cannot"
    r"|contains? no|ha(?:s|ve) no)"
)
_SAYS_NOTHING = re.compile(
    rf"\b{_SOURCE}\b.{{0,30}}\b(?:{_NOT}|fails? to)\b"
    rf"|\bnot (?:\w+ ){{0,2}}(?:mentioned|stated|specified|covered|provided|included|found|given"
    r"|described|answered)\b.{0,20}\b(?:in|by) (?:the|these|those|any|our|my)\b"
    rf".{{0,25}}{_SOURCE}"
    r"|\b(?:i|we)(?: do(?: not|n['’]t)|['’]m not| am not| are not| can(?:not|['’]t)"
    r"| could(?: not|n['’]t)| was unable| were unable|['’]m unable| am unable| are unable)\b.{0,25}"
    r"\b(?:have|know|find|found|answer|sure|able|access|information|determine|say|tell)\b"
    r"|\bno (?:relevant |specific |further )?(?:information|mention|details)\b"
    r"|\b(?:there is|there['’]s) (?:no|not enough|insufficient) (?:relevant )?information\b"
    r"|\b(?:unable|not able) to (?:answer|find|help|provide|determine)\b",
    re.IGNORECASE,
)
_SAYS_NOTHING_ZH = re.compile(
    r"(?:根据|从|在)?(?:已知|所给|现有|提供|给定|以上|上述|这些|当前)?的?"
    r"(?:信息|段落|资料|文档|内容|材料|上下文|知识库)(?:中|里|内)?.{0,8}"
    r"(?:没有|未能?|无法|不能|并未|并没有|不足以|找不到|不包含|没)"
    r"|(?:我|我们)(?:暂时|目前|也|还)?(?:无法|不能|没有?(?:办法)?|不)(?:.{0,4})"
    r"(?:回答|解答|找到|查到|提供|确定|知道|清楚|得知|相关信息)"
    r"|(?:无法|不能)(?:回答|解答|得知|确定|判断)|(?:没有|未|无)(?:找到|查到|提及|提到|相关)(?:.{0,6})"
    r"(?:信息|内容|资料|说明|答案|规定)|(?:资料|文档|段落)(?:中|里)?(?:未|没有|并未)(?:说明|提及|提到|涉及)"
)


def is_refusal(sentence: str) -> bool:
    """True for the form that says so, whatever stands around it."""
    return _FORM.search(sentence) is not None


def is_apology(sentence: str) -> bool:
    """True for words that say the same; a document may say them too, of something else."""
    return bool(_SAYS_NOTHING.search(sentence) or _SAYS_NOTHING_ZH.search(sentence))
