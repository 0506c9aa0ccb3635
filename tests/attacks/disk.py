"""Take the disk away from every command that writes: full, limited, read-only, forbidden, or with a damaged cache.

A command must then end with one line and exit code 1 or 2, keep every old file as it was, and leave no temporary file.
Where it can do without what was taken away, as without the cache, it must write the same as ever.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.attacks import make_parser
from tests.attacks.commands import Case, chosen_cases
from tests.attacks.folders import (
    REFUSED,
    Ended,
    Folders,
    Known,
    allowed_results,
    belongs_to_result,
    is_temporary,
    read_results,
    stored_digits,
    tree,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SIZES = (0, 1, 100, 4096, 20_000)
"""Bytes that a file may have, or that are free."""
_FILES = range(10)
"""How many files can be opened more than at the start."""
_BALLAST = "ballast"
_OBEYING = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
_CACHES = ("cache", "code")


@dataclass
class Tally:
    """What an attack has done and found.

    Attributes
    ----------
    attacks : Counter
        Number of attacks by condition.
    failed : int
        Commands that ended with an error, as they may.
    skipped : dict
        Reason for each condition that this machine does not allow.
    findings : list of str
    """

    attacks: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    def found(self, text: str) -> None:
        """Keep a finding, and print it at once."""
        self.findings.append(text)
        print(f"FOUND: {text}", flush=True)


@dataclass(frozen=True)
class Condition:
    """Something that is wrong with the disk.

    Attributes
    ----------
    name : str
    make : callable
        Called with the folder, the case's `Known` and a random generator; yields the arguments of
        :meth:`Folders.run_child` and a text that describes it.
    missing : callable
        Returns why this machine does not allow it, or None.
    cache_only : bool
        Only the cache is affected, so that the command must succeed.
    mounts : bool
        The folder can be seen only while the condition holds.
    """

    name: str
    make: Callable[[Path, Known, random.Random], contextlib.AbstractContextManager[tuple[dict[str, Any], str]]]
    missing: Callable[[], str | None] = lambda: None
    cache_only: bool = False
    mounts: bool = False


# ---- conditions ----


def _no_mounts() -> str | None:
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root can mount on Linux"
    with tempfile.TemporaryDirectory() as folder:
        fault = _fault_of("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder)
        if fault is None:
            subprocess.run(["umount", folder], check=True)
    return fault


def _no_permissions() -> str | None:
    if os.geteuid() != 0:
        return None
    fault = _fault_of(*_OBEYING, "true")
    return None if fault is None else f"root may read and write everywhere; {fault}"


def _fault_of(*command: str) -> str | None:
    """Return why a command cannot be run here, or None if it can."""
    if shutil.which(command[0]) is None:
        return f"{command[0]} is not installed"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"{command[0]} cannot be used here ({done.stderr.strip()})"


def _obeying() -> dict[str, Any]:
    """Return the arguments for a child process that obeys permissions, also as root."""
    return {"before": [*_OBEYING]} if os.geteuid() == 0 else {}


@contextlib.contextmanager
def _file_size(_: Path, known: Known, rng: random.Random) -> Iterator[tuple[dict[str, Any], str]]:
    new = [size - 1 for size in known.sizes if size]
    size = rng.choice([*_SIZES, *new])
    yield {"options": {"file_size": size}}, f"no file beyond {size} bytes"


@contextlib.contextmanager
def _few_files(_: Path, __: Known, rng: random.Random) -> Iterator[tuple[dict[str, Any], str]]:
    number = rng.choice(_FILES)
    yield {"options": {"files": number}}, f"only {number} more open files"


@contextlib.contextmanager
def _mounted(folder: Path, size: int) -> Iterator[None]:
    """Move a folder's content to a file system in memory, which is mounted in its place."""
    outside = folder.with_name(f"{folder.name}-outside")
    shutil.copytree(folder, outside, symlinks=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        shutil.copytree(outside, folder, symlinks=True, dirs_exist_ok=True)
        yield
    finally:
        # A lazy unmount waits for no process.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        shutil.rmtree(outside)


@contextlib.contextmanager
def _full(folder: Path, known: Known, rng: random.Random) -> Iterator[tuple[dict[str, Any], str]]:
    free = rng.choice([*_SIZES, *(size // 2 for size in known.sizes)]) // 4096 * 4096
    with _mounted(folder, 64 << 20):
        ballast = folder / _BALLAST
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(bytes(1 << 16)):
                pass
        os.truncate(ballast, max(0, ballast.stat().st_size - free))
        yield {}, f"a disk with {free} free bytes"


@contextlib.contextmanager
def _read_only_mount(folder: Path, _: Known, __: random.Random) -> Iterator[tuple[dict[str, Any], str]]:
    with _mounted(folder, 64 << 20):
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        yield {}, "a disk that is mounted read-only"


@contextlib.contextmanager
def _modes(modes: dict[Path, int]) -> Iterator[None]:
    """Set modes within the context."""
    before = {path: stat.S_IMODE(path.stat().st_mode) for path in modes}
    for path, mode in modes.items():
        path.chmod(mode)
    try:
        yield
    finally:
        for path, mode in reversed(before.items()):
            if path.exists():
                path.chmod(mode)


@contextlib.contextmanager
def _read_only_folder(folder: Path, _: Known, __: random.Random) -> Iterator[tuple[dict[str, Any], str]]:
    paths = [path for path in [folder, *folder.rglob("*")] if not path.is_symlink()]
    with _modes({path: 0o555 if path.is_dir() else 0o444 for path in reversed(paths)}):
        yield _obeying(), "folders and files that cannot be written"


@contextlib.contextmanager
def _unreadable(folder: Path, _: Known, rng: random.Random) -> Iterator[tuple[dict[str, Any], str]]:
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    chosen = rng.sample(paths, rng.randint(1, len(paths)))
    with _modes(dict.fromkeys(chosen, 0)):
        yield _obeying(), f"files that cannot be read: {', '.join(path.name for path in chosen)}"


@contextlib.contextmanager
def _bad_cache(folder: Path, _: Known, rng: random.Random) -> Iterator[tuple[dict[str, Any], str]]:
    files = [path for name in _CACHES for path in (folder / name).rglob("*") if path.is_file()]
    folders = [folder / name for name in _CACHES]
    done = []
    for path in rng.sample(files, rng.randint(0, len(files))):
        damage = rng.choice(list(_DAMAGES))
        _DAMAGES[damage](path, rng)
        done.append(f"{path.relative_to(folder)} {damage}")
    if not done:
        path = rng.choice([one for one in folders if one.exists()] or folders)
        damage = rng.choice(["is a file", "is a link to itself", "is a broken link"])
        shutil.rmtree(path, ignore_errors=True)
        _REPLACED[damage](path)
        done.append(f"{path.name} {damage}")
    yield {}, f"a cache in which {', '.join(done)}"


@contextlib.contextmanager
def _unwritable_cache(folder: Path, _: Known, rng: random.Random) -> Iterator[tuple[dict[str, Any], str]]:
    paths = [path for name in _CACHES for path in (folder / name, *(folder / name).rglob("*")) if path.exists()]
    mode = rng.choice([0o555, 0])
    with _modes({path: mode if path.is_dir() else mode & 0o444 for path in reversed(paths)}):
        yield _obeying(), f"a cache of mode {mode:o}"


def _flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 20)):
        if content:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "something").write_text("in the way")


def _replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link_to(path: Path, target: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


_DAMAGES: dict[str, Callable[[Path, random.Random], object]] = {
    "is cut": lambda path, rng: os.truncate(path, rng.randrange(path.stat().st_size + 1)),
    "has flipped bits": _flip,
    "is another file": lambda path, rng: path.write_bytes(rng.randbytes(rng.randrange(5000))),
    "is empty": lambda path, _: path.write_bytes(b""),
    "is a folder": lambda path, _: _replace_by_folder(path),
    "is a link to itself": lambda path, _: _link_to(path, path.name),
    "is a link to a folder": lambda path, _: _link_to(path, "."),
    "is a broken link": lambda path, _: _link_to(path, "missing"),
    "is a named pipe": lambda path, _: _replace_by_pipe(path),
}

_REPLACED: dict[str, Callable[[Path], object]] = {
    "is a file": lambda path: path.write_text("in the way"),
    "is a link to itself": lambda path: _link_to(path, path.name),
    "is a broken link": lambda path: _link_to(path, "missing"),
}

CONDITIONS = {
    one.name: one
    for one in (
        Condition("file size", _file_size),
        Condition("open files", _few_files),
        Condition("full disk", _full, _no_mounts, mounts=True),
        Condition("read-only disk", _read_only_mount, _no_mounts, mounts=True),
        Condition("read-only folder", _read_only_folder, _no_permissions),
        Condition("unreadable files", _unreadable, _no_permissions),
        Condition("damaged cache", _bad_cache, cache_only=True),
        Condition("unwritable cache", _unwritable_cache, _no_permissions, cache_only=True),
    )
}


# ---- attacks and checks ----


def attack(folders: Folders, case: Case, condition: Condition, seed: int, tally: Tally) -> None:
    """Run a command under a condition once, and check how it ends and what it leaves.

    Parameters
    ----------
    folders : Folders
    case : Case
    condition : Condition
    seed : int
        Of the choices that the condition has.
    tally : Tally
        Is added to.
    """
    known, must_succeed = folders.known(case), condition.cache_only and not case.needs_cache
    folder = folders.copy(known.folder)
    if condition.cache_only:
        for name in _CACHES:
            # As the command itself has filled it.
            shutil.rmtree(folder / name, ignore_errors=True)
            if (known.after / name).exists():
                shutil.copytree(known.after / name, folder / name)
    with condition.make(folder, known, random.Random(seed)) as (arguments, text):
        ended = folders.run_child(case, folder, **arguments)
        if condition.mounts:
            faults = list(_faults(case, known, folder, ended, must_succeed=False))
    if not condition.mounts:
        # Permissions are as before again.
        faults = list(_faults(case, known, folder, ended, must_succeed=must_succeed))
    tally.attacks[condition.name] += 1
    tally.failed += ended.code in (1, 2)
    if faults:
        again = f"python -m tests.attacks.disk --commands {case.name!r} --conditions {condition.name!r} --at {seed}"
        tally.found(f"{case.name}, {text}: {'; '.join(faults)}\n  {again}\n  fastnn {' '.join(case.args)}")
    shutil.rmtree(folder)


def _faults(case: Case, known: Known, folder: Path, ended: Ended, *, must_succeed: bool) -> Iterator[str]:
    """Yield what is wrong after a command has ended."""
    before, after = _without_caches(known.old), _without_caches(tree(folder))
    ended_well = ended.code == 0 or (case.serves and ended.code in (143, -15))
    if "Traceback" in ended.output:
        yield f"traceback: {ended.output}"
    elif not ended_well and (ended.code not in (1, 2) or must_succeed):
        yield f"exit code {ended.code}: {ended.output}"
    elif not ended_well:
        lines = [
            line for line in ended.output.splitlines() if not line.startswith(("note: ", "serving ", "downloading "))
        ]
        said = [line for line in lines if not line.startswith('{"')]  # a server's log
        if len(said) != 1 or not said[0].startswith("fastnn: ") or "Errno" in said[0] or ":" not in said[0][9:]:
            yield f"not one line with name, fault and fix: {said}"
    elif not case.serves and any(read_results(case, folder)[path] != new for path, new in known.new_results.items()):
        yield f"it succeeded, but wrote something else: {ended.output}"
    for name in sorted(after.keys() | before.keys()):
        written = belongs_to_result(case, name) or after.get(name) == known.new.get(name)
        if is_temporary(name):
            yield f"the temporary file {name} stays"
        elif name not in after:
            if not ended_well or name in known.new:
                yield f"{name} is gone"
        elif name in before and after[name] != before[name] and not written:
            yield f"{name} was changed"
        elif name not in before and not written and name not in known.new:
            yield f"{name} is new"
    yield from _faults_of_results(case, known, folder, ended)


def _faults_of_results(case: Case, known: Known, folder: Path, ended: Ended) -> Iterator[str]:
    from fastnn.errors import FastnnError
    from fastnn.formats import load_model

    if case.serves:
        if ended.acknowledged and not ended.acknowledged <= stored_digits(folder / "digits.db"):
            yield "acknowledged digits are lost"
        return
    for path, value in read_results(case, folder).items():
        if value not in allowed_results(case, known)[path]:
            yield f"{path} is neither the old one nor the new one" + (" (refused)" if value == REFUSED else "")
    for path in (folder / "run").glob("*.safetensors"):
        try:
            load_model(path)
        except FastnnError as error:
            yield f"run/{path.name} cannot be loaded: {error}"


def _without_caches(found: dict[str, str]) -> dict[str, str]:
    # A cache may grow or be mended.
    return {
        name: value
        for name, value in found.items()
        if name != _BALLAST and (is_temporary(name) or name.split("/")[0] not in _CACHES)
    }


def run(n: int, seed: int, cases: list[Case], conditions: list[Condition], folders: Folders, tally: Tally) -> None:
    """Attack `n` times; each command and each condition as often as the others."""
    usable = []
    for condition in conditions:
        reason = condition.missing()
        if reason is None:
            usable.append(condition)
        else:
            tally.skipped[condition.name] = reason
    rng = random.Random(seed)
    pairs: list[tuple[Case, Condition]] = []
    for _ in range(n if usable else 0):
        if not pairs:
            pairs = [(case, condition) for case in cases for condition in usable]
            rng.shuffle(pairs)
        attack(folders, *pairs.pop(), rng.randrange(1 << 30), tally)


def main() -> None:
    parser = make_parser("disk", __doc__, n=100)
    parser.add_argument("--commands", metavar="TEXT", help="only cases of this name")
    parser.add_argument("--conditions", choices=CONDITIONS, help="only this condition")
    parser.add_argument("--at", type=int, metavar="SEED", help="one attack, as a finding says")
    options = parser.parse_args()
    cases = chosen_cases(parser, options.commands)
    if os.name != "posix":
        print("skipped: this system has no limits, mounts and permissions of POSIX")
        return
    conditions = [one for one in CONDITIONS.values() if options.conditions in (None, one.name)]
    start, tally = time.monotonic(), Tally()
    with tempfile.TemporaryDirectory(prefix="fastnn-disk-") as root, Folders(Path(root)) as folders:
        if options.at is not None:
            attack(folders, cases[0], conditions[0], options.at, tally)
        else:
            run(options.n, options.seed, cases, conditions, folders, tally)
    for name, reason in tally.skipped.items():
        print(f"skipped: {name}; {reason}")
    print(
        f"disk: {tally.attacks.total()} attacks on {len(cases)} commands ({dict(tally.attacks)}), {tally.failed} ended "
        f"with an error; {len(tally.findings)} findings; {time.monotonic() - start:.0f} s"
    )
    sys.exit(1 if tally.findings or not tally.attacks else 0)


if __name__ == "__main__":
    main()
