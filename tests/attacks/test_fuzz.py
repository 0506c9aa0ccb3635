"""A short pass of the attack fuzz over all its targets, without atheris."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from typing import TYPE_CHECKING

import numba
import pytest

from fastnn.errors import DataError
from tests.attacks import fuzz_mutate, fuzz_verdict
from tests.attacks.fuzz import Attack, run_target
from tests.attacks.fuzz_readers import readers, recorded
from tests.attacks.fuzz_targets import TARGETS, Bench, Target
from tests.attacks.fuzz_verdict import judge

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INPUTS = 15
"""Inputs of a target, besides its seeds."""

SLOW = {"report", *(["machine-code"] if numba.config.DISABLE_JIT else [])}
"""Targets of which one input takes seconds; the program attacks them."""

NOT_ATTACKED = {
    ("cli.__init__", "main"): "the target command-line calls the commands that it calls",
    ("cli._crash", "_log_folder"): "runs only after a fault; tests/cli/test_edges.py has some",
    ("cli._crash", "_write_log"): "runs only after a fault; tests/cli/test_edges.py has some",
    ("cli._streams", "discard_output"): "the streams of the process; tests/attacks/signals.py closes them",
    ("cli._streams", "ignore_impossible_size"): "the size of the terminal; tests/cli/test_streams.py has odd ones",
    ("cli._streams", "open_streams"): "the streams of the process; tests/attacks/signals.py closes them",
    ("cli._stream", "_pieces"): "standard input of the process; the target row-stream has its content",
    ("cli.train", "_session_from"): "loads a model as evaluate does; the attack kill trains from one",
    ("datasets.digits_json", "read_json_with_contributors"): "parses as read_json does",
    ("datasets.fetch", "_write"): "downloads need a server; tests/datasets/test_fetch.py has one",
    ("datasets.small_pictures", "SmallPictures._write"): "writes grey levels; tests/datasets/test_spool.py has some",
    ("datasets.store_writer", "_replace_files"): "moves finished files; tests/datasets/test_store.py calls it",
    ("datasets.writers", "_replace_idx_files"): "moves finished files; the attack kill ends it at every call",
    ("formats.c_header", "run"): "compiles and runs the code in the file, which must be one's own",
    ("formats.html_page", "_run_part"): "starts Node or Chromium; tests/formats/test_html_page.py has bad pages",
    ("images.normalised_rows", "_written"): "writes images; tests/images/test_normalised_rows.py has a full disk",
    ("large_arrays", "zeros_in_file"): "makes an empty file; tests/test_large_arrays.py has a full disk",
    ("predicting", "_written_as_json"): "writes what predict prints; tests/cli/test_stores.py compares it",
    ("report.__init__", "_replace_report"): "moves finished files; the attack kill ends it at every call",
    ("report.__init__", "_write"): "takes seconds, as draw",
    ("running_scaling", "RunningScaling._prepare"): "loads compiled code; the target machine-code attacks that",
    ("sklearn.classifier", "MLPClassifier.predict"): "decodes labels from numbers; scikit-learn's checks call it",
    ("report.pictures", "draw"): "takes seconds; the program attacks it, and tests/test_report.py has odd names",
    ("storage", "scratch_folder"): "makes an empty folder; tests/datasets/test_store.py has one that is removed",
    ("storage", "unnamed_file"): "makes an empty file; tests/test_large_arrays.py has a folder that cannot be made",
    ("sweep.storages", "_Journal.append_logs"): "writes what a sweep found; the attack kill ends it at every call",
    ("sweep.storages", "_JournalLock.acquire"): "locks an empty file; the attack kill ends its holder",
    ("storage", "exchange"): "moves finished folders; the attack kill ends it at every call",
    ("sweep.study", "Study._agree"): "reads what Optuna has read; tests/sweep/test_run.py has studies of other spaces",
    ("sweep.storages", "_repair"): "cuts off a line; tests/sweep/test_run.py and the target study have broken ones",
    ("temporaries", "machine_id"): "reads what the system says about the process",
    ("threads", "cores"): "reads what the system says about the processor",
}
"""Readers and writers that no target calls, with the reason."""


def run_all(target: Target, contents: list[bytes], bench: Bench) -> None:
    for content in contents:
        with contextlib.suppress(Exception):
            target.run(content, bench)


@pytest.mark.skipif(os.name == "nt", reason="inputs hold names of files that Windows forbids")
def test_nothing_breaks_and_no_reader_or_writer_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    faults, refused, called = {}, set(), set()
    for name, target in TARGETS.items():
        if name in SLOW:
            continue
        first = Attack(target, 0, heavy=False).first
        for folder in (tmp_path / "warm-up" / name, tmp_path / name):
            folder.mkdir(parents=True)
        if name != "machine-code":
            # Kernels are compiled here, where neither the time nor the calls count.
            monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / "warm-up" / "cache"))
            with Bench(tmp_path / "warm-up" / name) as bench:
                run_all(target, first, bench)
        monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / "cache"))
        with Bench(tmp_path / name) as bench:
            with recorded() as seen:
                run_all(target, first, bench)
            called |= seen
            report, _ = run_target(target, INPUTS, 0, bench)
        assert report.inputs >= min(INPUTS * target.share, 1)
        faults |= {f"{name}: {fault}": detail for fault, (_, detail, _) in report.faults.items()}
        if report.accepted < report.inputs:
            refused.add(name)
    assert faults == {}
    assert capfd.readouterr().err == ""
    assert len(refused) > len(TARGETS) // 2
    assert sorted(readers() - called - NOT_ATTACKED.keys()) == []
    assert sorted(NOT_ATTACKED.keys() - readers()) == []


SOURCES = {
    "storage": """
def open_input(path):
    return path.open("rb")
def write(path):
    path.open("wb")
def pure(): ...
""",
    "a": """
import json
from fastnn.storage import open_input
class Thing:
    def parse(self, text):
        return json.loads(text)
    def compute(self):
        return "a".encode()
def decodes(content):
    return _decoder.decode(content)
def through_the_opener(path):
    def inner():
        return open_input(path)
    return inner()
def from_environment():
    return os.environ["A"]
def text_of(content):
    return content.decode("utf-8")
""",
}


def test_a_new_reader_or_writer_is_found(tmp_path: Path) -> None:
    for name, source in SOURCES.items():
        (tmp_path / f"{name}.py").write_text(source)
    found = {name for _, name in readers(tmp_path)}
    through = "through_the_opener.<locals>.inner"
    assert found == {"open_input", "write", "Thing.parse", "decodes", through, "from_environment"}


def slow() -> None:
    while True:
        pass


def prints() -> None:
    sys.stderr.write("x")


def warns() -> None:
    warnings.warn("x", stacklevel=1)


def refuses_at_length() -> None:
    raise DataError("x" * 3000)


def asserts() -> None:
    raise AssertionError("the result is not sound")


@pytest.mark.parametrize(
    ("run", "fault"),
    [
        (slow, "TooSlowError"),
        (prints, "output on standard error"),
        (warns, "UserWarning"),
        (refuses_at_length, "message too long"),
        (asserts, "AssertionError"),
        (sys.exit, "SystemExit"),
        (lambda: [].append(1 / 0), "ZeroDivisionError"),
        (lambda: bytearray(1 << 60), "MemoryError"),
    ],
)
def test_what_an_input_breaks_is_found(
    run: Callable[[], None], fault: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fuzz_verdict, "SECONDS", 0.05)
    found = judge(run, lambda: capsys.readouterr().err).fault
    assert found is not None
    assert found.startswith(fault)


def test_success_and_a_fastnn_error_break_nothing() -> None:
    def refuses() -> None:
        raise DataError("a.csv: line 3 is damaged")

    assert judge(lambda: None).fault is None
    found = judge(refuses)
    assert (found.fault, found.outcome) == (None, "line is damaged")


def test_inputs_reach_what_lies_behind_checks_and_are_the_same_each_time(tmp_path: Path) -> None:
    def run(content: bytes, _: Bench) -> None:
        if not content.startswith(b"GOOD"):
            raise DataError("bad start")
        if b"9999" in content:
            raise ValueError("not a FastnnError")

    target = Target("x", run, lambda: [b"GOOD 1 2 3"], fuzz_mutate.text())
    with Bench(tmp_path) as bench:
        report, broke = run_target(target, 500, 3, bench)
        assert run_target(target, 500, 3, bench) == (report, broke)
    (fault,) = broke
    assert fault.startswith("ValueError at attacks/test_fuzz.py")
    assert report.inputs == 500
    assert 0 < report.accepted < 500
    assert b"9999" in broke[fault]
