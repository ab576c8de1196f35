"""What is learned from cases: the lesson in one, and what many ask in vain; pure rules, no I/O."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from kfbot.conversation import HandoffReason, HistoryMessage
from kfbot.texts import small_talk, wants_person

#: Of a question and of an answer so many characters are kept.
LONGEST_QUESTION = 2000
LONGEST_ANSWER = 20_000
#: The bot was not asked, or could not look: nothing says that an answer is missing.
NO_GAP: tuple[HandoffReason, ...] = (
    "taken_by_agent", "reopened", "keyword", "angry", "error", "action_failed", "action_stuck",
)  # fmt: skip

_CLAUSE_END = re.compile(r"[\n.,;:!?~…。，、；：！？～]+")
# What agents say around an answer; each matches a whole clause.
_AROUND = re.compile(
    r"(?:just |give me )?(?:one|a) (?:moment|second|sec|minute)(?: please)?"
    r"|(?:please )?(?:hold on|bear with me|wait)(?: (?:for )?(?:a|one) (?:moment|second|minute))?"
    r"(?: please)?"
    r"|(?:let me|ill|i will|im going to) (?:just |quickly )?(?:check|look|see|find out"
    r"|have a look|take a look|look into it|be right with you|get back to you)"
    r"(?: (?:that|this|it|into it|into this|into that))?(?: up)?(?: for you)?(?: right now| now)?"
    r"|(?:how|what) (?:can|may) i (?:help|do)(?: for)?(?: you)?(?: with)?(?: today)?"
    r"|(?:is there |do you need )?anything else(?: (?:that )?i can (?:help|do).{0,20})?"
    r"|(?:many )?(?:thanks|thank you)(?: (?:so|very) much)? for (?:waiting|contacting.{0,20}"
    r"|your (?:patience|message|understanding)|reaching out.{0,12}|getting in touch)"
    r"|(?:im |i am )?(?:so |very )?sorry (?:for|about) (?:the (?:wait|delay)|keeping you waiting)"
    r"|have a (?:nice|good|great|lovely) (?:day|evening|weekend|one)(?: too)?"
    r"|my name is \S+(?: \S+)?|youre (?:very )?welcome|good (?:morning|afternoon|evening)"
)
_AROUND_ZH = re.compile(
    r"(?:好的?|嗯+)?(?:麻烦|烦请|请)?(?:您|你)?(?:先)?(?:稍等|稍候|等一下|等一等|等等)"
    r"(?:一下|片刻|一会儿?|几分钟)?(?:哦|哈|啊|呀)?"
    r"|(?:让)?我(?:这边)?(?:先|去|来|马上)*(?:帮|给|为)?(?:您|你)?(?:查|看|核实|确认|了解)(?:一下|下|看)"
    r"|(?:我是)?(?:人工)?客服.{0,6}|(?:很高兴)?为(?:您|你)服务"
    r"|请问(?:您|你)?(?:还)?有什么(?:其他|别的)?(?:问题)?(?:可以|能|需要)?帮?(?:到|助|您|你|的|吗)*"
    r"|(?:请问)?(?:您|你)?还有(?:其他|别的|什么)?(?:问题|需要)(?:吗|帮助)?"
    r"|(?:感谢|谢谢)(?:您|你)的?(?:咨询|来访|等待|耐心等待|理解|支持)"
    r"|(?:非常|十分)?(?:抱歉|不好意思|对不起)|(?:抱歉)?让?(?:您|你)?久等了?|祝(?:您|你).{1,10}"
)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a case teaches: a question, and what an agent answered."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unhelpful:
    """An answer of the bot's that a customer found not helpful."""

    turn_id: int
    text: str
    #: The document or entry that it was made from; "": nobody knows any more.
    document_id: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """A question that the bot left to a person, or answered in vain."""

    question: str
    conversation_id: int
    #: Tells customers apart.
    customer: str
    channel: str
    #: Where the best passage came from; "": nobody knows.
    knowledge_base: str = ""
    at: datetime
    answer: Unhelpful | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A question that has a proposal: open, or approved since."""

    proposal_id: int
    question: str
    #: None: it is open.
    approved_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Questions that mean the same; the first one stands for them."""

    questions: tuple[str, ...]
    #: The newest first.
    asked: tuple[Unanswered, ...]
    #: Of an open proposal for it.
    proposal_id: int | None = None

    @property
    def people(self) -> int:
        """How many different customers asked."""
        return len({one.customer for one in self.asked})

    @property
    def knowledge_base(self) -> str:
        """Where most of them would belong; "": nobody knows."""
        named = Counter(one.knowledge_base for one in self.asked if one.knowledge_base)
        return named.most_common(1)[0][0] if named else ""


def lesson(asked: str, said: Sequence[HistoryMessage]) -> Lesson | None:
    """The question of a case and the agent's answer to it; None if there is none of either.

    Args:
        asked: What the bot took for the question; "" where it was not asked.
        said: What customer and agent wrote to each other, oldest first; before the case only
            what the customer wrote.
    """
    answers = [
        place
        for place, message in enumerate(said)
        if message.role == "agent" and not says_nothing(message.text)
    ]
    if not answers:
        return None
    before = [one.text for one in reversed(said[: answers[0]]) if one.role == "customer"]
    question = next((text for text in (asked, *before) if is_question(text)), "")
    answer = "\n\n".join(said[place].text.strip() for place in answers)
    return Lesson(one_line(question), answer[:LONGEST_ANSWER]) if question else None


def is_question(text: str) -> bool:
    """True where a text says more than hello, or that a person is wanted."""
    has_words = any(character.isalnum() for character in text)
    return has_words and small_talk(text) is None and not wants_person(text)


def says_nothing(text: str) -> bool:
    """True where an agent's message is nothing but manners: "Hello, one moment please"."""
    clauses = (_plain(clause) for clause in _CLAUSE_END.split(text))
    return all(_is_manners(clause) for clause in clauses if clause)


def one_line(question: str) -> str:
    """A question as entries have it: without line breaks, and not endless."""
    return " ".join(question.split())[:LONGEST_QUESTION].rstrip()


def distinct(asked: Iterable[str]) -> list[str]:
    """The questions in their order, each once, whatever its case and spaces."""
    first: dict[str, str] = {}
    for question in asked:
        first.setdefault(meaning_key(question), question)
    return list(first.values())


def meaning_key(question: str) -> str:
    """The same for questions that differ in form alone."""
    return re.sub(r"\W+", "", unicodedata.normalize("NFKC", question)).casefold()


def grouped(
    asked: Sequence[Unanswered],
    known: Sequence[Known],
    alike: Iterable[Sequence[str]],
) -> list[Group]:
    """The groups that still want an answer, the most asked first.

    What was asked before an entry for it was approved is answered; what is asked since is not.

    Args:
        alike: Questions of `asked` and `known` that mean the same, the best one first.
    """
    by_key: defaultdict[str, list[Unanswered]] = defaultdict(list)
    known_by_key: defaultdict[str, list[Known]] = defaultdict(list)
    for one in asked:
        by_key[meaning_key(one.question)].append(one)
    for other in known:
        known_by_key[meaning_key(other.question)].append(other)
    groups = [
        _group(
            questions,
            [one for key in keys for one in by_key[key]],
            [one for key in keys for one in known_by_key[key]],
        )
        for questions in alike
        for keys in [[meaning_key(question) for question in questions]]
    ]
    kept = [group for group in groups if group is not None]
    return sorted(kept, key=lambda group: (-group.people, -group.asked[0].at.timestamp()))


def _group(
    questions: Sequence[str], asked: Sequence[Unanswered], known: Sequence[Known]
) -> Group | None:
    answered_at = max((one.approved_at for one in known if one.approved_at), default=None)
    still = [one for one in asked if answered_at is None or one.at > answered_at]
    if not still:
        return None
    left = {meaning_key(one.question) for one in still}
    return Group(
        questions=tuple(question for question in questions if meaning_key(question) in left),
        asked=tuple(sorted(still, key=lambda one: one.at, reverse=True)),
        proposal_id=next((one.proposal_id for one in known if not one.approved_at), None),
    )


def _is_manners(clause: str) -> bool:
    joined = clause.replace(" ", "")
    return (
        small_talk(clause) is not None
        or _AROUND.fullmatch(clause) is not None
        or _AROUND_ZH.fullmatch(joined) is not None
    )


def _plain(text: str) -> str:
    """Letters, digits and signs of a currency in lower case, with single spaces."""
    folded = unicodedata.normalize("NFKC", text).lower().replace("'", "").replace("’", "")
    return " ".join(re.sub(r"[^\w%$€£¥+-]+", " ", folded).split())
