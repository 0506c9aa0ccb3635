"""Give every reader and writer of fastnn damaged inputs: only success or a FastnnError may come back.

An input may take 5 s of CPU time and add 500 MB of memory; nothing may warn or write to standard error, and what is
accepted must be sound. Each target of the table in fuzz_targets.py runs in a process of its own. With atheris (``pip
install atheris``, for Linux) the coverage of fastnn's Python code guides the inputs; without it, new error messages do.

    python -m tests.attacks.fuzz --n 5000
    python -m tests.attacks.fuzz --n 1000000 --targets csv,json --jobs 2
    python -m tests.attacks.fuzz --targets csv --replay FOLDER/csv-1

Inputs that break something are written to files, one for each place in the code.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import mmap
import os
import pkgutil
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.attacks import make_parser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from tests.attacks.fuzz_targets import Bench, Target
    from tests.attacks.fuzz_verdict import Verdict

CORPUS = Path(__file__).with_name("corpus")
"""Inputs that once broke something, in a folder for each target; they are tried first."""

_HANG_SECONDS = 120.0
_LAST_BYTES = 1 << 20
_MOST_IN_CORPUS = 500


@dataclass
class Report:
    """What a target did with its inputs.

    Attributes
    ----------
    target : str
    inputs : int
    accepted : int
        How many were valid.
    outcomes : int
        Number of different error messages.
    seconds : float
    memory : int
        Bytes that the process grew by.
    slowest : float
        CPU time of the slowest input, in seconds.
    faults : dict
        For each fault the number of inputs, a traceback, and the file with the smallest input.
    """

    target: str
    inputs: int = 0
    accepted: int = 0
    outcomes: int = 0
    seconds: float = 0.0
    memory: int = 0
    slowest: float = 0.0
    faults: dict[str, list[Any]] = field(default_factory=dict)


class Attack:
    """The inputs of one target: seeds first, then mutations of seeds and of inputs with a new outcome.

    Parameters
    ----------
    target : Target
    seed : int
    heavy : bool
        Whether to try inputs that take seconds.
    """

    def __init__(self, target: Target, seed: int, *, heavy: bool) -> None:
        self.target, self._seed = target, seed
        folder = CORPUS / target.name
        kept = [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []
        self.sound = list(target.make_seeds())
        self.first = [*self.sound, *kept, *(target.heavy() if heavy else ())]
        self._odd = [*self.sound, *kept]
        self._outcomes: set[str] = set()

    def input(self, index: int) -> bytes:
        """Return the input of this number."""
        if index < len(self.first):
            return self.first[index]
        chance = random.Random(f"{self._seed} {self.target.name} {index}")
        # What was refused is mutated less often: most of its children end at the same check.
        return self.mutated(chance, chance.choice(self.sound if chance.random() < 0.7 else self._odd))

    def mutated(self, chance: random.Random, content: bytes) -> bytes:
        """Return a mutation of an input."""
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            content = self.target.mutator(chance, content)
        return content

    def learn(self, content: bytes, verdict: Verdict) -> None:
        """Keep an input with a new outcome, so that it is mutated further."""
        if verdict.outcome not in self._outcomes:
            self._outcomes.add(verdict.outcome)
            if verdict.fault is None and len(content) < 1 << 16 and len(self._odd) < _MOST_IN_CORPUS:
                self._odd.append(content)

    @property
    def outcomes(self) -> int:
        """Number of different outcomes so far."""
        return len(self._outcomes)


def run_target(
    target: Target, n: int, seed: int, bench: Bench, *, printed: Callable[[], str] = str
) -> tuple[Report, dict[str, bytes]]:
    """Attack one target in this process, without limits on memory.

    Returns
    -------
    report : Report
    broke : dict of str to bytes
        The first input of each fault.
    """
    from tests.attacks.fuzz_verdict import judge

    attack, report, broke = Attack(target, seed, heavy=False), Report(target.name), {}
    for index in range(max(len(attack.first), round(n * target.share))):
        content = attack.input(index)
        verdict = judge(lambda content=content: target.run(content, bench), printed, longest=target.longest_message)
        attack.learn(content, verdict)
        report.inputs += 1
        report.accepted += verdict.outcome.startswith("accepted") and verdict.fault is None
        if verdict.fault is not None:
            report.faults.setdefault(verdict.fault, [0, verdict.detail, ""])[0] += 1
            broke.setdefault(verdict.fault, content)
    report.outcomes = attack.outcomes
    return report, broke


# ---- in the process of a target ----


class _Worker:
    """Judges inputs in the process of a target, and writes what its parent needs if the process dies."""

    def __init__(self, target: Target, options: argparse.Namespace, printed: Callable[[], str]) -> None:
        from tests.attacks.fuzz_targets import Bench

        self._target, self._printed, self._folder = target, printed, Path(options.child)
        self._findings = Path(options.findings)
        self.attack = Attack(target, options.seed, heavy=True)
        self.n = max(len(self.attack.first), round(options.n * target.share))
        self.report = Report(target.name)
        inputs = self._folder / "inputs"
        inputs.mkdir(exist_ok=True)
        self.bench = Bench(inputs)
        with (self._folder / "last").open("r+b") as file:
            self._last = mmap.mmap(file.fileno(), 0)
        self._start = time.monotonic()
        self._memory = 0

    def warm_up(self) -> None:
        """Run the seeds, so that kernels are compiled and modules are loaded; then limit the memory."""
        from tests.attacks.fuzz_verdict import limit_memory, memory_of_this_process

        for content in self.attack.sound:
            with contextlib.suppress(Exception):
                self._target.run(content, self.bench)
        self._printed()
        limit_memory()
        self._start, self._memory = time.monotonic(), memory_of_this_process()

    def judge(self, index: int, content: bytes) -> Verdict:
        """Run one input and count what became of it."""
        from tests.attacks.fuzz_verdict import judge

        shown = content[: _LAST_BYTES - 16]
        self._last[: 16 + len(shown)] = index.to_bytes(8, "little") + len(shown).to_bytes(8, "little") + shown
        start = time.process_time()
        verdict = judge(
            lambda: self._target.run(content, self.bench), self._printed, longest=self._target.longest_message
        )
        self.attack.learn(content, verdict)
        report = self.report
        report.slowest = max(report.slowest, time.process_time() - start)
        report.inputs += 1
        report.accepted += verdict.outcome.startswith("accepted") and verdict.fault is None
        if verdict.fault is not None:
            self._keep(verdict, content)
        return verdict

    def _keep(self, verdict: Verdict, content: bytes) -> None:
        assert verdict.fault is not None
        known = self.report.faults.setdefault(verdict.fault, [0, verdict.detail, ""])
        known[0] += 1
        path = Path(known[2]) if known[2] else finding(self._findings, self._target.name, verdict.fault)
        if not known[2] or len(content) < path.stat().st_size:
            path.write_bytes(content)
        known[2] = str(path)
        if known[0] == 1:
            self.save()

    def save(self) -> None:
        """Write the report."""
        from tests.attacks.fuzz_verdict import memory_of_this_process

        self.report.seconds = time.monotonic() - self._start
        self.report.memory = memory_of_this_process() - self._memory
        self.report.outcomes = self.attack.outcomes
        text = json.dumps(asdict(self.report), ensure_ascii=True)
        (self._folder / "report.tmp").write_text(text)
        (self._folder / "report.tmp").replace(self._folder / "report.json")


def finding(folder: Path, target: str, fault: str) -> Path:
    """Return the path of the file for an input that broke something."""
    return folder / f"{target}-{hashlib.sha256(fault.encode(errors='replace')).hexdigest()[:8]}"


def _child(options: argparse.Namespace) -> None:
    """Attack one target in this process, from input `options.start` on."""
    folder = Path(options.child)
    os.environ["FASTNN_CACHE_DIR"] = str(folder / "cache")
    guided = options.engine == "atheris"
    if guided:
        _import_instrumented()
    from tests.attacks.fuzz_targets import TARGETS

    target = TARGETS[options.targets]
    with _captured(folder / "errors", in_python=guided) as printed:
        worker = _Worker(target, options, printed)
        worker.warm_up()
        if guided:
            _run_atheris(worker, options)
        for index in range(options.start, worker.n):
            worker.judge(index, worker.attack.input(index))
        worker.save()
        _leave(folder)


def _leave(folder: Path) -> None:
    """End the process without what modules do at exit: it is no part of the attack."""
    (folder / "done").touch()
    sys.stdout.flush()
    os._exit(0)


def _import_instrumented() -> None:
    """Import fastnn so that atheris sees which branches run; not the kernels, which Numba compiles."""
    import atheris

    with atheris.instrument_imports(include=["fastnn"], exclude=["fastnn.kernels"]):
        import fastnn

        for module in pkgutil.walk_packages(fastnn.__path__, "fastnn."):
            if not module.name.endswith("__main__") and ".kernels" not in module.name:
                with contextlib.suppress(ImportError):
                    importlib.import_module(module.name)


def _run_atheris(worker: _Worker, options: argparse.Namespace) -> None:
    """Let atheris choose the inputs; a fourth of the mutations are its own, which do not know the format."""
    import atheris

    folder = Path(options.child) / "corpus"
    folder.mkdir(exist_ok=True)
    for number, content in enumerate(worker.attack.first):
        (folder / str(number)).write_bytes(content)
    index = options.start

    def test(content: bytes) -> None:
        nonlocal index
        if index >= worker.n:
            worker.save()
            _leave(Path(options.child))
        worker.judge(index, content)
        index += 1

    def mutate(content: bytes, most: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.25:
            return bytes(atheris.Mutate(content, most))
        return worker.attack.mutated(chance, content)[:most]

    limits = ["-rss_limit_mb=0", "-timeout=100000", "-max_len=262144", "-detect_leaks=0", "-print_final_stats=0"]
    atheris.Setup(
        ["fuzz", str(folder), f"-seed={options.seed + options.start + 1}", *limits], test, custom_mutator=mutate
    )
    atheris.Fuzz()


@contextlib.contextmanager
def _captured(path: Path, *, in_python: bool) -> Iterator[Callable[[], str]]:
    """Yield a function that returns what was written to standard error since its last call.

    With `in_python`, what C writes is not seen: atheris writes its progress there.
    """
    if in_python:
        stream = io.StringIO()

        def taken() -> str:
            text = stream.getvalue()
            if text:
                stream.seek(stream.truncate(0))
            return text

        with contextlib.redirect_stderr(stream):
            yield taken
        return
    with path.open("ab") as file:
        os.dup2(file.fileno(), 2)
        position = path.stat().st_size

        def written() -> str:
            nonlocal position
            start, position = position, os.fstat(file.fileno()).st_size
            return path.read_bytes()[start:position].decode(errors="replace") if position > start else ""

        yield written


# ---- in the parent ----


def _attack_in_child(name: str, options: argparse.Namespace, folder: Path) -> Report:
    """Attack one target in child processes: a new one goes on after an input that ended the one before."""
    folder.mkdir()
    start, total = 0, Report(name)
    while True:
        (folder / "last").write_bytes(bytes(_LAST_BYTES))
        (folder / "report.json").unlink(missing_ok=True)
        died = _run_child(name, start, options, folder)
        if (folder / "report.json").is_file():
            _add(total, Report(**json.loads((folder / "report.json").read_text())))
        if died is None:
            return total
        last = (folder / "last").read_bytes()
        index, length = (int.from_bytes(last[at : at + 8], "little") for at in (0, 8))
        errors = (folder / "errors").read_text(errors="replace")[-2000:] if (folder / "errors").is_file() else ""
        path = finding(Path(options.findings), name, died)
        path.write_bytes(last[16 : 16 + length])
        total.faults.setdefault(died, [0, errors, str(path)])[0] += 1
        total.inputs = max(total.inputs, index + 1)
        if index < start or (start > 0 and index == start) or total.faults[died][0] > 20:
            return total  # it dies before its first input, or again and again
        start = index + 1


def _add(total: Report, part: Report) -> None:
    for name in ("inputs", "accepted", "seconds"):
        setattr(total, name, getattr(total, name) + getattr(part, name))
    for name in ("outcomes", "memory", "slowest"):
        setattr(total, name, max(getattr(total, name), getattr(part, name)))
    for fault, (count, detail, path) in part.faults.items():
        total.faults.setdefault(fault, [0, detail, path])[0] += count


def _run_child(name: str, start: int, options: argparse.Namespace, folder: Path) -> str | None:
    """Run a child to its end; return how it died, or None if it finished."""
    (folder / "done").unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.attacks.fuzz", "--child", str(folder), "--targets", name]
    command += ["--start", str(start), "--n", str(options.n), "--seed", str(options.seed)]
    command += ["--findings", options.findings, "--engine", options.engine]
    # Without this, each thread of malloc reserves memory that counts for the limit.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "2", "PYTHONWARNINGS": "default"}
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
        try:
            seen, since = b"", time.monotonic()
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(1.0)
                with (folder / "last").open("rb") as file:
                    now = file.read(8)
                if now != seen:
                    seen, since = now, time.monotonic()
                elif time.monotonic() - since > _HANG_SECONDS:
                    return f"no end after {_HANG_SECONDS:.0f} s"
        finally:
            process.kill()
            process.wait()
    if (folder / "done").is_file():
        return None
    if process.returncode < 0:
        return f"the process ended by {signal.Signals(-process.returncode).name}"
    text = (folder / "output").read_text(errors="replace")
    return f"the process ended with code {process.returncode}: {text[-300:]}"


def _replay(options: argparse.Namespace) -> int:
    """Run one input from a file and show what it breaks."""
    from tests.attacks.fuzz_targets import TARGETS, Bench
    from tests.attacks.fuzz_verdict import judge

    content = Path(options.replay).read_bytes()
    with tempfile.TemporaryDirectory() as folder, Bench(Path(folder)) as bench:
        os.environ["FASTNN_CACHE_DIR"] = f"{folder}/cache"
        verdict = judge(lambda: TARGETS[options.targets].run(content, bench))
    print(verdict.fault or verdict.outcome, verdict.detail, sep="\n")
    return int(verdict.fault is not None)


def _show(report: Report) -> None:
    speed = report.inputs / report.seconds if report.seconds else 0.0
    print(
        f"{report.target:<16}{report.inputs:>10,} inputs {speed:>8,.0f}/s "
        f"{report.accepted / max(1, report.inputs):>5.0%} accepted, {report.outcomes:>3} outcomes, "
        f"+{report.memory >> 20} MB, slowest {report.slowest:.2f} s"
        + (f", {len(report.faults)} FAULTS" if report.faults else ""),
        flush=True,
    )
    for fault, (count, detail, path) in report.faults.items():
        print(
            f"  {fault} ({count:,} inputs)\n    python -m tests.attacks.fuzz --targets {report.target} --replay {path}"
        )
        last = [line for line in detail.strip().splitlines() if line.strip()][-1:]
        print(f"    {(last or [''])[0].strip()[:200]}", flush=True)


def main() -> int:
    parser = make_parser("fuzz", __doc__, n=5000)
    parser.add_argument("--targets", default="", help="names with commas between them (default: all)")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time (default: %(default)s)")
    parser.add_argument("--engine", choices=("auto", "atheris", "own"), default="auto", help="what chooses the inputs")
    parser.add_argument("--findings", default=str(Path(tempfile.gettempdir()) / "fastnn-fuzz"), metavar="FOLDER")
    parser.add_argument("--replay", metavar="FILE", help="run this input alone")
    parser.add_argument("--child", metavar="FOLDER", help="(used by the program itself)")
    parser.add_argument("--start", type=int, default=0, help="(used by the program itself)")
    options = parser.parse_args()
    if options.replay:
        return _replay(options)
    if options.child:
        _child(options)
    if os.name != "posix":
        print("skipped: inputs hold names of files that Windows forbids")
        return 0
    from tests.attacks.fuzz_targets import TARGETS

    names = options.targets.split(",") if options.targets else list(TARGETS)
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        parser.error(f"no target {unknown[0]!r}; there are {', '.join(TARGETS)}")
    if options.engine == "auto":
        options.engine = "own" if importlib.util.find_spec("atheris") is None else "atheris"
    how = "coverage-guided by atheris" if options.engine == "atheris" else "own mutations, not guided by coverage"
    print(f"fuzz: {len(names)} targets, {options.n:,} inputs each, seed {options.seed}, {how}", flush=True)
    Path(options.findings).mkdir(parents=True, exist_ok=True)
    # In memory, if the system has such a folder: files are written for most inputs.
    shared = Path("/dev/shm")  # noqa: S108 - only this user can enter the folder that mkdtemp makes in it
    root = Path(tempfile.mkdtemp(prefix="fastnn-fuzz-", dir=shared if shared.is_dir() else None))
    reports = []
    try:
        with ThreadPoolExecutor(options.jobs) as pool:
            for report in pool.map(lambda name: _attack_in_child(name, options, root / name), names):
                _show(report)
                reports.append(report)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    faults = sum(len(report.faults) for report in reports)
    print(f"fuzz: {sum(report.inputs for report in reports):,} inputs, {faults} faults")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
