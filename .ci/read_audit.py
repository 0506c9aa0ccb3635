"""Read what pip-audit found: ``read_audit.py FILE``; exit with 1 if a package has a known vulnerability.

Where the database cannot be reached, pip-audit writes nothing, or says of every package that it was skipped.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(path: Path) -> None:
    """Print the vulnerabilities, or how many packages were audited."""
    text = path.read_text(encoding="utf-8")
    packages = json.loads(text)["dependencies"] if text.strip() else []
    audited = [package for package in packages if "vulns" in package]
    if not audited:
        print("skipped: no database of vulnerabilities can be reached")
        return
    found = [(package, known) for package in audited for known in package["vulns"]]
    for package, known in found:
        fixed = ", ".join(known["fix_versions"]) or "no version"
        print(f"{package['name']} {package['version']}: {known['id']}, mended in {fixed}")
    print(f"{len(audited)} packages audited, {len(found)} known vulnerabilities")
    sys.exit(bool(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
