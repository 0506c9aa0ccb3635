"""Train in unusual environments, and check that every one of them gives the same bytes.

Locales, time zones, hash seeds, home folders, users, options of Python, terminals, closed and full streams, limits and
numbers of cores: first each alone, then several at once. A training must end with exit code 0, the same model file and
no warning; where it cannot, such as on a full output, with the right exit code and one line.
"""

from __future__ import annotations

import contextlib
import functools
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.attacks import make_parser
from tests.helpers import ROOT, blobs, environment, save_npz

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SECONDS = 120.0
"""A training that takes longer hangs."""

# "{out}" is the run folder.
COMMANDS = (
    ("--recipe", "original", "--hidden", "20", "--epochs", "2"),
    ("--recipe", "modern", "--hidden", "12", "--epochs", "2", "--ensemble", "2"),
    ("--recipe", "original", "--hidden", "9", "--epochs", "3", "--validation-fraction", "0.2", "--json"),
)


@dataclass(frozen=True)
class Oddity:
    """Something unusual about an environment.

    Attributes
    ----------
    name : str
    variables : dict
        Environment variables; None removes one.
    options : tuple of str
        Options of Python.
    prepare : callable, optional
        Called in the child process before Python starts.
    terminal : bool
        Whether the standard streams are a terminal.
    code : int
        Expected exit code.
    errors : str
        Expected standard error, if the code is not 0.
    group : str
        Two of one group cannot go together.
    cold : bool
        Whether kernels are compiled, which takes seconds.
    missing : str
        Why this machine cannot do it; empty if it can.
    """

    name: str
    variables: dict[str, str | None] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    prepare: Callable[[], object] | None = None
    terminal: bool = False
    code: int = 0
    errors: str = ""
    group: str = ""
    cold: bool = False
    missing: str = ""


def oddities(locales: Path) -> list[Oddity]:
    """Return all that can be tried here, and what cannot with the reason; `locales` is a folder for locales."""
    full = "" if Path("/dev/full").exists() else "no /dev/full"
    return [
        *(
            Oddity(f"locale {name}", {"LC_ALL": name, "LANG": name}, group="locale")
            for name in ("C", "POSIX", "C.UTF-8", "xx_YY")
        ),
        *(
            # Turkish has another lower case of I, German a decimal comma, Japanese here an old encoding.
            Oddity(
                f"locale {name}",
                {"LC_ALL": name, "LOCPATH": str(locales)},
                group="locale",
                missing=_make_locale(name, locales),
            )
            for name in ("tr_TR.UTF-8", "de_DE.ISO-8859-1", "ja_JP.EUC-JP")
        ),
        Oddity("UTF-8 off", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, group="locale"),
        Oddity("ASCII streams", {"PYTHONIOENCODING": "ascii"}),
        *(Oddity(f"hash seed {n}", {"PYTHONHASHSEED": n}, group="hash") for n in ("0", "1", "4294967295")),
        *(Oddity(f"TZ={zone}", {"TZ": zone}, group="zone") for zone in ("Asia/Kathmandu", ":nowhere", "XYZ-14:37")),
        Oddity("no HOME", {"HOME": None, "XDG_CACHE_HOME": None, "FASTNN_CACHE_DIR": None}, group="home"),
        Oddity("no such HOME", {"HOME": "/nowhere/at/all", "FASTNN_CACHE_DIR": None}, group="home"),
        Oddity("HOME is a file", {"HOME": "/dev/null", "FASTNN_CACHE_DIR": None}, group="home"),
        Oddity("unwritable caches", {"FASTNN_CACHE_DIR": "/proc/no", "TMPDIR": "/nowhere"}, group="home"),
        Oddity("other user", prepare=_become_nobody, missing=_no_other_user()),
        Oddity(
            "unknown user without HOME",
            {"HOME": None, "XDG_CACHE_HOME": None, "FASTNN_CACHE_DIR": None},
            prepare=_become_unknown,
            group="home",
            missing=_no_other_user(),
        ),
        Oddity("no variables", dict.fromkeys(("HOME", "PATH", "USER", "LANG", "TERM", "SHELL", "TMPDIR"))),
        *(
            Oddity(f"{n} BLAS threads", dict.fromkeys(_BLAS, n), group="BLAS")
            for n in ("1", "7")
        ),
        Oddity("NumPy without CPU features", {"NPY_DISABLE_CPU_FEATURES": _features()}, missing=_no_features()),
        Oddity("FASTNN_CACHE=0", {"FASTNN_CACHE": "0"}, group="compiler", cold=True),
        Oddity("no cache of Numba", {"NUMBA_CACHE_DIR": "/proc/no"}, group="compiler", cold=True),
        # Where the package coverage is installed, Numba imports it, and it needs the current folder.
        Oddity("deleted folder", prepare=_enter_a_deleted_folder, group="compiler"),
        Oddity("dumb terminal", {"TERM": "dumb"}, terminal=True, group="streams"),
        Oddity("terminal", {"TERM": "xterm-256color"}, terminal=True, group="streams"),
        Oddity("terminal of 20 columns", {"TERM": "xterm", "COLUMNS": "20"}, terminal=True, group="streams"),
        Oddity("terminal without size", {"COLUMNS": "0", "LINES": "0"}, terminal=True, group="streams"),
        Oddity("no colours", {"NO_COLOR": "1"}, group="colour"),
        Oddity("colours", {"FORCE_COLOR": "1", "COLORTERM": "truecolor"}, group="colour"),
        Oddity("closed input", prepare=functools.partial(os.close, 0), group="streams"),
        Oddity("closed output", prepare=functools.partial(os.close, 1), group="streams"),
        Oddity("closed errors", prepare=functools.partial(os.close, 2), group="streams"),
        Oddity("all streams closed", prepare=functools.partial(os.closerange, 0, 3), group="streams"),
        Oddity("errors to a full disk", prepare=functools.partial(_redirect, 2), group="streams", missing=full),
        Oddity(
            "full output",
            prepare=functools.partial(_redirect, 1),
            code=1,
            errors=(
                "fastnn: standard output: cannot be used (No space left on device); free some space, and try again\n"
            ),
            group="streams",
            missing=full,
        ),
        *(
            Oddity(f"python {' '.join(options)}", options=options, group="options")
            for options in (
                ("-O",), ("-OO",), ("-X", "dev"), ("-W", "error"), ("-X", "dev", "-W", "error"), ("-I",), ("-B", "-s"),
                ("-X", "frozen_modules=off"), ("-X", "no_debug_ranges"), ("-u",),
            )
        ),
        Oddity("PYTHONMALLOC=debug", {"PYTHONMALLOC": "debug"}),
        Oddity("umask 077", prepare=functools.partial(os.umask, 0o077)),
        Oddity("32 open files", prepare=_limit_open_files),
        Oddity("one core", prepare=_use_one_core, missing="" if hasattr(os, "sched_setaffinity") else "no affinity"),
        Oddity("SIGCHLD and SIGPIPE ignored", prepare=_ignore_signals),
        Oddity("SIGINT ignored", prepare=functools.partial(signal.signal, signal.SIGINT, signal.SIG_IGN)),
    ]  # fmt: skip


_UNKNOWN = 54321
"""A user and a group that the system does not know."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_BLAS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def _make_locale(name: str, folder: Path) -> str:
    """Compile a locale into a folder; return why that is not possible, or an empty text."""
    if shutil.which("localedef") is None:
        return "no localedef"
    language, _, encoding = name.partition(".")
    done = subprocess.run(
        ["localedef", "-i", language, "-f", encoding, str(folder / name)], capture_output=True, check=False
    )
    return "" if done.returncode == 0 else "its source is not installed"


def _features() -> str:
    found = np.show_config(mode="dicts")
    return " ".join(dict(found).get("SIMD Extensions", {}).get("found", [])) if found else ""


def _no_features() -> str:
    return "" if _features() else "NumPy has none"


def _no_other_user() -> str:
    if os.getuid() != 0:
        return "not root"
    # Nobody must be able to read the package and Python.
    seen = [ROOT, Path(sys.prefix), Path(sys.base_prefix)]
    if any(not one.stat().st_mode & 0o001 for path in seen for one in (path, *path.parents)):
        return "the package or Python is in a private folder"
    return ""


def _become_nobody() -> None:
    import pwd

    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)


def _become_unknown() -> None:
    os.setgroups([])
    os.setgid(_UNKNOWN)
    os.setuid(_UNKNOWN)


def _enter_a_deleted_folder() -> None:
    folder = Path(tempfile.mkdtemp())
    os.chdir(folder)
    folder.rmdir()


def _limit_open_files() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))


def _use_one_core() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _redirect(number: int) -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), number)


def _ignore_signals() -> None:
    for number in (signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)


@dataclass
class Tally:
    """What an attack has done and found."""

    trained: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


class Trainings:
    """Trains in a folder that every user may write to; knows the model of an ordinary environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.chmod(0o777)
        save_npz(blobs(200), folder / "data.npz").chmod(0o644)
        self._expected: dict[int, bytes] = {}

    def expected(self, number: int) -> bytes:
        """Return the model that a command makes in an ordinary environment."""
        if number not in self._expected:
            code, _, errors, model = self.train(COMMANDS[number], ())
            if code or model is None:
                raise RuntimeError(f"an ordinary training fails: {errors}")
            self._expected[number] = model
        return self._expected[number]

    def train(self, command: Sequence[str], odd: Sequence[Oddity]) -> tuple[int | None, str, str, bytes | None]:
        """Return the exit code (None if it hangs), the output, the errors and the model file of a training."""
        run = self.folder / "run"
        variables: dict[str, str | None] = {"PYTHONUNBUFFERED": None}
        for one in odd:
            variables |= one.variables
        options = [option for one in odd for option in one.options]
        # With -I Python ignores PYTHONPATH and the current folder.
        start = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from fastnn.__main__ import main; main()"
        arguments = [
            sys.executable, *options, "-c", start, "train",
            "--data", str(self.folder / "data.npz"), "--out", str(run), *command,
        ]  # fmt: skip

        def prepare() -> None:
            # Last of all the user, who may do less.
            for one in sorted(odd, key=lambda one: one.prepare in (_become_nobody, _become_unknown)):
                if one.prepare is not None:
                    one.prepare()

        found = _run(arguments, self.folder, environment(**variables), prepare, any(one.terminal for one in odd))
        file = run / "model.safetensors"
        model = file.read_bytes() if file.is_file() else None
        shutil.rmtree(run, ignore_errors=True)
        return *found, model

    def faults(self, number: int, odd: Sequence[Oddity]) -> list[str]:
        """Return what is wrong with a training in an odd environment."""
        right = self.expected(number)  # first, so that kernels are compiled in an ordinary environment
        code, output, errors, model = self.train(COMMANDS[number], odd)
        expected = max((one.code for one in odd), default=0)
        allowed = "".join(one.errors for one in odd)
        if code is None:
            return ["does not end"]
        faults = []
        if code != expected:
            faults.append(f"exit code {code}, not {expected}: {(output + errors).strip()[-800:]}")
        elif expected == 0 and model != right:
            faults.append("another model" if model is not None else "no model")
        # With --json, progress is shown on standard error.
        if "--json" not in COMMANDS[number] and _COLOURS.sub("", errors) != allowed:
            faults.append(f"standard error: {errors.strip()[-800:]}")
        faults += [f"{word} in the output" for word in ("Traceback", "Warning") if word in output + errors]
        return faults


def _run(
    arguments: list[str], folder: Path, variables: dict[str, str], prepare: Callable[[], None], terminal: bool
) -> tuple[int | None, str, str]:
    """Run a process; return its exit code (None if it hangs), its output and its errors."""
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    master = -1
    if terminal:
        master, slave = os.openpty()
        streams = dict.fromkeys(streams, slave)
    process = subprocess.Popen(
        arguments,
        cwd=folder,
        env=variables,
        preexec_fn=prepare,  # noqa: PLW1509 - no other thread uses a lock here
        start_new_session=True,
        **streams,
    )
    shown = bytearray()
    output, errors, ended = b"", b"", True
    try:
        if terminal:
            os.close(slave)
            end = time.monotonic() + SECONDS
            while time.monotonic() < end and _read(master, shown):
                pass
            ended = time.monotonic() < end
        else:
            try:
                output, errors = process.communicate(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                ended = False
    finally:
        if not ended:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if terminal:
            os.close(master)
    return process.returncode if ended else None, (output + shown).decode(errors="replace"), errors.decode()


def _read(master: int, shown: bytearray) -> bool:
    """Take what a terminal shows; return False when its last process has left it."""
    if select.select([master], [], [], 0.1)[0]:
        try:
            shown += os.read(master, 1 << 16)
        except OSError:
            return False
    return True


def attack(n: int, seed: int, *, tried: Sequence[Oddity]) -> Tally:
    """Train `n` times: in the environment of each oddity, and then of random sets of two to four."""
    generator, tally = random.Random(seed), Tally()
    with tempfile.TemporaryDirectory() as name:
        trainings = Trainings(Path(name))
        for k in range(n):
            odd = [tried[k]] if k < len(tried) else _choose(generator, tried)
            number = generator.randrange(len(COMMANDS))
            tally.trained["alone" if len(odd) == 1 else "together"] += 1
            names = " + ".join(one.name for one in odd)
            faults = trainings.faults(number, odd)
            tally.findings += [f"{names} (train {' '.join(COMMANDS[number])}): {fault}" for fault in faults]
    return tally


def _choose(generator: random.Random, tried: Sequence[Oddity]) -> list[Oddity]:
    """Return two to four oddities that can go together."""
    chosen: list[Oddity] = []
    for one in generator.sample(list(tried), k=generator.randint(2, 4)):
        if not one.group or one.group not in {other.group for other in chosen}:
            chosen.append(one)
    return chosen


def main() -> int:
    """Attack, and print what was found."""
    options = make_parser("environment", __doc__, n=100).parse_args()
    if os.name != "posix":
        print("skipped: needs POSIX")
        return 0
    with tempfile.TemporaryDirectory() as locales:
        # Other users read them too.
        Path(locales).chmod(0o755)
        known = oddities(Path(locales))
        tally = attack(options.n, options.seed, tried=[one for one in known if not one.missing])
    print(f"{options.n} trainings: " + ", ".join(f"{count} {name}" for name, count in tally.trained.items()))
    for one in known:
        if one.missing:
            print(f"skipped {one.name}: {one.missing}")
    for finding in tally.findings:
        print(f"BROKEN {finding}")
    print(f"{len(tally.findings)} findings")
    return 1 if tally.findings else 0


if __name__ == "__main__":
    sys.exit(main())
