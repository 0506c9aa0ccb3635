"""The table of all readers and writers of fastnn: what takes bytes, text or values from outside.

Each target is a function that gives one input to fastnn and checks what comes back. It may raise FastnnError; whatever
else it raises is a fault.
"""

from tests.attacks import fuzz_files, fuzz_fronts, fuzz_models, fuzz_sweep, fuzz_values, fuzz_writers
from tests.attacks.fuzz_bench import TARGETS, Bench, Target

__all__ = [
    "TARGETS",
    "Bench",
    "Target",
    "fuzz_files",
    "fuzz_fronts",
    "fuzz_models",
    "fuzz_sweep",
    "fuzz_values",
    "fuzz_writers",
]
