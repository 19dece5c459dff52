"""A rival in a process of another Python: laps are asked for and answered in lines of JSON."""

import json
import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from benchmarks.processes import Lap
from benchmarks.rivals.environments import Environment
from benchmarks.workloads import Workload

SOURCES = Path(__file__).parents[2]


class RivalPlayer:
    """A fresh process of another Python that plays ``module:function``; see `Player`."""

    def __init__(
        self,
        environment: Environment,
        function: str,
        workload: Workload,
        settings: Mapping[str, str],
    ) -> None:
        self._function = function
        self._process = subprocess.Popen(
            [environment.interpreter(), "-m", "benchmarks.rivals", function, workload.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=SOURCES,
            env={**os.environ, **settings, "PYTHONPATH": str(SOURCES)},
        )

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def lap(self, rounds: int) -> Lap:
        """Let it run ``rounds`` rounds; raises RuntimeError with its traceback if it fails."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # what it said before it ended is read below
            self._process.stdin.write(f"{rounds}\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._function} ended without an answer.")
        answer = json.loads(line)
        if "failed" in answer:
            raise RuntimeError(f"{self._function} failed:\n{answer['failed']}")
        return Lap(rounds, answer["seconds"], answer["since_imports"], gpu_bytes=0)

    def close(self) -> None:
        """Tell it that there are no more turns, and wait for its end."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
