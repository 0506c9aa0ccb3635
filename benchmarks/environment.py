"""One core and one thread for everything that is timed, and a description of the machine.

Import this module and call :func:`pin` before NumPy or any peer: most of them read the number of threads only once.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "BLIS_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
    "NPROC": "1",  # JAX's own thread pool
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
}

_ALL_CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()

VERSIONS_OF = ("numpy", "numba", "scipy", "scikit-learn", "river", "torch", "jax")


def all_cores() -> set[int]:
    """Return the cores that this process could use before :func:`pin`; none where the system does not tell."""
    return _ALL_CORES


def pin() -> None:
    """Restrict this process, its threads and its children to one core."""
    os.environ.update(ONE_THREAD)
    if hasattr(os, "sched_setaffinity"):
        # The last core: the first one handles more of the system's interrupts.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def machine(also: tuple[str, ...] = ()) -> dict[str, object]:
    """Return the machine and the versions that the figures were measured with, as JSON values.

    Parameters
    ----------
    also : tuple of str
        Packages whose versions matter besides those of :data:`VERSIONS_OF`.
    """
    versions = {}
    for name in (*VERSIONS_OF, *also):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else "not settable here"
    return {
        "cpu": _cpu(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": sys.version.split()[0],
        "compiler": _compiler(),
        "cores used": affinity,
        "versions": versions,
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text().splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
        flags = next((line.split() for line in lines if line.startswith("flags")), [])
        width = next((isa for isa in ("avx512f", "avx2", "sse2") if isa in flags), "")
        return f"{name} ({width.removesuffix('f').upper()})" if width else name
    return platform.processor() or platform.machine()


def _compiler() -> str:
    try:
        answer = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "no gcc"
    return answer.splitlines()[0]


def measured() -> str:
    """Return a sentence about the date and the machine, for a table of figures that were measured on all cores."""
    about, cores = machine(), len(_ALL_CORES) or os.cpu_count()
    return (
        f"Measured {time.strftime('%Y-%m-%d', time.gmtime())} on {cores} core{'' if cores == 1 else 's'} of "
        f"{about['cpu']}, Python {about['python']}."
    )
