"""`make audit`: known vulnerabilities of what is pinned, and a bill of materials (CycloneDX)."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
ACCEPTED = HERE / "accepted.toml"
#: Has known holes since 2014. A service that does not say so says nothing of the others either:
#: a mirror of packages alone knows no vulnerabilities, and pip-audit then finds none.
CANARY = "jinja2==2.4.1"
#: Longer than any answer takes, and short enough for a build without a network.
_SECONDS = 15


def main(environment: str, bill: str) -> int:
    """Print what was found; 1 where something known is not accepted.

    Args:
        environment: The Python whose packages go into the bill of materials.
        bill: Where that is written.
    """
    _write_bill(environment, Path(bill))
    if not _vulnerabilities(_ask(CANARY)):
        print(
            "!!! NOT AUDITED: no service that knows vulnerabilities can be reached from here;"
            " run `make audit` where one can",
            flush=True,
        )
        return 0
    report = _ask((CHECKOUT / "constraints.txt").read_text("utf-8"))
    accepted = tomllib.loads(ACCEPTED.read_text("utf-8"))["accepted"]
    faults = judge(report, accepted, datetime.now(UTC).date())
    for fault in faults:
        print(f"!!! {fault}")
    print(f"Audited {len(report.get('dependencies', ()))} packages: {len(faults)} faults.")
    return 1 if faults else 0


def judge(
    report: Mapping[str, Any], accepted: Sequence[Mapping[str, Any]], today: date
) -> list[str]:
    """What is wrong, a line each: what is known and not accepted, or not looked at; what is
    accepted too long, or in vain.

    Args:
        report: As `pip-audit --format json` prints it.
        accepted: As in accepted.toml.
    """
    found = _vulnerabilities(report)
    known = {(one["package"], one["id"]): one for one in accepted}
    faults = [
        f"{package} has {id_}, fixed in {fixed or 'no version yet'}: take that, or say in"
        f" {ACCEPTED.name} why it does not matter"
        for (package, id_), fixed in found.items()
        if (package, id_) not in known
    ]
    for (package, id_), one in known.items():
        if (package, id_) not in found:
            faults.append(f"{package} no longer has {id_}: take it out of {ACCEPTED.name}")
        elif one["until"] < today:
            faults.append(f"{package} {id_} was accepted until {one['until']}: look again")
    faults += [
        f"{one['name']} was not looked at: {one['skip_reason']}"
        for one in report.get("dependencies", ())
        if "skip_reason" in one
    ]
    return faults


def _vulnerabilities(report: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """By package and id, the versions that mend it."""
    return {
        (one["name"], known["id"]): ", ".join(known.get("fix_versions", ()))
        for one in report.get("dependencies", ())
        for known in one.get("vulns", ())
    }


def _ask(pins: str) -> dict[str, Any]:
    """What is known of pinned packages; nothing where nobody can be asked."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(pins)
        file.flush()
        pinned = ["--requirement", file.name, "--no-deps", "--disable-pip"]
        form = ["--format", "json", "--progress-spinner", "off", "--timeout", str(_SECONDS)]
        done = subprocess.run(
            [Path(sys.executable).with_name("pip-audit"), *pinned, *form],
            capture_output=True,
            text=True,
        )
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        return {}
    return report


def _write_bill(environment: str, bill: Path) -> None:
    program = Path(sys.executable).with_name("cyclonedx-py")
    options = ["--pyproject", str(CHECKOUT / "pyproject.toml"), "--of", "JSON", "-o", str(bill)]
    subprocess.run([program, "environment", environment, *options], check=True)
    parts = json.loads(bill.read_text("utf-8"))["components"]
    print(f"Bill of materials: {len(parts)} packages in {bill}")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
