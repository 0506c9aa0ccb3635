"""``python -m fastnn`` and the ``fastnn`` command."""

from fastnn.cli import main

if __name__ == "__main__":
    main()
