"""Files that mean one thing change together: after a kill, a reader finds all old ones, all new ones, or a refusal."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from fastnn.storage import atomic_write, temporary_folder
from fastnn.temporaries import clear_dead, is_temporary, temporary_beside
from tests.helpers import read_until, run_python, start_process

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and kill -9")

CONVERT = """
import json, shutil, sys
from pathlib import Path
from fastnn.datasets import load_dataset
from fastnn.datasets.writers import write_dataset
from fastnn.errors import DataError
from tests.datasets.samples import dataset
from tests.kills import kill_at_each_write

old, own_test = dataset([1, 2, 3], test=dataset([4, 5])), dataset([9, 0])
work = Path("work")

def look(target, known):
    try:
        found = load_dataset(target)
    except DataError as error:
        fix = "run it again with --force" in str(error) or "no such file" in str(error)
        return "refused" if fix else f"no fix: {error}"
    return known.get((found.content_hash, found.test and found.test.content_hash), "wrong")

def attack(name, *options):
    new = dataset([6, 7, 8], test=own_test if "test" in options else None)
    out = work / name

    def prepare():
        shutil.rmtree("work", ignore_errors=True)
        work.mkdir()
        if "fresh" not in options:
            write_dataset(old, out)
        if "notes" in options:
            (out / "notes.txt").write_text("mine")
        if "mixed" in options:  # plain images with compressed labels
            write_dataset(old, work / "x-images-idx3-ubyte.gz")
            (work / "x-images-idx3-ubyte.gz").unlink()
            (work / "x-labels-idx1-ubyte").unlink()
        if "beside" in options:
            write_dataset(old, work / "x-images-idx3-ubyte.gz")

    known = {}
    for name, one in (("old", old), ("new", new)):
        prepare()
        write_dataset(one, out, force=True)
        found = load_dataset(out)
        known[found.content_hash, found.test and found.test.content_hash] = name
    states = []
    for killed in kill_at_each_write(prepare, lambda: write_dataset(new, out, force=True)):
        states += [look(path, known) for path in work.iterdir() if path != out and path.match("[!.]*idx3*")]
        states.append(look(out, known))
        write_dataset(new, out, force=True)
        left = sorted(str(path) for path in work.rglob(".*"))
        assert not left, left
    return states

print(json.dumps({" ".join(options): attack(*options) for options in json.loads(sys.argv[1])}))
"""
TARGETS = [
    ["idx", "test"],
    ["idx", "fresh"],
    ["idx", "notes"],
    ["idx", "notes", "test"],
    ["x-images-idx3-ubyte"],
    ["x-images-idx3-ubyte.gz"],
    ["x-images-idx3-ubyte", "mixed"],
    ["x-images-idx3-ubyte", "beside"],
    ["x.npz"],
]


def test_converting_gives_the_old_data_set_the_new_one_or_none(tmp_path: Path) -> None:
    done = run_python(CONVERT, json.dumps(TARGETS), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == [" ".join(options) for options in TARGETS]
    for options, states in found.items():
        assert set(states) <= {"old", "new", "refused"}, options
        assert (states[0], states[-1]) == ("refused" if "fresh" in options else "old", "new"), options
        if options == "x.npz" or (options == "idx test" and sys.platform == "linux"):
            assert "refused" not in states, options


# Pictures are a few bytes and drawn once, so that a report takes no time: what counts is the order in which its files
# change when all are drawn.
REPORT = """
import json, shutil, sys
from pathlib import Path
import matplotlib.figure
import PIL.Image
import fastnn.report
from fastnn.report import write_report
from fastnn.report.pictures import DARK, LIGHT
from tests.helpers import blobs
from tests.kills import kill_at_each_write
from tests.models import model

stamp = b"old"
matplotlib.figure.Figure.savefig = lambda self, file, **_: file.write(stamp)
PIL.Image.Image.save = lambda self, file, **_: file.write(stamp)
folder = Path("work/report")
drawn = {}

def draw(content, picture, folder, real=fastnn.report.draw):
    if picture not in drawn:
        drawn[picture] = real(content, picture, folder)
    elif drawn[picture]:
        for theme in (LIGHT, DARK):
            (folder / f"{picture}{theme.suffix}.png").write_bytes(stamp)
    return drawn[picture]

fastnn.report.draw = draw

def write(text, force):
    global stamp
    stamp = text.encode()
    write_report(made, data, folder, name=text, force=force)

made, data = model(), blobs(30)
def read():
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "mine.txt"}

def prepare():
    shutil.rmtree("work", ignore_errors=True)
    shutil.copytree("first", "work")

Path("work").mkdir()
write("new", False)
new = read()
shutil.rmtree("work")
Path("work").mkdir()
write("old", False)
if "mine" in sys.argv:
    (folder / "mine.txt").write_text("kept")
old = read()
Path("work").rename("first")
found, n = [], 0

def counts(call):
    # From the moment when everything is drawn, at some changes of a name.
    global n
    n += call.startswith(("os.rename", "os.remove")) and (n > 0 or "index.html" in call)
    return n % (4 if "mine" in sys.argv else 2) == 1

for killed in kill_at_each_write(prepare, lambda: write("new", True), counts):
    page = read().get("index.html")
    pictures = {name: content for name, content in read().items() if name != "index.html" and name[0] != "."}
    states = {"old": old, "new": new}
    match = [name for name, state in states.items() if page == state["index.html"]]
    if match:
        expected = {name: content for name, content in states[match[0]].items() if name != "index.html"}
        found.append(match[0] if pictures == expected else "mixed " + match[0])
    else:
        found.append("refused" if page and b"--force" in page else "no page")
write("new", True)
assert read() == new
assert (folder / "mine.txt").exists() == ("mine" in sys.argv)
assert not [path for path in Path("work").rglob(".*")]
print(json.dumps(found))
"""


@pytest.mark.parametrize("other", [[], ["mine"]])
def test_a_report_never_shows_the_pictures_of_another(other: list[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = run_python(REPORT, *other, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) <= {"old", "new", "refused"}, found
    assert (found[0], found[-1]) == ("old", "new")
    if not other and sys.platform == "linux":
        assert "refused" not in found


RUN = """
import json, shutil, sys
from pathlib import Path
from fastnn import Recipe, Session
from fastnn.runs import Run
from tests.helpers import blobs
from tests.kills import kill_at_each_write

recipe = Recipe(hidden=(3,), epochs=1, ensemble=2 if "ensemble" in sys.argv else 1)
data = blobs(40)
folder = Path("work/a/run")

def prepare():
    shutil.rmtree("work", ignore_errors=True)
    Path("work").mkdir()
    if "empty" in sys.argv:
        folder.mkdir(parents=True)

found = []
for killed in kill_at_each_write(prepare, lambda: Session(data, recipe, folder).open()):
    if folder.exists() and list(folder.glob("[!.]*")):
        Run.resume(folder)
        Session.resume(folder, dataset=data).open()
        found.append("resumed")
    else:
        Session(data, recipe, folder).open()
        found.append("begun")
    assert not list(Path("work").rglob(".*"))
print(json.dumps(found))
"""


@pytest.mark.parametrize("options", [[], ["empty"], ["ensemble"]])
def test_a_run_killed_at_its_start_can_be_resumed_or_begun(options: list[str], tmp_path: Path) -> None:
    done = run_python(RUN, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found[0], found[-1]) == ("begun", "resumed")


HOLD = """
import sys
from fastnn.storage import atomic_write, temporary_folder
with atomic_write(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_temporary_files_of_dead_processes_are_cleared_and_of_live_ones_kept(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    with start_process([sys.executable, "-c", HOLD, str(path)], cwd=tmp_path) as process:
        read_until(process, "writing")
        with atomic_write(path) as file:
            file.write(b"whole")
        (left,) = (one.name for one in tmp_path.iterdir() if one != path)
        assert is_temporary(left)
        assert f"-{process.pid}-" in left
        process.kill()
        assert process.wait() == -signal.SIGKILL
    folder = tmp_path / left.replace("file", "report")
    folder.mkdir()
    (folder / "index.html").write_text("half")
    # The same names from another machine, of no process at all, and of the user.
    machine = left.split(".")[3].partition("-")[0]
    others = [left.replace(machine, "0" * 8 if machine != "0" * 8 else "1" * 8), ".file.bin.x.tmp", "file.bin.tmp"]
    for other in others:
        (tmp_path / other).write_text("kept")
    with atomic_write(path) as file:
        file.write(b"again")
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(["file.bin", *others])


def test_a_process_with_the_number_of_a_dead_one_keeps_no_file_alive(tmp_path: Path) -> None:
    with temporary_beside(tmp_path / "file.bin") as own:
        own.write_text("own")
        machine, pid, start, rest = own.name.removeprefix(".file.bin.").split("-")
        earlier = own.with_name(f".file.bin.{machine}-{pid}-{int(start) + 1}-{rest}")
        earlier.write_text("dead")
        clear_dead(tmp_path)
        assert own.exists()
        assert earlier.exists() == (not Path("/proc/self/stat").exists())


def test_writing_changes_no_signal_handler(tmp_path: Path) -> None:
    numbers = sorted(signal.valid_signals())
    before = [signal.getsignal(number) for number in numbers]
    with temporary_folder(tmp_path / "out") as made, atomic_write(made / "file.bin") as file:
        file.write(b"half")
        assert [signal.getsignal(number) for number in numbers] == before


# As if the signal arrives while the disk works.
SIGTERM_AT_A_FLUSH = """
import os, signal, sys
flush = os.fsync
os.fsync = lambda file: (flush(file), signal.raise_signal(signal.SIGTERM))
sys.argv = ["fastnn", *sys.argv[1:]]
from fastnn.cli import main
main()
"""


def test_sigterm_leaves_no_temporary_files_of_a_command(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    done = run_python(
        SIGTERM_AT_A_FLUSH, "data", "convert", "drawn:20", "out", cwd=tmp_path, FASTNN_CACHE_DIR=str(tmp_path / "cache")
    )
    assert done.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM), done.stderr
    assert "Traceback" not in done.stderr
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["cache"]
