"""Check what the sdist and the wheel of a release hold: ``check_dist.py FOLDER LIST_OF_TRACKED_FILES``.

`FOLDER` has one sdist and one wheel; the list is what ``git ls-files -z`` prints. Prints the SHA-256 of both.
"""

from __future__ import annotations

import email
import hashlib
import re
import sys
import tarfile
import zipfile
from pathlib import Path


def main(folder: Path, tracked: set[str]) -> None:
    """Exit with a message if anything is missing, is there without a reason, or says something wrong."""
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    top = sdist.name.removesuffix(".tar.gz")
    with tarfile.open(sdist) as archive:
        packed = {member.name.removeprefix(f"{top}/") for member in archive.getmembers() if member.isfile()}
        modes = {member.mode for member in archive.getmembers() if member.isfile()}
    expect("files of the sdist", packed, tracked | {"PKG-INFO"})
    # Windows has no programs to mark.
    expect("modes of its files", modes | {0o755}, {0o644, 0o755})

    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        info = f"{top}.dist-info"
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        version = re.search(r'__version__ = "(.+)"', archive.read("fastnn/__init__.py").decode())
    own = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    package = {name for name in tracked if name.startswith("fastnn/")}
    expect("files of the wheel", names, package | {f"{info}/{name}" for name in own})
    texts = ("guides/start.md", "web/templates/layout.html", "web/static/style.css", "browser/draw-pad.js")
    for needed in ("fastnn/py.typed", *(f"fastnn/{name}" for name in texts)):
        assert needed in names, f"the wheel lacks {needed}"

    assert version is not None
    expect("versions", {metadata["Version"], top.rpartition("-")[2]}, {version[1]})
    expect("names", {metadata["Name"]}, {"fastnn-trainer"})
    expect("licences", {metadata["License-Expression"], metadata["License-File"]}, {"MIT", "LICENSE"})
    description = metadata.get_payload()
    assert isinstance(description, str)
    assert description.startswith("# fastnn"), "the long description is not the README"
    relative = re.findall(r"\]\((?!https?:).*?\)", re.sub(r"(?s)```.*?```", "", description))
    assert not relative, f"links of the long description that lead nowhere on a package index: {relative}"
    for path in (sdist, wheel):
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}  {path.stat().st_size:,} bytes")


def expect(what: str, found: set[object] | set[str] | set[int], wanted: set[object] | set[str] | set[int]) -> None:
    """Exit if two sets differ."""
    if found != wanted:
        sys.exit(f"{what}: missing {sorted(wanted - found, key=str)}, not expected {sorted(found - wanted, key=str)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), set(Path(sys.argv[2]).read_text(encoding="utf-8").split("\0")) - {""})
