"""Fails on a known advisory about what requirements.lock pins; says so where nobody could be asked.

pip-audit is content where its source knows none of the packages (a mirror without PyPI's JSON), which would
look as if all were well. It is installed beside this, and not among our own dependencies.
"""

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

TOOL = "pip-audit>=2.9,<3"
LOCKS = ("requirements.lock", "requirements-demo.lock")
ROOT = Path(__file__).resolve().parent.parent


def judged(report: dict[str, Any]) -> tuple[int, list[str]]:
    """The exit code for a report of pip-audit, and what is to be said."""
    packages = report["dependencies"]
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    found = [
        f"{each['name']} {each['version']}: {one['id']}, fixed in {', '.join(one['fix_versions']) or 'none'}"
        for each in packages
        for one in each.get("vulns", ())
    ]
    if found:
        return 1, found
    if len(skipped) == len(packages):
        return 0, ["NOT AUDITED: no data about advisories can be had here"]
    if skipped:
        return 1, [f"not audited, unlike the others: {', '.join(skipped)}"]
    return 0, [f"no known advisory about {len(packages)} packages"]


def _report(program: Path, requirements: Path) -> dict[str, Any]:
    words = ("--disable-pip", "--require-hashes", "--format=json", "--progress-spinner=off")
    ran = subprocess.run(  # noqa: S603 - our own tool
        [program, *words, "--requirement", requirements], stdout=subprocess.PIPE, text=True, check=False
    )
    report: dict[str, Any] = json.loads(ran.stdout or '{"dependencies": []}')
    return report


def main() -> int:
    """Asks about one package first: where that one is unknown, the others are not asked about."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        programs = Path(folder) / "bin"
        subprocess.run([programs / "python", "-m", "pip", "install", "--quiet", TOOL], check=True)  # noqa: S603
        code, told = 0, []
        for lock in (ROOT / name for name in LOCKS):
            first = Path(folder) / "first.txt"
            first.write_text(lock.read_text().partition("\n    # via")[0] + "\n")
            judgement = judged(_report(programs / "pip-audit", first))
            if not judgement[1][0].startswith("NOT AUDITED"):
                judgement = judged(_report(programs / "pip-audit", lock))
            code = max(code, judgement[0])
            told += [f"{lock.name}: {line}" for line in judgement[1]]
    sys.stdout.write("\n".join(told) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
