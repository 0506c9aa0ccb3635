"""With NUMBA_DISABLE_JIT=1 the tests of the kernels run them as plain Python, on the twins of ``plain.py``.

fastnn itself refuses to run without the compiler.
"""

from __future__ import annotations

import numba

if numba.config.DISABLE_JIT:
    import fastnn.kernels.loader
    from tests.kernels import plain

    # Before any module of kernels or any user of Kernel is imported.
    plain.install()
    fastnn.kernels.loader.Kernel = plain.PlainKernel  # type: ignore[misc, assignment]
