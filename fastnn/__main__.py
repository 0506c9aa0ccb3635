"""``python -m fastnn`` and the ``fastnn`` command."""


def main() -> None:
    """Run the command line; until a command has started, Ctrl-C ends the process as the system does."""
    # Python's own handler raises an exception, which is lost or becomes a traceback while modules are imported. The
    # interpreter has loaded _signal already, whereas importing signal takes 2 ms.
    import _signal  # type: ignore[import-not-found, unused-ignore]

    # A process that ignores Ctrl-C, such as one in the background of a script, goes on ignoring it.
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

    import gc

    # What is made while modules are imported stays; to look for garbage among it every 700 objects took 0.1 s.
    gc.set_threshold(100_000)

    from fastnn.cli import main as run

    run()


if __name__ == "__main__":
    main()
