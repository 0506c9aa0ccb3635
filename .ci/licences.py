"""The licences of what fastnn installs: run in an environment that has ``fastnn-trainer[all]``.

``licences.py`` fails if a licence is not among those that are known to be compatible with MIT, and says how the table
in LICENSES.md differs from what is installed; ``licences.py --write`` writes the table.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PAGE = Path(__file__).parents[1] / "LICENSES.md"
EXTRAS = ("clean", "plot", "web", "postgres", "sklearn", "skops", "river", "tables", "photos", "onnx", "sweep")
# Free licences that let a program of any licence import the package. MPL and LGPL ask for the source of changes to the
# package itself, and fastnn ships no package but its own.
COMPATIBLE = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "HPND",
    "ISC", "LGPL-3.0-only", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Unlicense", "Zlib",
}  # fmt: skip
# What older packages write instead of an SPDX expression.
SPELLINGS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "PSF": "PSF-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
# Its metadata say that it is approved by the OSI, and its file LICENSE which one it is.
OTHERS = {"skops": "MIT"}


def licence(package: Distribution) -> str:
    """Return the licence of a package, as an SPDX expression if it has one."""
    metadata = package.metadata
    if metadata["Name"] in OTHERS:
        return OTHERS[metadata["Name"]]
    classifiers = [
        line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier", []) if line.startswith("License ::")
    ]
    first_line = (metadata.get("License") or "").strip().partition("\n")[0].strip()
    found = metadata.get("License-Expression") or " AND ".join(classifiers) or first_line
    return " AND ".join(SPELLINGS.get(part, part) for part in found.split(" AND "))


def is_compatible(expression: str) -> bool:
    """Return whether one alternative of an expression asks for known licences only."""
    return any(
        all(part.strip("() ") in COMPATIBLE for part in alternative.split(" AND "))
        for alternative in re.split(r" OR ", expression)
    )


def needed_by() -> dict[str, str]:
    """Return the names of all packages that fastnn needs, directly or not, and the first extra that needs them."""
    found: dict[str, str] = {}
    for extra in ("", *EXTRAS):
        waiting = [("fastnn-trainer", frozenset((extra,)))]
        seen = set(waiting)
        while waiting:
            name, extras = waiting.pop()
            found.setdefault(name, f"[{extra}]" if extra else "")
            for line in distribution(name).requires or []:
                needed = Requirement(line)
                if needed.marker and not any(needed.marker.evaluate({"extra": each}) for each in ("", *extras)):
                    continue
                entry = (canonicalize_name(needed.name), frozenset(needed.extras))
                if entry not in seen:
                    seen.add(entry)
                    waiting.append(entry)
    del found["fastnn-trainer"]
    return found


def main() -> None:
    """Check the licences; write the page, or compare with it."""
    try:
        needed = needed_by()
    except PackageNotFoundError as error:
        sys.exit(f"{error}: install '.[all]' first")
    licences = {name: licence(distribution(name)) for name in sorted(needed)}
    rows = [f"| {name} | {licences[name]} | {needed[name]} |" for name in licences]
    unknown = [row for name, row in zip(licences, rows, strict=True) if not is_compatible(licences[name])]
    if unknown:
        sys.exit("not known to be compatible with MIT:\n" + "\n".join(unknown))
    head, _, _ = PAGE.read_text(encoding="utf-8").partition("| package |")
    written = head + "\n".join(["| package | licence | extra |", "|---|---|---|", *rows]) + "\n"
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(written, encoding="utf-8")
    # New releases of packages may change what they need on any day: no reason to fail.
    elif missing := [row for row in rows if row not in PAGE.read_text(encoding="utf-8").splitlines()]:
        print("LICENSES.md is out of date (run python .ci/licences.py --write); it lacks:", *missing, sep="\n")
    print(f"{len(rows)} packages, all with licences that are compatible with MIT")


if __name__ == "__main__":
    main()
