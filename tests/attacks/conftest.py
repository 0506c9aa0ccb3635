"""Working folders for the attacks on files, prepared once for all tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.attacks.folders import Folders


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folders]:
    from tests.attacks.folders import Folders

    with Folders(tmp_path_factory.mktemp("attacks")) as made:
        yield made
