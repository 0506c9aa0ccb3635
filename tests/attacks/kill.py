"""Kill every command that writes with SIGKILL, and look at what it leaves.

A command is killed at a random time, mostly while it writes; before each event of Python that writes; and, where strace
can run, at each system call that writes. Then every result must be the old or the new one, no process may be left, the
next start of the command must end with the same files, byte for byte, as a run that was not disturbed (the columns of a
history that hold times aside), and no temporary file may stay.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.attacks import make_parser
from tests.attacks.commands import CASES, Case, chosen_cases
from tests.attacks.folders import (
    REFUSED,
    Ended,
    Folders,
    Known,
    allowed_results,
    belongs_to_result,
    history_without_times,
    is_temporary,
    read_results,
    stored_digits,
    tree,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLS = (
    "openat", "write", "pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "renameat", "renameat2", "unlink",
    "unlinkat", "mkdir", "mkdirat", "rmdir", "chmod", "fchmod", "fchmodat", "link", "linkat", "symlink", "symlinkat",
)  # fmt: skip
_OF_FILES = ("write", "pwrite64", "fsync", "fdatasync", "ftruncate", "fchmod")
_TRIES = 3
"""How often a time is tried: the command may have ended before."""


@dataclass(frozen=True)
class Moment:
    """When a command is killed.

    Attributes
    ----------
    how : str
        "time", "event" or the name of a system call.
    at : float
        Seconds after the start, or the number of the event or call, from 1.
    """

    how: str
    at: float

    def __str__(self) -> str:
        return f"{self.how}:{self.at:g}"

    @classmethod
    def parse(cls, text: str) -> Moment:
        how, _, at = text.partition(":")
        return cls(how, float(at))


@dataclass
class Tally:
    """What an attack has done and found.

    Attributes
    ----------
    kills : Counter
        Number of kills by "time", "event" and "call".
    missed : int
        How often a command had ended before it could be killed.
    acknowledged : int
        Digits that servers had acknowledged before they were killed.
    findings : list of str
    """

    kills: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    acknowledged: int = 0
    findings: list[str] = field(default_factory=list)

    def found(self, text: str) -> None:
        """Keep a finding, and print it at once."""
        self.findings.append(text)
        print(f"FOUND: {text}", flush=True)


def attack(folders: Folders, case: Case, moment: Moment, tally: Tally) -> bool:
    """Kill a command once and check what it leaves; return False if it ended before it could be killed.

    Parameters
    ----------
    folders : Folders
    case : Case
    moment : Moment
    tally : Tally
        Is added to.
    """
    known = folders.known(case)
    folder = folders.copy(known.folder)
    ended = kill_once(folders, case, folder, moment)
    if ended.code != -9:
        tally.missed += 1
        if ended.code not in (0, 143, -15):
            tally.found(f"{case.name} at {moment}: exit code {ended.code}: {ended.output}")
        shutil.rmtree(folder)
        return False
    tally.kills[moment.how if moment.how in ("time", "event") else "call"] += 1
    tally.acknowledged += len(ended.acknowledged)
    faults = [*_faults(case, known, folder, ended), *_faults_of_next_start(folders, case, known, folder, ended)]
    if faults:
        again = f"python -m tests.attacks.kill --commands {case.name!r} --at {moment}"
        text = "; ".join(faults)
        tally.found(f"{case.name}, killed at {moment}: {text}\n  {again}\n  {_shell(case, moment)}")
    shutil.rmtree(folder)
    return True


def kill_once(folders: Folders, case: Case, folder: Path, moment: Moment) -> Ended:
    if moment.how == "time":
        return folders.run_child(case, folder, kill_after=moment.at)
    if moment.how == "event":
        return folders.run_child(case, folder, options={"kill_at": int(moment.at)})
    return folders.run_child(case, folder, before=_strace(moment))


def _strace(moment: Moment) -> list[str]:
    inject = f"inject={moment.how}:signal=SIGKILL:when={moment.at:g}"
    return ["strace", "-f", "-o", os.devnull, "-e", f"trace={moment.how}", "-e", inject]


def _shell(case: Case, moment: Moment) -> str:
    """Return roughly the command that a user would have to kill."""
    strace = "" if moment.how in ("time", "event") else " ".join(_strace(moment)) + " "
    return f"{strace}fastnn {' '.join(case.args)}"


# ---- checks ----


def _faults(case: Case, known: Known, folder: Path, ended: Ended) -> Iterator[str]:
    """Yield what is wrong right after a kill."""
    yield from (f"still running after a second: {one}" for one in ended.orphans)
    try:
        found = read_results(case, folder)
    except ValueError as error:
        yield str(error)
        return
    allowed = allowed_results(case, known)
    for path, value in found.items():
        if value not in allowed[path] and not case.serves:
            yield f"{path} is neither the old one nor the new one" + (" (refused)" if value == REFUSED else "")
    if case.serves:
        lost = ended.acknowledged - stored_digits(folder / "digits.db") if ended.acknowledged else set()
        if lost:
            yield f"{len(lost)} of {len(ended.acknowledged)} acknowledged digits are lost"
    for name, value in tree(folder).items():
        changed = name in known.old and value not in (known.old[name], known.new.get(name))
        if changed and not belongs_to_result(case, name):
            yield f"{name} was changed"
    yield from _faults_of_run(known, folder / "run")


def _faults_of_run(known: Known, run: Path) -> Iterator[str]:
    from fastnn.errors import FastnnError
    from fastnn.formats import load_model

    for path in run.glob("[!.]*.safetensors"):
        try:
            load_model(path)
        except FastnnError as error:
            yield f"run/{path.name} cannot be loaded: {error}"
    for name in ("recipe.toml", "model.safetensors"):
        path = f"run/{name}"
        value = tree(run).get(name)
        if value is not None and value not in (known.old.get(path), known.new.get(path)):
            yield f"{path} is neither the old one nor the new one"
    if (run / "history.csv").is_file():
        rows = history_without_times((run / "history.csv").read_text())
        in_order = [row[0] for row in rows[1:]] == [str(n) for n in range(1, len(rows))]
        # A column without a value has none in any line.
        columns = [{bool(value) for value in column} for column in zip(*rows[1:], strict=True)]
        if not in_order or any(len(column) > 1 for column in columns):
            yield f"run/history.csv is not whole: {rows}"


def _faults_of_next_start(folders: Folders, case: Case, known: Known, folder: Path, ended: Ended) -> Iterator[str]:
    """Start the command again, and yield what is wrong then."""
    if case.serves:
        yield from _faults_of_next_server(folders, case, known, folder, ended)
        return
    if tree(folder) == known.new:
        return
    args = case.next_args(folder)
    if case.in_child:
        again = folders.run_child(case, folder, args)
        code, output = again.code, again.output
    else:
        code, output = folders.run_here(case, folder, args)
    if code != 0:
        yield f"the next start failed (fastnn {' '.join(args)}): {output.strip()}"
        return
    after = tree(folder)
    for name in sorted(after.keys() | known.new.keys()):
        parent = Path(name).parent.as_posix()
        if name not in known.new and (parent in known.new or parent == "."):
            kind = "temporary file" if is_temporary(name) else "file"
            yield f"the {kind} {name} stays after the next start"
        elif name in known.new and name not in after:
            yield f"{name} is missing after the next start"
        elif name in known.new and after[name] != known.new[name]:
            yield f"{name} has other bytes after the next start than without a kill"
    if read_results(case, folder) != known.new_results:
        yield "the results after the next start are others than without a kill"


def _faults_of_next_server(folders: Folders, case: Case, known: Known, folder: Path, ended: Ended) -> Iterator[str]:
    from fastnn.errors import FastnnError
    from fastnn.web.store import Store

    with folders.inside(case, folder):
        try:
            store = Store("sqlite:///digits.db")
        except FastnnError as error:
            yield f"the next start failed: {error}"
            return
        stored = {digit["id"] for digit in store.desk.queue(10**5)}
        store.close()
    if not ended.acknowledged <= stored:
        yield "acknowledged digits are lost after the next start"
    names = tree(folder).keys()
    for name in sorted(names ^ known.new.keys()):
        yield f"{name} {'stays' if name in names else 'is missing'} after the next start"


# ---- moments ----


def strace_fault() -> str | None:
    """Return why strace cannot be used here, or None if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    done = subprocess.run(["strace", "-f", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"strace cannot run here ({done.stderr.strip().splitlines()[-1:]})"


def calls_of(folders: Folders, case: Case) -> list[Moment]:
    """Return the system calls with which a command writes below its working folder, as strace counts them."""
    folder = folders.copy(folders.known(case).folder)
    log = folders.new() / "strace.log"
    watch = ["strace", "-f", "-y", "-s", "256", "-o", str(log), "-e", f"trace={','.join(CALLS)}"]
    folders.run_child(case, folder, before=watch)
    counts: Counter[tuple[str, str]] = Counter()
    found = []
    for line in log.read_text(errors="replace").splitlines():
        entered = re.match(r"(\d+) +(\w+)\((.*)", line)
        if entered is None:
            continue
        process, call, arguments = entered.groups()
        counts[process, call] += 1  # strace counts for each thread
        if _writes_below(folder, call, arguments):
            found.append(Moment(call, counts[process, call]))
    shutil.rmtree(folder)
    return list(dict.fromkeys(found))


def _writes_below(folder: Path, call: str, arguments: str) -> bool:
    path = re.match(r"\d+<([^>]*)>", arguments) if call in _OF_FILES else re.search(r'"([^"]*)"', arguments)
    if path is None or (call == "openat" and not re.search("O_CREAT|O_WRONLY|O_RDWR", arguments)):
        return False
    return (folder / path[1]).is_relative_to(folder)


def random_time(known: Known, rng: random.Random) -> Moment:
    """Return a random time within a command's duration; two of three are while it writes."""
    if known.events and rng.random() < 2 / 3:
        at = rng.choice(known.events) + rng.uniform(-0.03, 0.03)
    else:
        at = rng.uniform(0, known.seconds)
    return Moment("time", max(at, 0.01))


def moments(folders: Folders, case: Case, rng: random.Random, *, strace: bool) -> Iterator[Moment]:
    """Yield moments to kill a command at, in random order and without an end; each call comes once a round."""
    known = folders.known(case)
    while True:
        points = [Moment("event", n + 1) for n in range(len(known.events))]
        if strace:
            points = calls_of(folders, case) or points
        rng.shuffle(points)
        for point in points:
            yield from rng.sample([random_time(known, rng), point], 2)
        if not points:
            yield random_time(known, rng)


def run(n: int, seed: int, cases: list[Case], folders: Folders, tally: Tally, *, strace: bool) -> None:
    """Kill commands `n` times, each as often as the others."""
    rng = random.Random(seed)
    order = rng.sample(cases, len(cases))
    streams = {case.name: moments(folders, case, rng, strace=strace) for case in order}
    left = n
    while left > 0:
        for case in order[:left]:
            for _ in range(_TRIES):
                if attack(folders, case, next(streams[case.name]), tally):
                    break
            left -= 1


def main() -> None:
    parser = make_parser("kill", __doc__, n=100)
    parser.add_argument("--commands", metavar="TEXT", help="only cases of this name, or 'list'")
    parser.add_argument("--at", metavar="HOW:N", help="one kill: time:SECONDS, event:N or CALL:N, as a finding says")
    parser.add_argument("--all", action="store_true", help="kill at every event and system call once")
    options = parser.parse_args()
    if options.commands == "list":
        print("\n".join(f"{case.name}: fastnn {' '.join(case.args)}" for case in CASES.values()))
        return
    cases = chosen_cases(parser, options.commands)
    if os.name != "posix":
        print("skipped: this system has no SIGKILL")
        return
    fault = strace_fault()
    if fault:
        print(f"skipped: kills at a system call; {fault}")
    if not Path("/proc/self/stat").exists():
        print("skipped: processes that are left; there is no /proc")
    start, tally = time.monotonic(), Tally()
    with tempfile.TemporaryDirectory(prefix="fastnn-kill-") as root, Folders(Path(root)) as folders:
        if options.at:
            for case in cases:
                attack(folders, case, Moment.parse(options.at), tally)
        elif options.all:
            for case in cases:
                events = [Moment("event", n + 1) for n in range(len(folders.known(case).events))]
                for moment in [*events, *(() if fault else calls_of(folders, case))]:
                    attack(folders, case, moment, tally)
        else:
            run(options.n, options.seed, cases, folders, tally, strace=fault is None)
    print(
        f"kill: {tally.kills.total()} kills of {len(cases)} commands ({dict(tally.kills)}), {tally.missed} ended "
        f"before; {tally.acknowledged} digits acknowledged; {len(tally.findings)} findings; "
        f"{time.monotonic() - start:.0f} s"
    )
    sys.exit(1 if tally.findings or not tally.kills else 0)


if __name__ == "__main__":
    main()
