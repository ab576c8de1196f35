"""What a server uses while it runs: looked at from outside, kept as CSV and as a picture."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median

from kfbot.cli.load_measuring import percentile

#: Of a connection, in /proc/net/tcp.
_ESTABLISHED = "01"


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a server; latencies are of what ended since the one before, in ms."""

    at_seconds: float
    #: Tells one process from the next.
    pid: int
    rss_mb: float
    #: Without the connections that customers keep open.
    files: int
    threads: int
    database_mb: float
    asked: int
    ack_p50: float
    ack_p99: float
    answer_p50: float
    answer_p99: float


def of_process(pid: int, port: int) -> tuple[float, int, int]:
    """RSS in MB, open files and threads; zeros of a process that is gone.

    Args:
        port: It serves there. Connections that were opened to it and that the other end keeps
            open are not its own files: how many those are is up to the other end.
    """
    folder = Path("/proc") / str(pid)
    try:
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        kept = _kept_open(folder, port)
        files = sum(_link(file) not in kept for file in (folder / "fd").iterdir())
        return int(status["VmRSS"].split()[0]) / 1024, files, int(status["Threads"])
    except (OSError, KeyError):
        return 0.0, 0, 0


def _kept_open(folder: Path, port: int) -> set[str]:
    """Connections to a port that neither end has closed, as the links of files name them."""
    rows = [line.split() for line in (folder / "net" / "tcp").read_text().splitlines()[1:]]
    return {
        f"socket:[{row[9]}]"
        for row in rows
        if row[3] == _ESTABLISHED and int(row[1].rpartition(":")[2], 16) == port
    }


def _link(file: Path) -> str:
    try:
        return os.readlink(file)
    except OSError:
        # Closed since the folder was read.
        return ""


def megabytes(database: Path) -> float:
    """The size of a SQLite database, with what is not in its file yet."""
    return sum(map(_bytes, (database, database.with_name(database.name + "-wal")))) / 2**20


def _bytes(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        # The log is gone whenever the last connection is.
        return 0


def in_ms(seconds: Sequence[float], percent: float) -> float:
    """A percentile in milliseconds; 0 of nothing."""
    return round(percentile(seconds, percent) * 1000, 1) if seconds else 0.0


@dataclass(frozen=True, slots=True)
class Growth:
    """What the last process used at the end, against after its warm-up: 1.0 is the same."""

    rss: float
    files: float
    threads: float
    samples: int


def growth(samples: Sequence[Sample]) -> Growth | None:
    """Of the last process, its first third left out as warm-up; None: it was seen too little."""
    if not samples:
        return None
    last = [one for one in samples if one.pid == samples[-1].pid and one.rss_mb]
    settled = last[len(last) // 3 :]
    if len(settled) < 6:
        return None
    third = len(settled) // 3
    before, after = settled[:third], settled[-third:]

    def ratio(name: str) -> float:
        first, end = (median(getattr(one, name) for one in part) for part in (before, after))
        return float(end / first)

    return Growth(ratio("rss_mb"), ratio("files"), ratio("threads"), len(settled))


def write_csv(file: Path, samples: Sequence[Sample]) -> None:
    """A row for each sample."""
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, [one.name for one in fields(Sample)])
        writer.writeheader()
        writer.writerows(asdict(sample) for sample in samples)


def plot(file: Path, samples: Sequence[Sample], marks: Mapping[str, Sequence[float]]) -> None:
    """Memory, latencies, files and the database over time, with the faults as lines.

    Args:
        marks: When which faults were injected, in seconds.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 12), layout="constrained")
    panels = figure.subplots(4, 1, sharex=True)
    at = [one.at_seconds / 60 for one in samples]
    series = (
        ("RSS (MB)", ("rss_mb",)),
        ("latency (ms)", ("ack_p50", "ack_p99", "answer_p50", "answer_p99")),
        ("files, threads", ("files", "threads")),
        ("database (MB)", ("database_mb",)),
    )
    for panel, (title, names) in zip(panels, series, strict=True):
        for name in names:
            panel.plot(at, [getattr(one, name) or None for one in samples], label=name, lw=1)
        for number, (kind, times) in enumerate(marks.items()):
            for place, when in enumerate(times):
                panel.axvline(
                    when / 60, color=f"C{number + 4}", lw=0.6, alpha=0.5,
                    label=kind if place == 0 and panel is panels[0] else None,
                )  # fmt: skip
        panel.set_ylabel(title)
        panel.legend(loc="upper left", fontsize=7)
    panels[1].set_yscale("log")
    panels[-1].set_xlabel("minutes")
    figure.savefig(file, dpi=110)
