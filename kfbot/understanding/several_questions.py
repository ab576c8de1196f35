"""Several questions in one message: told apart, and answered together."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from textwrap import shorten

from kfbot.conversation import HistoryMessage, Language, Turn
from kfbot.knowledge_base import Passage
from kfbot.markup import plain
from kfbot.texts import texts

#: A question and what was said before it → the turn that it comes to.
Decide = Callable[[str, Sequence[HistoryMessage]], Awaitable[Turn]]
#: Of more questions than this the last ones stay together.
MOST_QUESTIONS = 4
#: A longer message is a story: it stays whole.
LONGEST = 1000
#: So far on both sides of a possible turn it is looked whether something is asked.
_LOOKED_AT = 120
#: Fewer characters with a question mark alone ("Duomo?") lead up to a question.
SHORTEST_QUESTION = 8
#: Of a question that a person will answer so many characters are repeated.
QUOTED_LENGTH = 200

# No stop stands behind an abbreviation.
_SENTENCE = re.compile(r"(?:[^?？!！。；;\n.]|\.(?!\s|$)|(?<!\w{4})\.)+[?？!！。；;.\n]*\s*")
_OPENS = (
    r"(?:how|what|whats|what's|when|where|which|who|whose|why"
    r"|can|could|do|does|did|is|are|am|will|would|may|should)\b"
)
_ASKS_IN_ENGLISH = re.compile(
    r"^\W*(?:(?:and|or|also|so|but|then|please|hi|hello|second|secondly|finally|next)\b\W*)*"
    rf"{_OPENS}"
    r"|\b(?:know|ask|wonder(?:ing)?|tell me|explain|check|sure)\b.{0,30}"
    rf"\b(?:{_OPENS}|if\b|whether\b)",
    re.IGNORECASE,
)
_ASKS_IN_CHINESE = re.compile(
    r"吗\s*[?？]?\s*$|怎[么样]|什么|啥|哪|多少|多久|多长|多大|几[个天时点号种年月小]|如何|为何|为啥|谁"
    r"|能不能|可不可以|可以不|是不是|有没有|会不会|要不要|是否|能否|可否|需不需要"
)
#: Asks nothing of its own.
_TAG = re.compile(
    r"(?:是|真的|对|好|行|可以|这样)(?:吗|么|吧)|嗯*呢?"
    r"|(?:oh )?(?:really|right|what|wtf|ok(?:ay)?|who knew)",
    re.IGNORECASE,
)
#: Not the time that is asked for, but when it happens.
_SETS_THE_SCENE = re.compile(
    r"^\W*(?:when|where|once)\b(?! (?:is|are|was|were|do|does|did|will|would|can|could|should)\b)",
    re.IGNORECASE,
)
#: Says of a question only that it is one more.
_JOINS = re.compile(r"^(?:另外|还有|以及|并且)[，,\s]*(?=.)")
#: Where a sentence may turn to a second question: the words behind begin with one.
_TURN = re.compile(
    r"\s*[,;，；](?!\s*which\b)\s*(?:and\s+|also\s+|还有|另外|以及|并且)?"
    rf"|(?<!\bif)\s+and\s+(?:also\s+)?(?={_OPENS})"
    r"|(?:还有|另外|以及)",
    re.IGNORECASE,
)


def questions_in(text: str) -> tuple[str, ...]:
    """The questions of a message in their order, each with the statements before it.

    What follows the last question belongs to it. A message with one question, or none, is
    returned whole.
    """
    if len(text) > LONGEST:
        return (text,)
    lines = (" ".join(line.split()) for line in text.splitlines())
    pieces = [piece for line in lines for piece in _clauses(line)]
    questions: list[str] = []
    lead = ""
    for piece in pieces:
        lead = f"{lead} {piece}" if lead else piece
        if _asks(piece):
            questions.append(lead)
            lead = ""
    if len(questions) < 2:
        return (text,)
    if lead:
        questions[-1] += f" {lead}"
    first, rest = questions[: MOST_QUESTIONS - 1], questions[MOST_QUESTIONS - 1 :]
    return (*first, " ".join(rest)) if rest else tuple(first)


def asks(text: str) -> bool:
    """True where something is asked anywhere in a text."""
    return any(_asks(piece) for line in text[:LONGEST].splitlines() for piece in _clauses(line))


async def decided_together(
    message: str,
    history: Sequence[HistoryMessage],
    leaning: Decide,
    alone: Decide,
    language: Language,
) -> Turn:
    """The turn of a message, whether it asks one thing or several.

    Args:
        leaning: Decides on what may lean on the history by more than its words; asked once.
        alone: Decides on what does not.
    """
    words, parts = " ".join(message.split()), questions_in(message)
    if len(parts) < 2:
        return await leaning(words, history)
    whole = await alone(words, history)
    if whole.reason == "asked_for_person":
        return whole
    each: list[Turn] = []
    for part in parts:
        # Of several questions only the first leans on what came before the message.
        each.append(await (alone if each else leaning)(part, history))
        # The next one may lean on it.
        history = (*history, HistoryMessage("customer", part))
    return answered_together(whole, each, language)


def answered_together(whole: Turn, parts: Sequence[Turn], language: Language) -> Turn:
    """One turn for a message with several questions.

    Answers that name the same document are given once. Where only some of the questions can be
    answered, that is done, and a person is asked for the rest: none is passed over.

    Args:
        whole: What the message as one question comes to.
        parts: What each of its questions comes to, in their order.
    """
    answers: dict[tuple[str, str], Turn] = {}
    for part in parts:
        if part.decision == "answer":
            answers.setdefault(part.ranked[0], part)
    unsure = [part for part in parts if part.decision in ("clarify", "handoff")]
    given = list(answers.values())
    if whole.decision == "answer" and len(given) < 2:
        # The questions are sides of one, but for those that lead elsewhere.
        told = _told(whole)
        unsure = [part for part in unsure if not part.ranked or part.ranked[0] not in told]
        if not unsure:
            return whole
        given = given or [whole]
    if not given:
        return whole
    firsts = (turn.ranked[0] for turn in given)
    merged = replace(
        given[0],
        question=whole.question,
        text="\n\n".join(dict.fromkeys(turn.text for turn in given)),
        citations=tuple(citation for turn in given for citation in turn.citations),
        passages=_passages(given),
        context="\n\n".join(turn.context for turn in given),
        ranked=tuple(dict.fromkeys((*firsts, *given[0].ranked, *whole.ranked)))[:10],
    )
    return _with_rest(merged, unsure, language) if unsure else merged


def _passages(given: Sequence[Turn]) -> tuple[Passage, ...]:
    """What all of them were made of, then what else they may be written from."""
    made = (passage for turn in given for passage in turn.passages[: len(turn.citations)])
    more = (passage for turn in given for passage in turn.passages[len(turn.citations) :])
    # A passage of two answers is cited twice, and stands twice among the first.
    return (*made, *more)


def _told(answer: Turn) -> set[tuple[str, str]]:
    """The documents that an answer was made of."""
    cited = {citation.id for citation in answer.citations}
    return {answer.ranked[0], *(one for one in answer.ranked if one[1] in cited)}


def _with_rest(answer: Turn, unsure: Sequence[Turn], language: Language) -> Turn:
    """The answer, behind it the questions that a person gets."""
    asked = " / ".join(
        shorten(part.question.rsplit("\n", 1)[-1], QUOTED_LENGTH, placeholder="…")
        for part in unsure
    )
    # Said for all who read along, a link would be the bot's.
    rest = texts(language).handoff_rest.format(question=plain(asked))
    return replace(answer, decision="handoff", reason="unsure", text=f"{answer.text}\n\n{rest}")


def _clauses(line: str) -> list[str]:
    """The sentences of a line; one that asks twice, in its parts."""
    found = []
    for sentence in _SENTENCE.findall(line):
        start = 0
        for turn in _TURN.finditer(sentence):
            before, after = sentence[start : turn.start()], sentence[turn.end() :]
            if _asks_in_words(before[:_LOOKED_AT]) and _asks_in_words(after[:_LOOKED_AT]):
                found.append(before.strip())
                start = turn.end()
        found.append(sentence[start:].strip())
    return [_JOINS.sub("", piece) for piece in found if piece]


def _asks(piece: str) -> bool:
    words = re.sub(r"^\W+|\W+$", "", piece)
    if not words or _TAG.fullmatch(words):
        return False
    is_scrap = len(words) < SHORTEST_QUESTION
    return (piece.rstrip().endswith(("?", "？")) and not is_scrap) or _asks_in_words(piece)


def _asks_in_words(piece: str) -> bool:
    """True where no question mark is needed to see that something is asked."""
    if _SETS_THE_SCENE.match(piece):
        return False
    return bool(_ASKS_IN_ENGLISH.search(piece) or _ASKS_IN_CHINESE.search(piece))
