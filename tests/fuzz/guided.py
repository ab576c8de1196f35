# ruff: noqa: PT017 - to take the input is right, too
"""Coverage-guided fuzzing of one parser by atheris: python -m tests.fuzz.guided TARGET SECONDS.

A corpus is made of recorded payloads and sample files. What breaks a parser is written to
`fuzz-crash-…` in the working directory; that file in the place of SECONDS gives it again.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

#: What a kind of target leads through. To watch everything takes a minute at every start.
_WATCHED = {
    "webhook": ["adapters"],
    "frame": ["adapters"],
    "rendering": ["adapters"],
    "headers": ["adapters.signatures", "standardwebhooks"],
    "file": ["knowledge.formats", "knowledge.markup", "knowledge.front_matter"],
    "picture": ["knowledge.formats"],
    "sitemap": ["knowledge.sources.sitemap"],
    "settings": ["kfbot.settings", "kfbot.actions.slot_settings", "kfbot.actions.settings"],
    "texts": ["kfbot.actions", "kfbot.admin", "kfbot.grounding", "kfbot.understanding"],
}
_KIND = re.split("[-.]", "".join(sys.argv[1:2]))[0]

# To name the targets nothing is watched: an empty list would mean every package there is.
with atheris.instrument_imports(include=_WATCHED.get(_KIND, ["atheris"])):
    from adapters.signatures import StandardWebhook
    from kfbot.adapter import WebhookRequest
    from kfbot.errors import SettingsError
    from kfbot.settings import load_settings
    from knowledge import ocr
    from knowledge.sources.sitemap import SitemapDamaged, read_sitemap
    from tests.contract.test_adapters import make_request
    from tests.fuzz.mutation import Pick
    from tests.fuzz.requests import PLATFORMS, check_received, mutated_request, recorded
    from tests.fuzz.samples import mutated_file, samples
    from tests.fuzz.test_files import ENDINGS, check_file
    from tests.fuzz.test_frames import READERS as FRAMES
    from tests.fuzz.test_frames import check_frame
    from tests.fuzz.test_pictures import check_picture, pictures, read_at_once
    from tests.fuzz.test_rendering import RENDERERS
    from tests.fuzz.test_texts import READERS as TEXTS

Check = Callable[[bytes], None]
_FOLDER = Path(tempfile.mkdtemp(prefix="kfbot-fuzz-"))


def _picks(content: bytes) -> Pick:
    """Choices that are taken from the bytes, so that coverage guides them; 0 at their end."""
    provider = atheris.FuzzedDataProvider(content)
    return lambda below: provider.ConsumeIntInRange(0, below - 1)


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _of_body(platform: str) -> Check:
    """The raw body, well signed; the choices of a mutation where it begins with a NUL."""
    example = json.loads(recorded(platform)[0])

    def check(content: bytes) -> None:
        if content.startswith(b"\0"):
            request = mutated_request(platform, _picks(content[1:]))
        else:
            request = make_request(platform, example | {"body": _text(content)})
        check_received(platform, request)

    return check


def _of_file(ending: str) -> Check:
    sample = samples(_FOLDER)[ending]

    def check(content: bytes) -> None:
        # Packages are changed inside: a changed byte only breaks their checksum.
        is_package = sample.startswith(b"PK")
        changed = mutated_file(sample, _picks(content)) if is_package else content
        check_file(changed, ending, _FOLDER)

    return check


def _check_settings(content: bytes) -> None:
    path = _FOLDER / "kfbot.toml"
    path.write_bytes(content)
    try:
        load_settings(path)
    except SettingsError as error:
        assert "\n" not in str(error)


def _check_headers(content: bytes) -> None:
    parts = content.decode("utf-8", "surrogateescape").split("\n", 3)
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    request = WebhookRequest(
        method="POST", query={}, headers=dict(zip(names, parts, strict=False)), body=content
    )
    assert StandardWebhook("whsec_c2VjcmV0c2VjcmV0").fault(request.headers, request.body)


def _check_sitemap(content: bytes) -> None:
    path = _FOLDER / "sitemap.xml"
    path.write_bytes(content)
    try:
        for address in read_sitemap(path):
            assert isinstance(address, str)
    except SitemapDamaged:
        pass


def _check_texts(content: bytes) -> None:
    text = _text(content)[:400]
    for read in TEXTS.values():
        read(text)


def _check_rendering(content: bytes) -> None:
    text = _text(content)
    for render in RENDERERS.values():
        assert len(render(text)) <= 12 * len(text) + 200


TARGETS: dict[str, Callable[[], Check]] = {
    **{f"webhook-{name}": lambda name=name: _of_body(name) for name in PLATFORMS},  # type: ignore[misc]
    **{
        f"frame-{name}": lambda name=name: lambda content: check_frame(name, _picks(content))  # type: ignore[misc]
        for name in FRAMES
    },
    **{f"file{ending}": lambda ending=ending: _of_file(ending) for ending in ENDINGS},  # type: ignore[misc]
    **{
        f"picture{ending}": lambda ending=ending: (
            lambda content: check_picture(  # type: ignore[misc]
                content, ending, _FOLDER
            )
        )
        for ending in pictures()
    },
    "settings": lambda: _check_settings,
    "headers": lambda: _check_headers,
    "sitemap": lambda: _check_sitemap,
    "texts": lambda: _check_texts,
    "rendering": lambda: _check_rendering,
}


def _seeds(target: str) -> list[bytes]:
    """What is good input of a target, or near to it."""
    kind, _, name = target.partition("-")
    if kind == "webhook":
        return [json.loads(one)["body"].encode() for one in recorded(name)] + [b"\0" * 20]
    if target.startswith("file."):
        return [samples(_FOLDER)[target.removeprefix("file")]]
    if kind.startswith("picture."):
        return list(pictures()[target.removeprefix("picture")])
    if target == "settings":
        return [(Path(__file__).parents[2] / "kfbot.example.toml").read_bytes()]
    if target == "headers":
        return [b"msg_1\n1767603600\nv1,c2VjcmV0\n{}"]
    if target == "sitemap":
        space = b"http://www.sitemaps.org/schemas/sitemap/0.9"
        return [b'<urlset xmlns="%s"><url><loc>https://a.example/</loc></url></urlset>' % space]
    return [samples(_FOLDER)[".md"], bytes(range(64))]


def main() -> None:
    """Fuzz one target for so many seconds, or give it one input again; without both: name all."""
    if len(sys.argv) != 3:
        print(*TARGETS)
        return
    logging.disable(logging.CRITICAL)
    # Of a PDF with faults it would read each page, for seconds.
    ocr.recognise = read_at_once
    target, last = sys.argv[1:3]
    check = TARGETS[target]()
    if not last.isdigit():
        check(Path(last).read_bytes())
        return
    corpus = _FOLDER / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(_seeds(target)):
        (corpus / str(number)).write_bytes(seed)
    limits = [f"-max_total_time={last}", "-timeout=20", "-max_len=65536", "-rss_limit_mb=4096"]
    atheris.Setup([sys.argv[0], str(corpus), *limits, "-artifact_prefix=fuzz-"], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
