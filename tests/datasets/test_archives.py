"""Archives that are read as folders; what they may hold is in test_folders.py."""

from __future__ import annotations

import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from fastnn.datasets.archives import open_archive
from fastnn.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("ending", ["zip", "tar"])
@pytest.mark.parametrize("name", ["a", "c", "z", ""])
def test_a_file_that_is_not_in_the_archive_is_not_taken_for_another_one(ending: str, name: str, tmp_path: Path) -> None:
    path, files = tmp_path / f"a.{ending}", [tmp_path / "b", tmp_path / "d"]
    for file in files:
        file.write_text(file.name)
    if ending == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in files:
                archive.write(file, file.name)
    else:
        with tarfile.open(path, "w") as tar:
            for file in files:
                tar.add(file, file.name)
    with open_archive(path) as folder:
        assert [folder.read(known, 9) for known in ("b", "d")] == [b"b", b"d"]
        with pytest.raises(DataError, match=rf"a\.{ending}/{name}: damaged in its archive \('{name}'\)"):
            folder.read(name, 9)
