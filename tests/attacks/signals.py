"""Send signals to commands at random times, and check how they end and what they leave.

SIGINT, SIGTERM or SIGHUP, or two of them in a row, arrive when a command has used a random amount of CPU time, in a
terminal or with pipes. The process must end by the signal or with its exit code, print at most one line about it and no
traceback, show the cursor again, and leave no process and no temporary file. A stopped run, resumed, must end in the
same bytes as one that was not disturbed, and a stopped sweep must find the same. Before fastnn's first line Python's
own handler may print a traceback. In a terminal all processes of a command get a signal, as they do from Ctrl-C.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastnn import Recipe, Session, load_dataset, load_model, save_model
from fastnn.errors import FastnnError
from tests.attacks import make_parser
from tests.attacks.commands import SPACE
from tests.attacks.processes import processes_left
from tests.helpers import ROOT, blobs, environment, invoke, read_until, save_npz, start_process
from tests.models import model
from tests.sweep.forks import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SECONDS = 30.0
"""A process that has not ended so long after a signal hangs."""
_ENDLESS = "1000000"

_LINE = re.compile(r"stopped: (epoch (\d+) is saved|nothing was trained yet); continue with: fastnn train --resume run")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Case:
    """A command to attack.

    Attributes
    ----------
    name : str
    args : tuple of str
    cpu : float
        Signals arrive before it has used so many seconds of CPU time.
    cold : bool
        Whether it finds no compiled kernels.
    needs : str
        A package that it needs and that may be missing.
    on_scheduler : bool
        Whether it is given a Dask scheduler.
    """

    name: str
    args: tuple[str, ...]
    cpu: float
    cold: bool = False
    needs: str = ""
    on_scheduler: bool = False

    @property
    def trains(self) -> bool:
        """Whether it ends only by a signal, and can be resumed."""
        return self.args[0] == "train"

    @property
    def searches(self) -> bool:
        """Whether it is a sweep, which ends only by a signal too."""
        return self.args[0] == "sweep"


_TRAIN = ("train", "--data", "data.npz", "--epochs", _ENDLESS, "--out", "run")
_EVALUATE = ("evaluate", "model.safetensors", "--data", "data.npz")
_CV = ("cv", "--data", "data.npz", "--folds", "3", "--repeats")
_SWEEP = (
    "--data", "data.npz", "--space", "space.toml", "--sampler", "random", "--trials", _ENDLESS, "--workers", "2",
)  # fmt: skip
CASES = (
    Case("train", _TRAIN, 1.2),
    Case("ensemble", (*_TRAIN, "--ensemble", "3"), 1.5),
    Case("train, cold", _TRAIN, 4.0, cold=True),
    Case("evaluate", _EVALUATE, 0.5),
    Case("evaluate, cold", _EVALUATE, 3.0, cold=True),
    Case(
        "report", ("evaluate", "model.safetensors", "--data", "data.npz", "--report", "report"), 4.0, needs="matplotlib"
    ),
    Case("convert", ("data", "convert", "data.npz", "new.json"), 0.6),
    Case("convert to IDX", ("data", "convert", "data.npz", "idx"), 0.6),
    Case("import", ("data", "import", "data.npz", "--into", "sqlite:///new.db"), 1.5, needs="sqlalchemy"),
    Case("cv", (*_CV, "20"), 2.0),
    Case("cv on a scheduler", (*_CV, "1000"), 1.4, needs="distributed", on_scheduler=True),
    Case("sweep", ("sweep", *_SWEEP), 1.5, needs="distributed"),
    Case("clean", ("data", "clean", "data.npz", "--out", "clean.csv"), 4.0, needs="cleanlab"),
)


@dataclass
class Tally:
    """What an attack has done and found."""

    signals: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    before_fastnn: int = 0
    too_late: int = 0
    findings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes
    ----------
    code : int
        Exit code; negative if a signal ended it.
    output, errors : str
        In a terminal `errors` holds both.
    orphans : list of str
        Processes of its group that are left.
    seconds : float
        From the first signal to its end.
    """

    code: int
    output: str
    errors: str
    orphans: list[str]
    seconds: float


class Folder:
    """A folder in which commands run, and what they end with when nothing disturbs them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._whole: dict[tuple[bool, int], bytes] = {}
        save_npz(blobs(1500), path / "data.npz")
        save_model(model(), path / "model.safetensors")
        (path / "space.toml").write_text(SPACE.replace("epochs = 3", "epochs = 10"))
        self._kept = {entry.name for entry in path.iterdir()}

    def clear(self) -> None:
        """Remove what a command has made."""
        for entry in self.path.iterdir():
            if entry.name not in self._kept:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def whole(self, case: Case, epochs: int) -> bytes:
        """Return the bytes of the model after an undisturbed training of so many epochs."""
        several = "--ensemble" in case.args
        if (several, epochs) not in self._whole:
            recipe = Recipe(epochs=epochs, ensemble=3 if several else 1)
            with contextlib.chdir(self.path):
                session = Session(load_dataset("data.npz"), recipe, "whole", source="data.npz")
                for _ in session:
                    pass
                self._whole[several, epochs] = Path("whole/model.safetensors").read_bytes()
                shutil.rmtree("whole")
        return self._whole[several, epochs]

    def temporaries(self) -> list[str]:
        """Return the names of temporary files and folders, also in the caches."""
        return [str(one.relative_to(self.path)) for one in self.path.rglob("*.tmp")]


def attack(n: int, seed: int, cases: Sequence[Case] = CASES) -> Tally:
    """Attack `n` times, each of the cases in turn."""
    generator, tally = random.Random(seed), Tally()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder, scheduler = Folder(Path(name)), ""
        for k in range(n):
            case = cases[k % len(cases)]
            if case.on_scheduler:
                scheduler = scheduler or _start_scheduler(stack)
                case = replace(case, args=(*case.args, "--scheduler", scheduler))
            numbers = _choose_signals(generator)
            at, terminal, gap = generator.uniform(0, case.cpu), generator.random() < 0.4, generator.uniform(0, 0.05)
            ended = run(folder.path, case, numbers, at=at, gap=gap, terminal=terminal)
            what = f"{case.name}, {'+'.join(one.name for one in numbers)} at {at:.3f} s, terminal={terminal}"
            tally.signals["+".join(one.name for one in numbers)] += 1
            tally.findings += [f"{what}: {fault}" for fault in _faults(folder, case, numbers, ended, tally)]
            if case.on_scheduler and (left := _jobs_left(scheduler)):
                tally.findings.append(f"{what}: the workers still do {left}")
            folder.clear()
    return tally


def _start_scheduler(stack: contextlib.ExitStack) -> str:
    """Start a scheduler with two workers; return its address."""
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    command = [sys.executable, "-m", "tests.sweep.forks"]
    process = stack.enter_context(start_process(command, cwd=ROOT, **SETTINGS))
    assert process.stdin is not None
    print(json.dumps({"workers": 2, "folder": folder}), file=process.stdin, flush=True)
    address: str = json.loads(read_until(process, '{"answer": ')[-1])["answer"]
    return address


def _jobs_left(scheduler: str) -> list[str]:
    """Return the jobs that workers still do after some seconds."""
    from distributed import Client

    end, found = time.monotonic() + SECONDS, [""]
    with Client(scheduler, set_as_default=False) as client:
        while found and time.monotonic() < end:
            found = [name for worker in client.call_stack().values() for name in worker]
    return found


def _choose_signals(generator: random.Random) -> tuple[signal.Signals, ...]:
    first = generator.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    return (first, generator.choice((signal.SIGINT, signal.SIGTERM))) if generator.random() < 0.25 else (first,)


def run(folder: Path, case: Case, numbers: Sequence[signal.Signals], *, at: float, gap: float, terminal: bool) -> Ended:
    """Run a command and send it signals, the first one when it has used `at` seconds of CPU time."""
    caches = {"FASTNN_CACHE_DIR": str(folder / "cache")}
    if case.cold:
        caches["NUMBA_CACHE_DIR"] = str(folder / "cold")
    command = [sys.executable, "-m", "fastnn", *case.args]
    streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    master = None
    if terminal:
        master, slave = os.openpty()
        streams = dict.fromkeys(streams, slave)
        caches["TERM"] = "xterm"
    process = subprocess.Popen(command, cwd=folder, env=environment(**caches), start_new_session=True, **streams)
    try:
        if master is not None:
            os.close(slave)
        shown = bytearray()
        while process.poll() is None and cpu_time(process.pid) < at:
            _read(master, shown, 0.001)
        start = time.monotonic()
        for k, number in enumerate(numbers):
            if k:
                _read(master, shown, gap)
            if terminal:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
            else:
                process.send_signal(number)
        output, errors = b"", b""
        if master is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                output, errors = process.communicate(timeout=SECONDS)
        else:
            while process.poll() is None and time.monotonic() < start + SECONDS:
                _read(master, shown, 0.01)
            _read(master, shown, 0)
            errors = bytes(shown)
        seconds = time.monotonic() - start
        orphans = [] if process.returncode is None else processes_left(process.pid)
        code = 0 if process.returncode is None else process.returncode
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if master is not None:
            os.close(master)
    return Ended(code, output.decode(), errors.decode(), orphans, seconds)


def _read(master: int | None, shown: bytearray, seconds: float) -> None:
    """Wait, at most so long; take what the terminal shows meanwhile."""
    if master is None:
        time.sleep(seconds)
    elif select.select([master], [], [], seconds)[0]:
        # The system's answer when the last process has left the terminal.
        with contextlib.suppress(OSError):
            shown += os.read(master, 1 << 16)


def cpu_time(pid: int) -> float:
    """Return the seconds of CPU time that a process has used; 0 if it has ended."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            total += int(task.read_text().split()[0])
    return total / 1e9


# ---- checks ----


def _faults(folder: Folder, case: Case, numbers: Sequence[signal.Signals], ended: Ended, tally: Tally) -> Iterator[str]:
    """Yield what is wrong after a command has ended."""
    if ended.seconds > SECONDS:
        yield "does not end"
        return
    text = ended.output + ended.errors
    if ended.code == 0 and not case.trains and not case.searches:
        # It was done already, or nearly so.
        tally.too_late += 1
    elif _began_before_fastnn(ended):
        tally.before_fastnn += 1
    else:
        allowed = {code for number in numbers for code in (-number, 128 + number)}
        if ended.code not in allowed:
            yield f"exit code {ended.code}: {text.strip()[-400:]}"
        if "Traceback" in text or "Exception ignored" in text:
            yield f"a traceback: {text.strip()[-2000:]}"
        yield from _line_faults(case, ended)
    yield from (f"still running after a second: {one}" for one in ended.orphans)
    if text.rfind("\x1b[?25l") > text.rfind("\x1b[?25h"):
        yield "the cursor is hidden"
    yield from (f"{name} is left" for name in folder.temporaries())
    if case.trains and (folder.path / "run").exists():
        yield from _resume_faults(folder, case, ended, tally)
    if case.searches and (folder.path / "space.study").exists():
        yield from _study_faults(folder, tally)


def _began_before_fastnn(ended: Ended) -> bool:
    """Return whether a traceback of Ctrl-C shows Python's own start and none of fastnn's lines."""
    text = ended.output + ended.errors
    return "KeyboardInterrupt" in text and not re.search(r"fastnn/(__main__|\w+/)", text)


def _line_faults(case: Case, ended: Ended) -> Iterator[str]:
    """Yield what is wrong in what a command printed about the signal."""
    lines = [line.strip() for line in _ESCAPES.sub("", ended.errors).splitlines() if line.strip()]
    if not case.trains:
        # In a terminal the errors hold results too.
        return
    about = [line for line in lines if line.startswith("stopped:")]
    if len(about) > 1 or any(not _LINE.fullmatch(line) for line in about):
        yield f"messages {about}"


def _resume_faults(folder: Folder, case: Case, ended: Ended, tally: Tally) -> Iterator[str]:
    """Yield what is wrong after a run is resumed for one epoch more."""
    with contextlib.chdir(folder.path):
        try:
            done = max(Session.resume("run").member_epochs)
        except Exception as error:
            yield f"cannot be resumed: {error}"
            return
        said = _LINE.search(ended.output + ended.errors)
        saved = load_model("run").card.epochs or 0
        if said is not None and int(said[2] or 0) != saved:
            yield f"{said[0]}, but the checkpoint is of epoch {saved}"
        # As a user does; the recipe has more epochs than anybody waits for.
        result = invoke(["train", "--resume", "run", "--epochs", str(done + 1), "--quiet"])
        if result.exit_code:
            yield f"resuming failed: {result.output}"
        elif Path("run/model.safetensors").read_bytes() != folder.whole(case, done + 1):
            yield f"the model after {done + 1} epochs differs from that of an undisturbed run"
        else:
            tally.resumed += 1
    yield from (f"{name} is left after --resume" for name in folder.temporaries())


def _study_faults(folder: Folder, tally: Tally) -> Iterator[str]:
    """Yield what is wrong after a sweep goes on until each trial that it had begun is done."""
    from fastnn.cluster import InProcess
    from fastnn.sweep.options import SweepOptions
    from fastnn.sweep.run import Sweep
    from fastnn.sweep.space import load_space

    def run(study: str, trials: int) -> list[Any]:
        sweep = Sweep(data, space, study, SweepOptions(trials=trials, sampler="random"))
        list(sweep.run(InProcess()))
        return [(one.number, one.state, one.params, one.values) for one in sweep.study]

    with contextlib.chdir(folder.path):
        data, space = load_dataset("data.npz"), load_space("space.toml")
        try:
            found = run("space.study", 1)
        except FastnnError as error:
            yield f"the sweep does not go on: {error}"
            return
        if any(state != "complete" for _, state, *_ in found):
            yield f"trials are not done: {found}"
        few = min(len(found), 4)
        if found[:few] != run("whole.study", few):
            yield f"the sweep found other things than an undisturbed one: {found[:few]}"
    tally.resumed += 1


def main() -> int:
    """Attack, and print what was found."""
    parser = make_parser("signals", __doc__, n=100)
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES], help="default: all")
    options = parser.parse_args()
    if os.name != "posix" or not Path("/proc/self/task").is_dir():
        print("skipped: needs POSIX signals and /proc")
        return 0
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # So would the commands, if this program runs in the background of a script.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    chosen = [case for case in CASES if options.case is None or case.name in options.case]
    missing = [case for case in chosen if case.needs and find_spec(case.needs) is None]
    for case in missing:
        print(f"skipped {case.name}: {case.needs} is not installed")
    chosen = [case for case in chosen if case not in missing]
    tally = attack(options.n, options.seed, chosen)
    sent = ", ".join(f"{name} {count}" for name, count in sorted(tally.signals.items()))
    print(f"{options.n} attacks on {', '.join(case.name for case in chosen)}: {sent}")
    print(
        f"{tally.resumed} runs resumed to the same bytes; {tally.too_late} commands had finished, "
        f"{tally.before_fastnn} had not reached fastnn's first line"
    )
    for finding in tally.findings:
        print(f"BROKEN {finding}")
    print(f"{len(tally.findings)} findings")
    return 1 if tally.findings else 0


if __name__ == "__main__":
    sys.exit(main())
