"""Runs the script of an exported page in Chromium or Node."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from fastnn.errors import ModelError

# The first two have no windows, and take half of the CPU time.
_BROWSERS = (
    *("chromium-headless-shell", "chrome-headless-shell"),
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
)
_NODES = ("node", "nodejs")
_OPTIONS = (
    "--headless",
    "--disable-gpu",
    "--no-first-run",
    # Without these it would look for its updates on the network.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_TIMEOUT = 300
"""Seconds for one run, which takes a few; only a program that hangs reaches it."""

_SHOWN = re.compile(r'<pre id="result">(.*?)</pre>', re.DOTALL)


def run_page(page: str, scripts: tuple[str, str], expression: str) -> str:
    """Return the text that an expression gives in a page.

    Parameters
    ----------
    page : str
        Its HTML.
    scripts : tuple of str
        The JSON of its model, and the script that the expression needs: they are enough for Node, which shows no pages.
    expression : str
        In JavaScript. The JSON of the model is ``text``. It gives a text without ``&``, ``<`` and ``>``.

    Raises
    ------
    ModelError
        If neither Chromium nor Node is on the PATH, or they fail.
    """
    browser, node = (next(filter(None, map(shutil.which, names)), None) for names in (_BROWSERS, _NODES))
    faults = []
    for run, program in ((_in_browser, browser), (_in_node, node)):
        if program is None:
            continue
        try:
            with tempfile.TemporaryDirectory(prefix="fastnn-", ignore_cleanup_errors=True) as folder:
                return run(program, Path(folder), (page, *scripts), expression)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            faults.append(f"{Path(program).name}: {' '.join(str(error).split())[-200:]}")
    if not faults:
        raise ModelError("a page is verified with Chromium or Node, and neither is on the PATH; install one of them")
    raise ModelError(f"its script cannot be run here ({'; '.join(faults)}); open it in a browser to try it")


def _in_browser(program: str, folder: Path, texts: tuple[str, str, str], expression: str) -> str:
    """Open a copy of the page that shows the result in place of everything else, and return what it shows."""
    script = (
        "<script>{ const text = document.getElementById('model').textContent;"
        f" const result = {expression};"
        " document.body.innerHTML = '<pre id=\"result\"></pre>';"
        " document.getElementById('result').textContent = result; }</script>"
    )
    before, mark, after = texts[0].rpartition("</body>")
    copy = folder / "page.html"
    copy.write_text(f"{before}{script}{mark}{after}", encoding="utf-8", newline="\n")
    options = [*_OPTIONS, f"--user-data-dir={folder / 'profile'}"]
    if getattr(os, "geteuid", lambda: 1)() == 0:
        options.append("--no-sandbox")  # Chromium refuses to run as root with it
    shown = _SHOWN.search(_output([program, *options, "--dump-dom", copy.as_uri()]))
    if shown is None:
        raise ValueError("the page shows no result")
    return shown[1]


def _in_node(program: str, folder: Path, texts: tuple[str, str, str], expression: str) -> str:
    _, model, script = texts
    file = folder / "script.js"
    code = f"{script}\nconst text = {json.dumps(model)};\nconsole.log({expression});\n"
    file.write_text(code, encoding="utf-8", newline="\n")
    return _output([program, str(file)])


def _output(command: list[str]) -> str:
    """Run a program and return what it prints."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT, check=False)  # noqa: S603
    if done.returncode != 0:
        raise ValueError(f"exit code {done.returncode}: {done.stderr.decode('utf-8', 'replace').strip()}")
    return done.stdout.decode("utf-8", "replace")
