"""Two checkouts compared: both are checked, started from empty caches and timed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.builds import Build, main

ROOT = Path(__file__).resolve().parents[1]


def test_a_checkout_beside_itself(capsys: pytest.CaptureFixture[str]) -> None:
    main([str(ROOT), str(ROOT), "--rounds", "1", "--starts", "1"])
    assert capsys.readouterr().out.count(ROOT.name) >= 2


def test_a_checkout_that_cannot_train_is_named(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").write_text("")
    build = Build(tmp_path, tmp_path / "work")
    with pytest.raises(ValueError, match=str(tmp_path)):
        build.start()
    build.stop()
