"""Draw the README's picture of a terminal from a real run.

    python -m benchmarks.terminal

The command below is run in an empty folder, and what it prints is drawn by rich. MNIST is downloaded if it is not on
this machine; compiled code comes from the cache, as in every run but the first.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

COMMAND = ("fastnn", "train", "--data", "mnist", "--recipe", "mnist", "--epochs", "7", "--out", "runs/mnist")
PICTURE = Path(__file__).with_name("terminal.svg")
COLUMNS = 94


def run(command: tuple[str, ...], folder: Path) -> str:
    """Run a command of fastnn and return what it printed, colours included."""
    # One line for each epoch instead of a bar, which would be gone when the run has ended.
    looks = {"FORCE_COLOR": "1", "TTY_INTERACTIVE": "0", "COLUMNS": str(COLUMNS)}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PICTURE.parents[1]), **looks},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return done.stdout


def main() -> None:
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    with tempfile.TemporaryDirectory() as folder:
        # Once before, so that compiling is not part of the picture.
        run((*COMMAND[:-3], "1", "--out", "warm"), Path(folder))
        printed = run(COMMAND, Path(folder))
    console.print(Text("$ ", style="bold green") + Text(" ".join(COMMAND), style="bold"))
    console.print(Text.from_ansi(printed.rstrip()))
    picture = console.export_svg(title="fastnn", theme=MONOKAI, unique_id="fastnn")
    # No font from another server: a page that shows the picture asks nobody for it.
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL), encoding="utf-8")
    print(f"wrote {PICTURE}")


if __name__ == "__main__":
    main()
