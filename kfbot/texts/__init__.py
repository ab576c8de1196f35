"""What the bot says of its own, in each language, and what it recognises as small talk."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

from kfbot.conversation import Language

#: Longer messages are more than small talk or a wish for a person.
LONGEST_PHRASE = 80

_RUN = re.compile(r"(.)\1{2,}")

SmallTalk = Literal["greeting", "thanks", "goodbye", "who_are_you", "how_are_you"]


@dataclass(frozen=True, slots=True)
class Texts:
    """The bot's own sentences in one language."""

    handoff: str
    handoff_asked: str
    handoff_error: str
    #: With "{question}" in the place of what a person will answer.
    handoff_rest: str
    clarify: str
    none_of_these: str
    handback: str
    resolved: str
    helpful: str
    not_helpful: str
    person: str
    thanks_for_feedback: str
    sorry_not_helpful: str
    expired: str
    empty: str
    #: To a voice message, a picture, a place …
    only_text: str
    source: str
    #: With "{page}" in the place of the number.
    page: str
    #: To who writes more in a minute than is answered.
    too_many: str
    chat_title: str
    chat_greeting: str
    #: Replies to small talk.
    small_talk: dict[str, str]


@dataclass(frozen=True, slots=True)
class WaitingTexts:
    """What customers are told while a person is awaited; words in braces are filled in."""

    #: First sentences, where nobody is there now.
    unsure: str
    error: str
    #: With "{when}", a day and a time; and where nobody knows when.
    closed: str
    closed_for_now: str
    #: To what else the customer writes meanwhile, and the bot cannot answer.
    noted: str
    notice: str
    #: With "{before}", the number of customers who have waited longer.
    place: str
    is_next: str
    gave_up: str
    #: Under an answer that is given again.
    repeated: str
    #: A person is got because the bot did not help.
    not_helped: str
    #: With "{time}"; `day` also with "{weekday}", "{day}" and "{month}".
    today: str
    tomorrow: str
    day: str
    #: With "{time}" and "{zone}".
    time: str
    weekdays: tuple[str, ...]
    months: tuple[str, ...]
    #: What people call time zones; others are written as "UTC+8".
    zones: dict[str, str]


@dataclass(frozen=True, slots=True)
class CommandTexts:
    """What the bot says to commands in one language; words in braces are filled in."""

    #: To customers.
    help: str
    refused: str
    failed: str
    #: To admins.
    admin_help: str
    paused: str
    resumed: str
    with_person: str
    with_bot: str
    status: str
    status_empty: str
    never: str
    unreadable: str
    found: str
    found_nothing: str
    search_fails: str
    search_usage: str
    reload_began: str
    reload_unknown: str
    reload_done: str
    reload_failed: str
    reload_broken_off: str
    add_done: str
    add_replaced: str
    add_usage: str
    add_which: str
    add_too_long: str
    add_rejected: str
    remove_done: str
    remove_unknown: str
    remove_usage: str
    #: Of either, with "{reason}".
    change_fails: str
    stats: str
    stats_model: str
    stats_handoffs: str
    stats_partial: str
    stats_usage: str
    why: str
    why_nothing: str
    #: By what came of what a chat model wrote.
    why_model: dict[str, str]
    #: With "{count}" and "{reasons}".
    why_dropped: str
    #: Names of what the passage of a sentence lacked.
    why_lacked: dict[str, str]
    #: With "{name}", "{slots}", "{came}", "{status}" and "{fields}".
    why_action: str
    #: With "{name}" and "{slots}", by who thought of it; what follows the account of an action.
    why_offered: dict[str, str]
    why_action_by: dict[str, str]
    why_signals: str
    why_reranker: str
    why_reranker_only_orders: str
    why_threshold: str
    why_passages: str
    #: Names of decisions and of reasons for a handoff.
    names: dict[str, str]
    #: What the signals of `kfbot.confidence` mean, by their names there.
    signals: dict[str, str]


@dataclass(frozen=True, slots=True)
class ThreadTexts:
    """What the bot says to agents in the thread of a case; words in braces are filled in."""

    #: Titles of the thread, by who has the case.
    title_waiting: str
    title_agent: str
    title_closed: str
    customer: str
    bot: str
    agent: str
    #: Above the transcript, when the thread begins.
    opened: str
    #: Begins the note to a help desk, and stands above the question there.
    handed_off: str
    question: str
    #: Above what a chat model says that the case is about.
    summary: str
    earlier: str
    draft: str
    cut: str
    note: str
    file: str
    #: Who has the case now.
    assigned: str
    waiting: str
    claimed: str
    handed_back: str
    resolved: str
    #: Buttons.
    claim: str
    hand_back: str
    resolve: str
    #: Where what an agent did leads to nothing.
    taken: str
    closed: str
    unknown: str
    not_admin: str
    expired: str
    files: str
    edited: str
    help: str


@dataclass(frozen=True, slots=True)
class ActionTexts:
    """What the bot says while it carries out an action, and which words it knows there."""

    #: Before what was asked for is asked for once more.
    wrong: str
    ended: str
    #: With "{wish}" and "{values}"; and where there are no values.
    confirm: str
    confirm_plain: str
    #: The same, where it is not sure that the wish is meant.
    offer: str
    offer_plain: str
    yes: str
    no: str
    #: A person is got: it could not be done; the customer could not say what is needed.
    failure: str
    stuck: str
    #: Where others read along and something private is needed.
    in_private: str
    #: For agents, with "{action}", "{slots}" and "{came}"; for whom it comes to by name.
    account: str
    came: dict[str, str]
    #: Regular expressions of whole messages that mean it.
    means_yes: list[str]
    means_no: list[str]
    stops: list[str]
    lacks: list[str]
    #: Regular expressions of what does not change a wish.
    polite: list[str]
    #: Words that do not change a follow-up: "and …?"
    more: list[str]
    #: English alone: words without a meaning of their own; words for "my".
    empty: list[str] = field(default_factory=list)
    mine: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Phrases:
    small_talk: dict[str, re.Pattern[str]]
    person: re.Pattern[str]


@cache
def texts(language: Language) -> Texts:
    """The bot's sentences in this language."""
    return Texts(**_read(language)["texts"])


@cache
def waiting_texts(language: Language) -> WaitingTexts:
    """What customers are told while a person is awaited, in this language."""
    return WaitingTexts(**_read(language)["waiting"])


@cache
def command_texts(language: Language) -> CommandTexts:
    """The bot's replies to commands in this language."""
    return CommandTexts(**_read(language)["commands"])


@cache
def thread_texts(language: Language) -> ThreadTexts:
    """What agents read in the thread of a case in this language."""
    return ThreadTexts(**_read(language)["threads"])


@cache
def action_texts(language: Language) -> ActionTexts:
    """What the bot says while it carries out an action, in this language."""
    return ActionTexts(**_read(language)["actions"])


ActionAnswer = Literal["means_yes", "means_no", "stops", "lacks"]


def means(kind: ActionAnswer, text: str) -> bool:
    """True where a message as a whole says yes, no, stop, or that the customer cannot say it."""
    words = _normalised(text)
    return any(
        _meanings(language, kind).fullmatch(words) is not None for language in get_args(Language)
    )


@cache
def _meanings(language: Language, kind: ActionAnswer) -> re.Pattern[str]:
    phrases = _read(language)["phrases"]
    cores = _read(language)["actions"][kind]
    return _whole(phrases["before"], cores, phrases["after"])


def small_talk(text: str) -> SmallTalk | None:
    """The kind of small talk that a whole message is; None where it is more than that."""
    words = _normalised(text)
    for language in get_args(Language):
        for kind, pattern in _phrases(language).small_talk.items():
            if pattern.fullmatch(words):
                found: SmallTalk = kind  # type: ignore[assignment]  # keys of our own file
                return found
    return None


def wants_person(text: str) -> bool:
    """True where a message as a whole asks for a person, in whatever language."""
    words = _normalised(text)
    return any(
        _phrases(language).person.fullmatch(words) is not None for language in get_args(Language)
    )


@cache
def anger_words(language: Language) -> tuple[str, ...]:
    """Words and phrases of insults and swearing in this language."""
    return tuple(_read(language)["anger"]["words"])


def complaint(language: Language, text: str) -> bool:
    """True where a message as a whole says that what was said before did not help."""
    return _complaints(language).fullmatch(_normalised(text)) is not None


@cache
def _complaints(language: Language) -> re.Pattern[str]:
    found, phrases = _read(language)["complaints"], _read(language)["phrases"]
    return _whole(phrases["before"] + found["before"], found["phrases"], phrases["after"])


@cache
def _read(language: Language) -> dict[str, dict[str, Any]]:
    return tomllib.loads(files(__name__).joinpath(f"{language}.toml").read_text("utf-8"))


@cache
def _phrases(language: Language) -> _Phrases:
    phrases = _read(language)["phrases"]
    before, after = phrases["before"], phrases["after"]
    return _Phrases(
        {kind: _whole(before, phrases[kind], after) for kind in get_args(SmallTalk)},
        _whole(before + phrases["person_before"], phrases["person"], after),
    )


def _whole(before: list[str], cores: list[str], after: list[str]) -> re.Pattern[str]:
    """One of the cores, with any of the other words around it. Chinese has no spaces."""
    first, core, last = ("|".join(words) for words in (before, cores, after))
    return re.compile(f"(?:(?:{first}) ?){{0,6}}(?:{core})(?: ?(?:{last})){{0,4}}")


def _normalised(text: str) -> str:
    """Lower case, full-width forms folded, punctuation and emoji as single spaces.

    A letter said again and again is kept twice: no phrase needs more, and a long run can be
    divided among the parts of a pattern in more ways than a search could ever try.
    """
    if len(text) > LONGEST_PHRASE:
        return ""
    folded = unicodedata.normalize("NFKC", text).lower().replace("'", "")
    kept = "".join(
        character if unicodedata.category(character)[0] in "LN" else " " for character in folded
    )
    return _RUN.sub(r"\1\1", " ".join(kept.split()))
