"""The promises of the design about a run, tested in child processes: same bits, signals, kills, full disks."""

from __future__ import annotations

import contextlib
import json
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fastnn import Recipe, Session, load_model
from fastnn.engine import Engine
from fastnn.inputs import ImageInput
from fastnn.training import epoch_order
from tests.helpers import (
    ROOT,
    TIMEOUT,
    ChildProcess,
    blobs,
    environment,
    file_contents,
    invoke,
    read_until,
    run_concurrently,
    run_fastnn,
    run_python,
    save_npz,
    start_process,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

# More epochs than any test waits for.
ENDLESS = "1000000"

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with a data set whose epochs take some hundredths of a second; return the folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("FASTNN_DATA", raising=False)
    save_npz(blobs(1500), folder / "data.npz")
    return folder


def train_here(*options: str | Path | int) -> None:
    """Run ``fastnn train`` in this process, which is faster than in a child process."""
    result = invoke(["train", "--quiet", *map(str, options)])
    assert result.exit_code == 0, result.output


def file_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- the same weights everywhere ----

HASHES = """
import json
from numba.core.registry import cpu_target
from tests.test_promises import weight_checksums
print(json.dumps({"hashes": weight_checksums(), "cpu": cpu_target.target_context.codegen().magic_tuple()[1]}))
"""


def weight_checksums() -> list[str]:
    """Train three networks on a few hundred samples; return the checksums of their weights."""
    data, found = blobs(300), []
    order = epoch_order(0, 1, len(data))
    relu = Recipe(hidden=(65, 18), rule="backprop", activation="relu", init="he", invert=True, lr=0.02)
    for recipe in (Recipe(hidden=(40, 17)), relu, relu.replace(activation="tanh", invert=False)):
        network = recipe.network(784, 10)
        engine = Engine(network)  # not train(), which would also compile prediction
        images = ImageInput(data.images, recipe.invert)
        engine.load_weights(images)
        engine.train(images, data.labels, order, recipe.lr, np.zeros(2))
        engine.store_weights()
        found.append(network.sha256())
    return found


# A change here changes the result of every seed; note it in the changelog.
KNOWN = [
    "5d979f879f9ce7317a955b445dc46082b6f1ea1fad146601800e4490d0c65598",
    "43d75a102982baa1ac8df69daaf94b90927ea95b7fbc89d63d30f349176e7aee",
    "6e4e77d43faaa3157edba565cb7e177f5ef2bc8ecc0fed481efa1088b50750b2",
]


def target_cpus() -> Iterator[tuple[str, dict[str, str | None]]]:
    """Yield CPUs to compile for, each with the environment variables that select it."""
    import llvmlite.binding

    yield "generic", {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": "cold"}
    if platform.machine() in ("x86_64", "AMD64") and llvmlite.binding.get_host_cpu_features().get("avx2"):
        # With an unwritable cache, as if neither the package nor the home folder is writable.
        refused = {"NUMBA_CACHE_LOCATOR_CLASSES": "IPythonCacheLocator", "NUMBA_CACHE_DIR": "data.npz/never"}
        yield "haswell, uncached", {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "", **refused}


def test_the_weights_are_the_same_bits_for_every_cpu_with_and_without_a_cache(folder: Path) -> None:
    cpus = dict(target_cpus())
    found = dict(zip(cpus, map(json.loads, run_concurrently(HASHES, *cpus.values(), cwd=folder)), strict=True))
    here = weight_checksums()
    assert here == KNOWN
    assert {name: output["hashes"] for name, output in found.items()} == dict.fromkeys(cpus, here)
    for name, output in found.items():
        assert output["cpu"] == name.partition(",")[0]  # it was compiled for that CPU
    assert list((folder / "cold").rglob("*.native"))
    assert (folder / "data.npz").is_file()


# ---- stopping ----


@posix_only
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_the_last_epoch_and_resuming_gives_the_same_bytes(
    folder: Path, number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-m", "fastnn", "train", "--data", "data.npz", "--epochs", ENDLESS, "--out", "cut"]
    with start_process(command, cwd=folder) as process:
        read_until(process, "epoch 2/")
        process.send_signal(number)
        rest, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == code
    done = load_model("cut").card.epochs
    assert done >= 2
    last = rest.splitlines()[-1]
    assert last == f"stopped: epoch {done} is saved; continue with: fastnn train --resume cut"
    assert file_names(folder / "cut") == ["checkpoint.safetensors", "history.csv", "recipe.toml"]
    train_here("--resume", "cut", "--epochs", str(done + 2))
    train_here("--data", "data.npz", "--epochs", str(done + 2), "--out", "whole")
    assert Path("cut/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()
    assert (
        file_names(folder / "cut")
        == file_names(folder / "whole")
        == ["history.csv", "model.safetensors", "recipe.toml"]
    )


@posix_only
@pytest.mark.parametrize(
    ("number", "later"), [(signal.SIGINT, 0.0), (signal.SIGTERM, 0.3), (signal.SIGINT, 0.7), (signal.SIGTERM, 1.2)]
)
def test_a_signal_while_kernels_are_compiled_prints_one_line(
    folder: Path, number: signal.Signals, later: float
) -> None:
    """It arrives this many seconds after the run folder is there; without kept code, compiling takes longer."""
    options = ["train", "--data", "data.npz", "--epochs", ENDLESS, "--out", "cut"]
    with ChildProcess(
        [sys.executable, "-m", "fastnn", *options],
        cwd=folder,
        env=environment(NUMBA_CACHE_DIR=str(folder / "cold")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + TIMEOUT
        while not Path("cut/checkpoint.safetensors").exists() and time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.01)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(later)
        process.send_signal(number)
        _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 128 + number
    done = load_model("cut").card.epochs
    kept = f"epoch {done} is saved" if done else "nothing was trained yet"
    assert errors == f"stopped: {kept}; continue with: fastnn train --resume cut\n"
    train_here("--resume", "cut", "--epochs", str((done or 0) + 1))


@posix_only
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_all_networks_of_an_ensemble(folder: Path, number: signal.Signals, code: int) -> None:
    """With more networks than cores: a stopped thread must not start the next network."""
    command = [sys.executable, "-m", "fastnn", "train", "--data", "data.npz", "--epochs", ENDLESS, "--out", "cut"]
    with start_process([*command, "--ensemble", "64"], cwd=folder) as process:
        # A network starts its third epoch after all have started their second.
        read_until(process, "epoch 3/")
        process.send_signal(number)
        rest, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == code
    stopped = load_model("cut")
    assert len(stopped.networks) == 64
    done = stopped.card.epochs
    assert done is not None
    assert done >= 1
    assert rest.splitlines()[-1] == f"stopped: epoch {done} is saved; continue with: fastnn train --resume cut"
    assert file_names(folder / "cut") == ["checkpoint.safetensors", "history.csv", "recipe.toml"]


@posix_only
def test_a_stopped_ensemble_can_be_loaded_and_resuming_gives_the_same_bytes(folder: Path) -> None:
    options = ["--data", "data.npz", "--ensemble", "3"]
    command = [sys.executable, "-m", "fastnn", "train", *options, "--epochs", ENDLESS, "--out", "cut"]
    with start_process(command, cwd=folder) as process:
        read_until(process, "network 2  epoch 3/")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=TIMEOUT)
    assert process.returncode == 143
    stopped = load_model("cut")
    done = stopped.card.epochs
    assert done is not None
    assert done >= 1
    session = Session.resume("cut")
    assert min(session.member_epochs) == done
    assert [network.sha256() for network in stopped.networks] == [one.sha256() for one in session.model.networks]
    most = max(session.member_epochs)
    if most > 1:
        result = invoke(["train", "--quiet", "--resume", "cut", "--epochs", str(most - 1)])
        assert result.exit_code == 2
        assert f"is trained for {most} epochs already" in result.output
    train_here("--resume", "cut", "--epochs", most + 1)
    train_here(*options, "--epochs", most + 1, "--out", "whole")
    assert Path("cut/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()
    assert file_names(folder / "cut") == file_names(folder / "whole")


@posix_only
def test_the_number_of_cores_changes_nothing(folder: Path) -> None:
    options = ["train", "--data", "data.npz", "--ensemble", "2", "--epochs", "3", "--quiet", "--out"]
    one = [sys.executable, "-c", ONE_CORE, *options, "one"]
    with start_process(one, cwd=folder) as process:
        assert process.communicate(timeout=TIMEOUT)[0] == ""
    train_here(*options[1:], "many")
    assert Path("one/model.safetensors").read_bytes() == Path("many/model.safetensors").read_bytes()


ONE_CORE = """
import os
from fastnn.cli import main
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
main()
"""


# Writing the checkpoint never ends, which leaves time for a second Ctrl-C.
SLOW_CHECKPOINT = """
import sys
from fastnn import runs
from fastnn.runs import Run
from fastnn.cli import main
runs.CHECKPOINT_SECONDS = float("inf")  # even if the first epoch takes long
begun = []
def checkpoint(self, model, state=None, write=Run.checkpoint):
    if begun:
        print("waiting", flush=True)
        while True:
            sys.stdin.readline()
    begun.append(write(self, model, state))
Run.checkpoint = checkpoint
main()
"""


@posix_only
def test_a_second_ctrl_c_exits_at_once(folder: Path) -> None:
    options = ["train", "--data", "data.npz", "--epochs", ENDLESS, "--out", "run"]
    with start_process([sys.executable, "-c", SLOW_CHECKPOINT, *options], cwd=folder) as process:
        read_until(process, "epoch 1/")
        process.send_signal(signal.SIGINT)
        read_until(process, "waiting")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=TIMEOUT) == 130
    assert load_model("run").card.epochs == 0


# ---- killing ----

# A checkpoint after every epoch, so that most kills come during a write.
CHECKPOINT_ALWAYS = """
import fastnn.runs
from fastnn.cli import main
fastnn.runs.CHECKPOINT_SECONDS = fastnn.runs.CHECKPOINT_COST = 0.0
main()
"""


@posix_only
@pytest.mark.parametrize("networks", [1, 2])
def test_kill_9_leaves_a_run_that_resumes_to_the_same_bytes(folder: Path, networks: int) -> None:
    new = ["train", "--data", "data.npz", "--ensemble", str(networks)]
    options = [*new, "--epochs", ENDLESS, "--out", "killed"]
    done = 0
    for epochs in (1, 3, 1):
        with start_process([sys.executable, "-c", CHECKPOINT_ALWAYS, *options], cwd=folder) as process:
            read_until(process, f"epoch {done + epochs}/")
            process.kill()
            process.communicate(timeout=TIMEOUT)
        saved = load_model("killed").card.epochs
        assert saved is not None
        assert saved >= done + epochs - 1 or networks > 1
        done = max(Session.resume("killed").member_epochs)
        options = ["train", "--resume", "killed", "--epochs", ENDLESS]
    train_here("--resume", "killed", "--epochs", str(done + 1))
    train_here(*new[1:], "--epochs", str(done + 1), "--out", "whole")
    assert Path("killed/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()
    assert file_names(folder / "killed") == ["history.csv", "model.safetensors", "recipe.toml"]
    history = np.genfromtxt("killed/history.csv", delimiter=",", names=True)
    assert history["epoch"].tolist() == list(range(1, done + 2))


# ---- a full disk ----

# No file may grow beyond 20 kB: the recipe and the history can, a model cannot be written.
FULL_DISK = """
import resource, sys
from fastnn.cli import main
sys.dont_write_bytecode = True  # half of it would be kept
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
try:
    main()
finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)  # coverage writes its file at exit
"""


@posix_only
def test_a_full_disk_gives_one_line_and_keeps_existing_files(folder: Path) -> None:
    train_here("--data", "data.npz", "--epochs", "2", "--out", "run")
    before = file_contents(folder)
    resumed = run_python(FULL_DISK, "train", "--resume", "run", "--epochs", "3", "--quiet", cwd=folder)
    assert (resumed.returncode, resumed.stdout) == (1, "")
    assert resumed.stderr.startswith("fastnn: run: the run cannot be written (File too large); raise the limit")
    after = file_contents(folder)
    assert after.keys() == before.keys()
    model = str(folder / "run" / "model.safetensors")
    assert after[model] == before[model]
    begun = run_python(FULL_DISK, "train", "--data", "data.npz", "--epochs", "3", "--out", "new", cwd=folder)
    assert (begun.returncode, begun.stdout) == (1, "")
    assert begun.stderr.startswith("fastnn: new: the run cannot be written (File too large); raise the limit")
    assert file_contents(folder) == after
    train_here("--resume", "run", "--epochs", "3")


# ---- files and connections ----

AUDIT = """
import json, os, sys
from pathlib import Path
events, report = [], Path(sys.argv.pop(1))
def watch(event, args):
    if event == "open":
        path, mode, flags = args
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if isinstance(flags, int) else 0
        if isinstance(path, int) or not (writes or set(mode or "") & set("wax+")):
            return
    elif event.startswith("socket."):
        if event not in ("socket.connect", "socket.getaddrinfo", "socket.bind", "socket.gethostbyname"):
            return
    elif event not in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"):
        return
    events.append([event, str(args[-1 if event == "os.symlink" else 0])])
sys.addaudithook(watch)
from fastnn.cli import main
try:
    main()
finally:
    found = list(events)
    report.write_text(json.dumps(found))
"""


def test_a_run_writes_only_to_its_folder_and_opens_no_connection(folder: Path, tmp_path: Path) -> None:
    home, report = tmp_path / "home", tmp_path / "report.json"
    home.mkdir()
    before = file_contents(folder)
    done = run_python(
        AUDIT,
        str(report),
        "train",
        "--data",
        "data.npz",
        "--epochs",
        "2",
        "--out",
        "deep/run",
        cwd=folder,
        HOME=str(home),
        XDG_CACHE_HOME=None,
        FASTNN_CACHE_DIR=None,
        PYTHONDONTWRITEBYTECODE="1",
    )
    assert done.returncode == 0, done.stderr
    events = json.loads(report.read_text())
    # The cache of machine code is beside the package or in NUMBA_CACHE_DIR; it does not belong to a run.
    compiled = [str(ROOT / "fastnn"), *(value for key, value in environment().items() if key == "NUMBA_CACHE_DIR")]
    written = [(event, path) for event, path in events if not path.startswith((*compiled, "/dev/"))]
    run = (str(folder / "deep"), "deep")
    assert [pair for pair in written if not pair[1].startswith(run)] == []
    assert {event for event, _ in written} >= {"open", "os.mkdir", "os.rename"}  # the audit hook works
    assert not any(event.startswith("socket.") for event, _ in events)
    assert file_contents(home) == {}
    added = file_contents(folder).keys() - before.keys()
    assert added == {
        str(folder / "deep" / "run" / name) for name in ("history.csv", "model.safetensors", "recipe.toml")
    }
    assert {path: content for path, content in file_contents(folder).items() if path in before} == before


@posix_only
def test_the_exit_code_of_bad_input_reaches_the_shell(folder: Path) -> None:
    done = run_fastnn("train", "--data", "missing.npz", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "missing.npz" in done.stderr
