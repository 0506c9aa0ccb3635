"""dense.c, compiled when it is first used, for this machine, and called by ctypes."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastnn.network import aligned_zeros

if TYPE_CHECKING:
    from benchmarks.problem import Problem

SOURCE = Path(__file__).with_name("dense.c")
FLAGS = ("-std=gnu11", "-O3", "-march=native", "-ffast-math", "-fPIC")
X86_FLAGS = ("-mprefer-vector-width=512",)


@cache
def library(sizes: tuple[int, ...], dtype: str) -> ctypes.CDLL:
    """Compile dense.c for these layer sizes and this type."""
    from platform import machine

    flags = FLAGS + (X86_FLAGS if machine() in ("x86_64", "AMD64") else ())
    real = {"float32": "float", "float64": "double"}[dtype]
    macros = dict(zip(("INPUTS", "H1", "H2", "OUTPUTS"), sizes, strict=True))
    macros |= {"REAL": real, "REAL_BYTES": np.dtype(dtype).itemsize}
    with tempfile.TemporaryDirectory() as folder:
        built, shared = Path(folder, "dense.o"), Path(folder, "dense.so")
        defines = [f"-D{name}={value}" for name, value in macros.items()]
        subprocess.run(["gcc", *flags, *defines, "-c", SOURCE, "-o", built], check=True)
        # Linked without -ffast-math: with it gcc adds code that changes the whole process's arithmetic on loading.
        subprocess.run(["gcc", "-shared", built, "-o", shared, "-lm"], check=True)
        result = ctypes.CDLL(str(shared))
    number, pointer = np.ctypeslib.as_ctypes_type(dtype), ctypes.c_void_p
    result.network_bytes.restype = ctypes.c_size_t
    result.network_layout.argtypes = [pointer]
    result.train.argtypes = [pointer, pointer, pointer, ctypes.c_int64, number]
    result.stream.argtypes = [pointer, ctypes.c_int64, number]
    return result


class Fused:
    """One pass over the first layer per digit: its update and the next digit's forward pass together."""

    dtype = "float32"

    def __init__(self, problem: Problem) -> None:
        self.library = library(problem.sizes, self.dtype)
        dtype = np.dtype(self.dtype)
        self.memory = aligned_zeros(self.library.network_bytes() // dtype.itemsize, dtype)
        layout = np.empty((6, 2), dtype=np.int64)
        self.library.network_layout(layout.ctypes.data)
        self.views = []
        parameters = problem.parameters(self.dtype)
        for (offset, row), values in zip(layout.tolist(), parameters, strict=True):
            rows = len(values) if values.ndim == 2 else 1
            view = self.memory[offset : offset + rows * row].reshape(rows, row)[:, : values.shape[-1]]
            view[...] = values
            self.views.append(view if values.ndim == 2 else view[0])
        self.x = problem.inputs(self.dtype)
        self.labels = np.ascontiguousarray(problem.labels, dtype=np.int64)
        self.rate = problem.learning_rate

    def run(self, n: int) -> None:
        self.library.train(self.memory.ctypes.data, self.x.ctypes.data, self.labels.ctypes.data, n, self.rate)

    def weights(self) -> list[np.ndarray]:
        return [view.astype(np.float64) for view in self.views]


class Fused64(Fused):
    """The same in float64."""

    dtype = "float64"


class Bandwidth(Fused):
    """No training: the first layer's weights are read, multiplied by one and written, once per digit.

    Dense code that updates every weight for every digit cannot be faster. Where the weights fill the second-level
    cache, the speed depends on the pages of memory that they occupy: the fastest of several allocations is taken.
    """

    PLACES = 8

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        places = [aligned_zeros(self.memory.size, self.memory.dtype) for _ in range(self.PLACES)]
        took = dict.fromkeys(range(self.PLACES), float("inf"))
        for _ in range(10):
            for number, place in enumerate(places):
                start = time.perf_counter()
                self.library.stream(place.ctypes.data, 100, 1.0)
                took[number] = min(took[number], time.perf_counter() - start)
        self.place = places[min(took, key=took.__getitem__)]

    def run(self, n: int) -> None:
        self.library.stream(self.place.ctypes.data, n, 1.0)
