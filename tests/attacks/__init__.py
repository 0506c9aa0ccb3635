"""Attacks on what fastnn promises.

Each is a program, ``python -m tests.attacks.NAME --n N --seed S``, that attacks `n` times, prints what it did and
found, and exits with 1 if anything broke. ``test_NAME.py`` beside it runs a short pass with a fixed seed.
"""

from __future__ import annotations

import argparse


def make_parser(name: str, description: str | None, *, n: int) -> argparse.ArgumentParser:
    """Return the parser of the options that all attacks have.

    Parameters
    ----------
    name : str
        Name of the module in this package.
    description : str or None
        What the attack does; the module's docstring.
    n : int
        Default of ``--n``, the number of attacks.

    Returns
    -------
    argparse.ArgumentParser
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m tests.attacks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--n", type=_positive, default=n, metavar="N", help="number of attacks (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random choices (default: %(default)s)")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
