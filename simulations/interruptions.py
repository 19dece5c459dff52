"""What happens when a command is stopped, or when nobody reads any more what it prints."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)

EXIT_CODE = 130
"""Of a command that was stopped by Ctrl-C, or by SIGTERM."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the command with one sentence and `EXIT_CODE`.

    The second of them ends it at once, whatever it is doing. Output that nobody reads is dropped.
    """
    before = {number: signal.signal(number, _interrupt) for number in SIGNALS}
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        stop("Stopped.")
    except BrokenPipeError:
        from fedunlearn.results import discard_output  # which --help does not wait for

        discard_output()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop(sentence: str) -> NoReturn:
    """Print ``sentence`` to standard error and exit with `EXIT_CODE`."""
    sys.stderr.write(f"\n{sentence}\n")
    sys.exit(EXIT_CODE)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for again in SIGNALS:
        signal.signal(again, signal.SIG_DFL)
    raise KeyboardInterrupt
