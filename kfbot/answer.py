"""From a question to an answer, choices or a handoff; nothing here is stored or sent."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from urllib.parse import urlsplit

from kfbot import confidence
from kfbot.chat_model import Usage
from kfbot.conversation import Choice, HandoffReason, HistoryMessage, Language, Turn
from kfbot.errors import ChatModelError, CompletionUnsupported, KnowledgeBaseUnavailable
from kfbot.grounding.rewriting import rewritten
from kfbot.grounding.writing import OnText, Writer, Written
from kfbot.knowledge_base import EVERYTHING, KnowledgeBase, Passage, Retrieval, Scope
from kfbot.knowledge_points import knowledge_points
from kfbot.language import language_of
from kfbot.messages import Citation
from kfbot.observability import tracing
from kfbot.templates import NO_SLOTS, Slots, asked, filled, hidden
from kfbot.texts import small_talk, texts, wants_person
from kfbot.understanding.correction import correction
from kfbot.understanding.follow_up import (
    LEANING_DIAL,
    LEANS_FROM,
    context,
    leaning,
)
from kfbot.understanding.looking_back import Attempt, looked_back
from kfbot.understanding.several_questions import decided_together

logger = logging.getLogger(__name__)

#: Longer questions are searched for by their beginning; the embedding reads no further.
SEARCHED_LENGTH = 2000
#: Passages that an agent is shown.
_SEEN = 3
#: Passages that an answer is written from, at most …
_WRITTEN_FROM = 6
#: … and so much behind the first, by rank score: of answered questions whose passage is known
#: none lay further behind, and there are 1.4 (zh) to 3.5 (en) of them.
_NEAR = 0.1


@dataclass(frozen=True, slots=True)
class Answering:
    """What questions are answered with; the same for all of them."""

    knowledge: KnowledgeBase
    #: The dial: so many of 100 answers may be wrong.
    max_wrong_percent: float = 5.0
    #: Puts what documents say into an answer, and a follow-up into a question of its own; None:
    #: documents are quoted.
    writer: Writer | None = None
    #: What answers may leave open; see `kfbot.templates`.
    slots: Slots = field(default_factory=lambda: NO_SLOTS)
    #: Documents are quoted all the same: the writer only makes follow-ups standalone.
    quotes: bool = False

    @property
    def author(self) -> Writer | None:
        """What puts documents into words; None: they are quoted."""
        return None if self.quotes else self.writer


async def answer_question(
    question: str,
    answering: Answering,
    *,
    history: Sequence[HistoryMessage] = (),
    scope: Scope = EVERYTHING,
    channel: str = "",
    on_text: OnText | None = None,
    last_question: str | None = None,
) -> Turn:
    """Answer from the knowledge base, offer likely questions, or ask for a person.

    Args:
        scope: What may be used.
        channel: Whose budget of tokens it counts for, if a chat model is asked.
        on_text: Told what is written, as it grows.
        last_question: What the last turn of the conversation was about, if there was one.

    Returns:
        A turn with a decision; never an exception of the knowledge base: while it cannot be
        asked the decision is handoff with reason "error".
    """
    started = time.perf_counter()
    put = asked(question, history, answering.slots, last_question)
    question, history = _without_private(put.question, put.history, answering.slots)
    words = " ".join(question.split())
    language, usage = _language(words, history), Usage()
    rewrite = _rewriting(answering.writer, language, usage, channel)
    decide = partial(_decide, answering, language=language, scope=scope, rewrite=rewrite)
    try:
        with tracing.span("decide") as span:
            alone = partial(decide, rewrite=None)
            turn = await decided_together(question, history, decide, alone, language)
            span.note(decision=turn.decision, reason=turn.reason, confidence=turn.confidence)
    except KnowledgeBaseUnavailable as error:
        logger.warning("no search: %s", error, extra={"event": "knowledge_unavailable"})
        reason: HandoffReason = "asked_for_person" if wants_person(words) else "error"
        turn = _handed_off(words, language, None, 0.0, reason)
    else:
        if answering.author is not None and turn.decision == "answer":
            turn = await written(
                answering.author, turn, turn.question.rsplit("\n", 1)[-1], language, usage,
                history=history, channel=channel, on_text=on_text,
            )  # fmt: skip
    turn = filled(turn, put.words, answering.slots, language)
    timings = {**turn.timings_ms, "total": (time.perf_counter() - started) * 1000}
    rounded = {stage: round(ms, 2) for stage, ms in timings.items()}
    return replace(turn, timings_ms=rounded, usage={**usage.as_data(), **turn.usage})


def _without_private(
    question: str, history: Sequence[HistoryMessage], slots: Slots
) -> tuple[str, Sequence[HistoryMessage]]:
    """What is searched for, kept, and seen by a chat model."""
    said = tuple(replace(one, text=hidden(one.text, slots)) for one in history)
    return hidden(question, slots), said


#: A question and what was said before it → the question made standalone, or None.
_Rewriting = Callable[[str, Sequence[HistoryMessage]], Awaitable[str | None]]


def _rewriting(
    writer: Writer | None, language: Language, usage: Usage, channel: str
) -> _Rewriting | None:
    if writer is None:
        return None
    return partial(rewritten, writer.model, language=language, usage=usage, channel=channel)


async def _decide(
    answering: Answering,
    question: str,
    history: Sequence[HistoryMessage],
    *,
    language: Language,
    scope: Scope,
    rewrite: _Rewriting | None,
) -> Turn:
    if not any(character.isalnum() for character in question):
        return _smalltalk(question, texts(language).empty, Retrieval(query=question), 0.0)
    fix = correction(question, history)
    words = fix.meant if fix else question
    search = partial(_search, answering.knowledge, scope)
    found = await search(words)
    earlier = context(history, fix)
    likely = 1.0 if fix else leaning(question, _leading(found)) if earlier else 0.0
    leans = likely >= LEANS_FROM
    # What was meant may be taken wrong as well.
    dial = answering.max_wrong_percent * (LEANING_DIAL if leans else 1)
    assessment = confidence.assess(found, dial)
    if wants_person(question):
        return _handed_off(question, language, found, assessment.probability, "asked_for_person")
    if assessment.decision != "answer" and (kind := small_talk(question)):
        says = texts(language).small_talk[kind]
        return _smalltalk(question, says, found, assessment.probability)
    best = Attempt(question, found, assessment)
    if earlier and (leans or assessment.decision == "handoff"):
        best = await looked_back(
            best,
            words,
            likely=likely,
            earlier=earlier,
            history=history,
            search=search,
            max_wrong_percent=answering.max_wrong_percent,
            # A correction says itself what was meant.
            rewrite=partial(rewrite, question, history) if rewrite and not fix else None,
        )
    return _decided(best.question, language, best.found, best.assessment)


def _leading(found: Retrieval) -> Mapping[str, float]:
    """The evidence on the first passage."""
    return found.evidence.get(found.passages[0].kind, {}) if found.passages else {}


def _decided(
    question: str, language: Language, found: Retrieval, assessment: confidence.Assessment
) -> Turn:
    if assessment.decision == "answer":
        return answered(question, found, assessment.probability)
    if assessment.decision == "clarify":
        return _clarified(question, language, found, assessment)
    return _handed_off(question, language, found, assessment.probability, "unsure")


async def _search(
    knowledge: KnowledgeBase,
    scope: Scope,
    question: str,
    earlier: Sequence[str] = (),
    **how: bool,
) -> Retrieval:
    searched = question[:SEARCHED_LENGTH]
    with tracing.span("search") as span:
        found = await knowledge.search(
            searched, names=scope.names, where=scope.where, earlier=earlier, **how
        )
        span.note(passages=len(found.passages))
    return found


def _language(question: str, history: Sequence[HistoryMessage]) -> Language:
    spoken: Language = "en"
    for message in history:
        if message.role == "customer":
            spoken = language_of(message.text, spoken)
    return language_of(question, spoken)


def cite(passage: Passage, probability: float, language: Language) -> Citation:
    """The citation of a passage; its page is named in a language, and opened by a PDF's link."""
    page = texts(language).page.format(page=passage.page) if passage.page else ""
    is_pdf = urlsplit(passage.url).path.lower().endswith(".pdf")
    return Citation(
        id=passage.document_id,
        title=passage.title or passage.question,
        heading=" · ".join(part for part in (passage.heading, page) if part),
        url=f"{passage.url}#page={passage.page}" if page and is_pdf else passage.url,
        quote=passage.quote or passage.text,
        score=probability,
    )


def label(passage: Passage) -> str:
    """What a passage is called as a choice."""
    if passage.question:
        return passage.question
    return " › ".join(part for part in (passage.title, passage.heading) if part)


def answered(question: str, found: Retrieval, probability: float) -> Turn:
    """The turn that answers with the best passage, and with what else was asked for."""
    points = knowledge_points(question, found.passages)
    near = (one for one in found.passages if one.score >= points[0].score - _NEAR)
    language = language_of(question)
    return Turn(
        question=question,
        decision="answer",
        confidence=probability,
        text="\n\n".join(point.quote or point.text for point in points),
        citations=tuple(cite(point, probability, language) for point in points),
        context="\n\n".join(point.text for point in points),
        passages=(*points, *(one for one in near if one not in points))[:_WRITTEN_FROM],
        ranked=_ranked(found),
        evidence=found.evidence,
        timings_ms=found.timings_ms,
    )


async def written(
    writer: Writer,
    turn: Turn,
    question: str,
    language: Language,
    usage: Usage,
    *,
    history: Sequence[HistoryMessage] = (),
    channel: str = "",
    on_text: OnText | None = None,
) -> Turn:
    """An answer from documents in the words of a chat model; as it was, where that fails.

    What an FAQ entry says is never put into other words. `usage` of the turn says under "outcome"
    what came of it (written, refused, unsupported, unavailable), and under "dropped" what the
    passages of the sentences lacked that were taken out; the tokens are added to `usage`.
    """
    if any(passage.kind == "faq" for passage in turn.passages[: len(turn.citations)]):
        return turn
    try:
        answer = await writer.write(
            question,
            turn.passages,
            language=language,
            usage=usage,
            history=history,
            channel=channel,
            on_text=on_text,
        )
    except CompletionUnsupported as error:
        logger.warning("quoted: %s", error, extra={"event": "answer_unsupported"})
        return _marked(turn, "unsupported", error.dropped)
    except ChatModelError as error:
        logger.warning("quoted: %s", error, extra={"event": "chat_model_failed"})
        return _marked(turn, "unavailable")
    if answer is None:
        return _marked(_refused(turn, language), "refused")
    return _marked(_cited(turn, answer, language), "written", answer.dropped)


def _marked(turn: Turn, outcome: str, dropped: Sequence[str] = ()) -> Turn:
    taken_out = {"dropped": list(dropped)} if dropped else {}
    return replace(turn, usage={"outcome": outcome, **taken_out})


def _refused(turn: Turn, language: Language) -> Turn:
    """A person gets the question, with what the answer would have been made of."""
    return replace(
        turn,
        decision="handoff",
        reason="model_refused",
        text=texts(language).handoff,
        citations=(),
        seen=tuple((one.knowledge_base, cite(one, one.score, language)) for one in turn.passages)[
            :_SEEN
        ],
    )


def _cited(turn: Turn, answer: Written, language: Language) -> Turn:
    told = tuple((one.knowledge_base, one.document_id) for one in answer.passages)
    return replace(
        turn,
        text=answer.text,
        citations=tuple(cite(one, turn.confidence, language) for one in answer.passages),
        context="\n\n".join(one.text for one in answer.passages),
        ranked=tuple(dict.fromkeys((*told, *turn.ranked)))[:10],
    )


def _clarified(
    question: str, language: Language, found: Retrieval, assessment: confidence.Assessment
) -> Turn:
    return Turn(
        question=question,
        decision="clarify",
        confidence=assessment.probability,
        text=texts(language).clarify,
        choices=tuple(
            Choice(passage.document_id, label(passage), passage.knowledge_base)
            for passage in assessment.choices
        ),
        context="\n\n".join(passage.text for passage in assessment.choices),
        ranked=_ranked(found),
        evidence=found.evidence,
        timings_ms=found.timings_ms,
    )


def _handed_off(
    question: str,
    language: Language,
    found: Retrieval | None,
    probability: float,
    reason: HandoffReason,
) -> Turn:
    says = texts(language)
    by_reason = {"asked_for_person": says.handoff_asked, "error": says.handoff_error}
    passages = found.passages if found else ()
    return Turn(
        question=question,
        decision="handoff",
        confidence=probability,
        text=by_reason.get(reason, says.handoff),
        context=(passages[0].quote or passages[0].text) if passages else "",
        reason=reason,
        seen=tuple(
            (passage.knowledge_base, cite(passage, passage.score, language))
            for passage in passages[:_SEEN]
        ),
        ranked=_ranked(found) if found else (),
        evidence=found.evidence if found else {},
        timings_ms=found.timings_ms if found else {},
    )


def _smalltalk(question: str, text: str, found: Retrieval, probability: float) -> Turn:
    return Turn(
        question=question,
        decision="smalltalk",
        confidence=probability,
        text=text,
        ranked=_ranked(found),
        evidence=found.evidence,
        timings_ms=found.timings_ms,
    )


def _ranked(found: Retrieval) -> tuple[tuple[str, str], ...]:
    ranked = [
        (passage.knowledge_base, document_id)
        for passage in found.passages
        for document_id in (passage.document_id, *passage.duplicates)
    ]
    return tuple(ranked[:10])
