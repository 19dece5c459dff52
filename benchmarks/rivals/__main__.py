"""What runs in a rival's process: `python -m benchmarks.rivals FUNCTION WORKLOAD`.

Each line of the input asks for so many rounds; each line of the output says how long they took.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Iterator
from pkgutil import resolve_name
from typing import TextIO

from benchmarks.workloads import WORKLOADS


def main(function: str, workload: str) -> None:
    """Play ``function`` until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a rival prints is no answer
    try:
        contend = resolve_name(function)
        contend(_turns(answers, time.perf_counter()), WORKLOADS[workload])
    except Exception:
        _say(answers, {"failed": traceback.format_exc()})


def _turns(answers: TextIO, imported: float) -> Iterator[int]:
    for line in sys.stdin:
        started = time.perf_counter()
        yield int(line)
        ended = time.perf_counter()
        _say(answers, {"seconds": ended - started, "since_imports": ended - imported})


def _say(answers: TextIO, answer: dict[str, object]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
