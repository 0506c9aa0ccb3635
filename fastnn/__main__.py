"""``python -m fastnn`` and the ``fastnn`` command."""

import gc

# What is made while modules are imported stays; to look for garbage among it every 700 objects took 0.1 s of a start.
gc.set_threshold(100_000)

from fastnn.cli import main  # noqa: E402 - see above

if __name__ == "__main__":
    main()
