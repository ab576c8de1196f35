"""What customers may see: nothing leaks from a knowledge base or document that is not theirs."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kfbot.adapter import AdapterSettings
from kfbot.answer import Answering, answer_question
from kfbot.channels import open_channels
from kfbot.conversation import Choice, Turn
from kfbot.errors import KnowledgeBaseUnavailable, SettingsError
from kfbot.knowledge_base import Retrieval, Scope
from kfbot.knowledge_settings import KnowledgeSettings
from kfbot.permissions import check_knowledge, scopes_of
from kfbot.settings import Settings
from kfbot.store.chunks import KnowledgeStore
from kfbot.store.engine import Database
from kfbot.testing import FakeAdapter
from kfbot.turn import chosen_turn
from knowledge.intake import Intake
from knowledge.labels import matches
from knowledge.load import Knowledge
from knowledge.shelf import Shelf
from tests.integration.test_knowledge_load import WordEmbedder

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("without_children")]

SUBJECTS = ("refunds", "parcels", "kettles", "invoices")
PRODUCTS = ("kettle", "toaster")
#: More than are searched for one question.
BASES = tuple(f"base{number}" for number in range(7))
_SECRET = re.compile(r"secret-(base\d)-(\w+)")


def fields_of(base: str, subject: str) -> dict[str, str]:
    """Every third entry says nothing of its product; ids are the same in all bases."""
    place = BASES.index(base) + SUBJECTS.index(subject)
    return {"product": PRODUCTS[place % 3]} if place % 3 < 2 else {}


def write_base(folder: Path, base: str) -> None:
    folder.mkdir(parents=True)
    faq = [
        {
            "id": subject, "question": f"What about {subject}?", **fields_of(base, subject),
            "answer": f"They are secret-{base}-{subject}.",
        }
        for subject in SUBJECTS[:2]
    ]  # fmt: skip
    documents = [
        {
            "id": subject, "title": f"On {subject} secret-{base}-{subject}",
            "text": f"All about {subject}: secret-{base}-{subject}.", **fields_of(base, subject),
        }
        for subject in SUBJECTS[2:]
    ]  # fmt: skip
    for name, rows in (("faq", faq), ("documents", documents)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")


@asynccontextmanager
async def opened(
    database: Database, folder: Path, bases: Mapping[str, Intake]
) -> AsyncIterator[Knowledge]:
    async with Knowledge(bases, KnowledgeStore(database), WordEmbedder(), folder) as knowledge:
        yield knowledge


@pytest.fixture
def intakes(tmp_path: Path) -> dict[str, Intake]:
    for base in BASES:
        write_base(tmp_path / "sources" / base, base)
    return {base: Intake((str(tmp_path / "sources" / base),)) for base in BASES}


def leaks(turn: Turn | Retrieval | tuple[str, ...], scope: Scope) -> list[str]:
    """What a customer of this scope must not see, anywhere in what was made for them."""
    shown = repr(turn)
    allowed = BASES if scope.names is None else scope.names
    found = [
        match.group()
        for match in _SECRET.finditer(shown)
        if match[1] not in allowed or not matches(fields_of(match[1], match[2]), scope.where)
    ]
    return found + [base for base in BASES if base not in allowed and base in shown]


scopes = st.builds(
    Scope,
    st.none() | st.lists(st.sampled_from(BASES), unique=True).map(tuple),
    st.just({}) | st.sampled_from([{"product": product} for product in PRODUCTS]),
)
questions = st.lists(
    st.sampled_from([*SUBJECTS, "What about", "secret", *BASES]), min_size=1, max_size=4
).map(" ".join)


@pytest.mark.slow
async def test_nothing_leaks_from_what_a_channel_may_not_use(
    database: Database, tmp_path: Path, intakes: dict[str, Intake]
) -> None:
    async with opened(database, tmp_path, intakes) as knowledge:
        await knowledge.load()
        seen: set[str] = set()

        @settings(
            max_examples=150,
            deadline=None,
            suppress_health_check=[HealthCheck.function_scoped_fixture],
        )
        @given(scope=scopes, question=questions, pressed=st.sampled_from(BASES))
        async def nothing_leaks(scope: Scope, question: str, pressed: str) -> None:
            turn = await answer_question(question, Answering(knowledge), scope=scope)
            # A button that was shown where more was allowed.
            choice = Choice("refunds", "What about refunds?", pressed)
            chosen = await chosen_turn(choice, Answering(knowledge), scope=scope)
            found = await knowledge.search(question, names=scope.names, where=scope.where)
            examples = await knowledge.examples("en", 9, names=scope.names, where=scope.where)
            # What was asked may name a knowledge base; nothing else may.
            silent = (replace(turn, question=""), replace(found, query=""), chosen, examples)
            for one in silent:
                assert leaks(one, scope) == []
            seen.update(match.group() for match in _SECRET.finditer(repr(silent)))

        await run_all(nothing_leaks)
        assert len(seen) > len(BASES)


async def run_all(test: object) -> None:
    """Run the examples of a hypothesis test on the loop that is running."""
    inner = test.hypothesis.inner_test  # type: ignore[attr-defined]
    loop = asyncio.get_running_loop()

    def blocking(**drawn: object) -> None:
        asyncio.run_coroutine_threadsafe(inner(**drawn), loop).result()

    test.hypothesis.inner_test = blocking  # type: ignore[attr-defined]
    await asyncio.to_thread(test)  # type: ignore[arg-type]


async def test_another_knowledge_base_changes_nothing_about_what_is_found(
    database: Database, tmp_path: Path, intakes: dict[str, Intake]
) -> None:
    mine = BASES[:2]
    async with opened(database, tmp_path, intakes) as knowledge:
        await knowledge.load()
        among = [await knowledge.search(f"What about {one}?", names=mine) for one in SUBJECTS]
    alone = {name: intakes[name] for name in mine}
    async with opened(database, tmp_path, alone) as knowledge:
        for found, subject in zip(among, SUBJECTS, strict=True):
            again = await knowledge.search(f"What about {subject}?")
            assert replace(again, timings_ms={}) == replace(found, timings_ms={})


async def test_an_id_that_two_have_is_answered_from_the_one_that_was_chosen(
    database: Database, tmp_path: Path, intakes: dict[str, Intake]
) -> None:
    async with opened(database, tmp_path, intakes) as knowledge:
        await knowledge.load()
        for base in BASES:
            choice = Choice("refunds", "What about refunds?", base)
            turn = await chosen_turn(choice, Answering(knowledge))
            assert turn.text == f"They are secret-{base}-refunds."


async def test_a_knowledge_base_is_not_asked_in_a_language_that_it_is_not_for(
    database: Database, tmp_path: Path, intakes: dict[str, Intake]
) -> None:
    chosen = {"base0": replace(intakes["base0"], languages=("zh",)), "base1": intakes["base1"]}
    async with opened(database, tmp_path, chosen) as knowledge:
        await knowledge.load()
        english = await knowledge.search("What about refunds?")
        assert {one.knowledge_base for one in english.passages} == {"base1"}
        chinese = await knowledge.search("refunds 退款怎么办理？")
        assert {one.knowledge_base for one in chinese.passages} == {"base0", "base1"}


async def test_paths_tell_fields_and_a_new_pattern_is_noticed(
    database: Database, tmp_path: Path
) -> None:
    for product in PRODUCTS:
        folder = tmp_path / "sources" / product
        folder.mkdir(parents=True)
        (folder / "care.md").write_text(f"# Care\n\nHow to clean the {product}.\n")
    plain = Intake((str(tmp_path / "sources"),))
    async with opened(database, tmp_path, {"manuals": plain}) as knowledge:
        await knowledge.load()
        found = await knowledge.search("How to clean", where={"product": "kettle"})
        assert len(found.passages) == 2
    told = replace(plain, path_fields="{product}/")
    async with opened(database, tmp_path, {"manuals": told}) as knowledge:
        await knowledge.load()
        found = await knowledge.search("How to clean", where={"product": "kettle"})
        assert [one.document_id for one in found.passages] == ["kettle/care.md"]


async def test_of_many_only_the_used_ones_are_open(
    database: Database, tmp_path: Path, intakes: dict[str, Intake], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database, tmp_path, intakes) as knowledge:
        await knowledge.load()
    monkeypatch.setattr("knowledge.service.Shelf", lambda **options: Shelf(2, **options))
    async with opened(database, tmp_path, intakes) as knowledge:
        shelf = knowledge._service.shelf
        assert shelf.open_count == 0
        for base in (*BASES, *BASES):
            found = await knowledge.search("What about refunds?", names=[base])
            assert found.passages[0].text == f"They are secret-{base}-refunds."
            assert shelf.open_count <= 2
        found = await knowledge.search("What about refunds?")
        assert len({one.knowledge_base for one in found.passages}) == 5
        assert shelf.open_count == 2


async def test_a_damaged_index_that_was_not_open_is_made_again(
    database: Database, tmp_path: Path, intakes: dict[str, Intake], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("knowledge.service.Shelf", lambda **options: Shelf(2, **options))
    async with opened(database, tmp_path, intakes) as knowledge:
        await knowledge.load()
    async with opened(database, tmp_path, intakes) as knowledge:
        [generation] = (tmp_path / "index" / "base3").iterdir()
        (generation / "owner.npy").write_bytes(b"damaged")
        with pytest.raises(KnowledgeBaseUnavailable, match="damaged"):
            await knowledge.search("What about refunds?", names=["base3"])
        # Nobody asks for it: it is made again beside the questions, which others answer meanwhile.
        with pytest.raises(KnowledgeBaseUnavailable, match="damaged and is made again"):
            await knowledge.search("What about refunds?", names=["base3"])
        other = await knowledge.search("What about refunds?", names=["base4"])
        assert other.passages[0].text == "They are secret-base4-refunds."
        async with asyncio.timeout(60):
            await asyncio.gather(*knowledge._service._mending)
        found = await knowledge.search("What about refunds?", names=["base3"])
        assert found.passages[0].text == "They are secret-base3-refunds."


# Settings


async def test_channels_and_knowledge_bases_both_have_a_say() -> None:
    knowledge = {
        "open": KnowledgeSettings(sources=("a",)),
        "staff": KnowledgeSettings(sources=("b",), channels=("desk",)),
    }
    channels = {
        "shop": FakeAdapter("shop"),
        "desk": FakeAdapter("desk"),
        "narrow": FakeAdapter("narrow", AdapterSettings(platform="fake", knowledge=("open",))),
        "kettles": FakeAdapter(
            "kettles", AdapterSettings(platform="fake", filter={"product": "kettle"})
        ),
    }
    assert scopes_of(knowledge, channels) == {
        "shop": Scope(("open",)),
        "desk": Scope(None),
        "narrow": Scope(("open",)),
        "kettles": Scope(("open",), {"product": "kettle"}),
    }


async def test_roles_open_a_knowledge_base_to_a_person_alone() -> None:
    knowledge = {
        "open": KnowledgeSettings(sources=("a",)),
        "staff": KnowledgeSettings(sources=("b",), roles=("staff", "admins")),
    }
    shop = AdapterSettings(platform="fake", admins=("boss",), roles={"staff": ("U1",)})
    web = AdapterSettings(platform="web", admins=("boss",))
    found = scopes_of(
        knowledge, {"shop": FakeAdapter("shop", shop), "web": FakeAdapter("web", web)}
    )
    assert found == {"shop": Scope(("open",)), "web": Scope(("open",))}
    for person in ("U1", "boss"):
        assert found.of_person("shop", person, in_group=False) == Scope(None)
        assert found.of_person("shop", person, in_group=True) == Scope(("open",))
        # Where a browser says who it is, nobody has a role.
        assert found.of_person("web", person, in_group=False) == Scope(("open",))
    assert found.of_person("shop", "U2", in_group=False) == Scope(("open",))
    assert found.of_person("elsewhere", "U1", in_group=False) == Scope(())


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        (AdapterSettings(platform="fake"), "no channel gives anybody the role 'staff'"),
        (AdapterSettings(platform="fake", roles={"admins": ("U1",)}), "is said by admins"),
        (AdapterSettings(platform="web", roles={"staff": ("U1",)}), "not known for sure"),
    ],
)
async def test_roles_that_come_to_nothing_are_refused(section: AdapterSettings, fault: str) -> None:
    knowledge = {"staff": KnowledgeSettings(sources=("b",), roles=("staff",))}

    def start() -> None:
        check_knowledge(knowledge, "shop", section)
        scopes_of(knowledge, {"shop": FakeAdapter("shop", section)})

    with pytest.raises(SettingsError, match=fault):
        start()


async def test_settings_that_contradict_each_other_are_refused() -> None:
    base = {"sources": ("a",), "channels": ("shop",)}
    with pytest.raises(
        ValueError, match=r"\[knowledge.staff\] channels: there is no \[channels.shop"
    ):
        Settings(knowledge={"staff": base})
    console = {"platform": "console"}
    channels = {"shop": console, "desk": {**console, "knowledge": ["staff"]}}
    contradictory = Settings(knowledge={"staff": base}, channels=channels)
    with pytest.raises(SettingsError, match=r"\[knowledge.staff\] channels does not list desk"):
        open_channels(contradictory)
