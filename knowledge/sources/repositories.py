"""Git repositories: `git+https://host/repo.git[@ref][#folder]`, also +http, +ssh and +file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from kfbot.errors import DocumentUnreadable
from knowledge.documents import SourceFile
from knowledge.sources.contract import SourceUnreachable, without_credentials
from knowledge.sources.folders import find_local, io_reason
from knowledge.sources.git_command import GitFault, run_git
from knowledge.sources.locks import writing

_FETCH_SECONDS = 300.0
_LOCAL_SECONDS = 60.0
_SOURCE = re.compile(
    r"git\+(?P<url>(?:https?|ssh|file)://[^/#]*/[^#@]+)(?:@(?P<ref>[^@:#]+))?(?:#(?P<folder>.*))?",
    re.IGNORECASE,
)
#: A branch or tag name, or a commit; never an option.
_REF = re.compile(r"[\w][\w./+-]*")
#: What stands between repository and branch where a host shows a file.
_SHOWN_BY = {"github.com": "blob", "gitlab.com": "-/blob", "gitee.com": "blob"}
_POINTER = b"version https://git-lfs.github.com/spec/"

Found = SourceFile | DocumentUnreadable


@dataclass(frozen=True, slots=True)
class _Repository:
    #: With user name and password, if it has them.
    url: str
    #: "": the host's default branch.
    ref: str
    folder: str

    @property
    def name(self) -> str:
        return unquote(urlsplit(self.url).path).rstrip("/").rpartition("/")[2].removesuffix(".git")


def find_in_repository(source: str, cache: Path, *, allow_private: bool) -> Iterator[Found]:
    """The files of a repository, each named "repository/folder/name.md".

    Only the newest commit is fetched, without submodules and large-file storage. A repository
    that cannot be fetched comes as a SourceUnreachable.

    Args:
        cache: Folder for repositories; kept from one load to the next.
        allow_private: See `Fetching`.
    """
    shown = without_credentials(source)
    repository = _parse(source)
    if repository is None:
        yield DocumentUnreadable(shown, "no address like git+https://host/repo.git@ref#folder")
        return
    work = cache / hashlib.sha256(f"{repository.url} {repository.ref}".encode()).hexdigest()[:32]
    try:
        with writing(work):
            _fetch(repository, work, allow_private=allow_private)
    except (GitFault, OSError) as error:
        reason = io_reason(error) if isinstance(error, OSError) else str(error)
        yield SourceUnreachable(shown, reason, kept=[shown])
        return
    root = (work / "files").resolve()
    place = (root / repository.folder).resolve()
    if not place.is_relative_to(root) or not place.exists():
        yield SourceUnreachable(shown, f"there is no {repository.folder} in it", kept=[shown])
        return
    for found in find_local(place):
        if isinstance(found, SourceFile) and _is_pointer(found.path):
            found = DocumentUnreadable(found.name, "is in Git LFS, which is not fetched")
        yield _renamed(found, repository, shown, is_file=place.is_file())


def _parse(source: str) -> _Repository | None:
    found = _SOURCE.fullmatch(source)
    if found is None or (found["ref"] and not _REF.fullmatch(found["ref"])):
        return None
    folder = (found["folder"] or "").strip("/")
    if ".." in folder.split("/") or not urlsplit(found["url"]).path.strip("/"):
        return None
    return _Repository(found["url"], found["ref"] or "", folder)


def _fetch(repository: _Repository, work: Path, *, allow_private: bool) -> None:
    """Have the newest commit's files in `work/files`.

    Raises:
        GitFault: It cannot be fetched.
        OSError: The cache cannot be written.
    """
    files, store = work / "files", work / "git"
    files.mkdir(parents=True, exist_ok=True)
    shown = without_credentials(repository.url)
    pinned = _pinned(repository.url, allow_private=allow_private)
    # Not in the arguments: every user of the machine sees those.
    login = {f"url.{repository.url}.insteadOf": shown} if shown != repository.url else {}
    if not (store / "HEAD").exists():
        run_git(["init", "--quiet", "--bare", str(store)], work, timeout_seconds=_LOCAL_SECONDS)
    for lock in store.glob("*.lock"):
        # Of a git that was killed: nobody else works here.
        lock.unlink()
    here = [f"--git-dir={store}", f"--work-tree={files}"]
    fetch = ["fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--force"]
    for step in (
        [*pinned, *fetch, "--", shown, repository.ref or "HEAD"],
        ["reset", "--quiet", "--hard", "FETCH_HEAD"],
        ["clean", "--quiet", "-ffdx"],
    ):
        run_git([*here, *step], files, timeout_seconds=_FETCH_SECONDS, settings=login)


def _pinned(url: str, *, allow_private: bool) -> list[str]:
    """Options that have git connect to an address that was checked.

    Raises:
        GitFault: The host has none that a source may lie at.
    """
    from knowledge.sources.addresses import AddressRefused, allowed_addresses, resolve

    parts = urlsplit(url)
    if parts.scheme == "file":
        return []
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 22)
    host = parts.hostname or ""
    try:
        found = allowed_addresses(host, port, resolve, allow_private=allow_private)
    except (AddressRefused, OSError) as error:
        raise GitFault(f"{host} cannot be connected to: {error}") from error
    address = f"[{found[0]}]" if ":" in found[0] else found[0]
    # A redirect would lead past the check.
    return [
        *("-c", f"http.curloptResolve={host}:{port}:{address}"),
        *("-c", "http.followRedirects=false"),
    ]


def _renamed(found: Found, repository: _Repository, shown: str, *, is_file: bool) -> Found:
    """What was found on this machine, as it is called in its repository.

    Args:
        is_file: The repository's `folder` is the file itself.
    """
    inner = found.source if isinstance(found, DocumentUnreadable) else found.name
    path = repository.folder if is_file else f"{repository.folder}/{inner}".strip("/")
    name = f"{repository.name}/{path}"
    if isinstance(found, DocumentUnreadable):
        return DocumentUnreadable(name, found.reason)
    origin = shown if is_file else f"{shown}/{inner}"
    return replace(found, name=name, url=_web_address(repository, path), origin=origin)


def _web_address(repository: _Repository, path: str) -> str:
    """Where people see a file; "" on an unknown host."""
    parts = urlsplit(repository.url)
    way = _SHOWN_BY.get(parts.hostname or "")
    if way is None:
        return ""
    at = f"https://{parts.hostname}{parts.path}".rstrip("/").removesuffix(".git")
    return f"{at}/{way}/{quote(repository.ref or 'HEAD')}/{quote(path)}"


def _is_pointer(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_POINTER)) == _POINTER
    except OSError:
        return False
