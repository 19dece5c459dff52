"""A virtual environment for each rival, made when it is first needed."""

import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

FOLDER = Path("outputs/rivals")
"""Where environments lie, below the folder in which the benchmark is run."""

OF_WORKLOADS = ("lazy-loader", "pandas", "pyarrow", "pyyaml", "safetensors", "scikit-learn")
"""What nets and records of a workload are made with."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A Python, and what is installed there besides this machine's torch and torchvision."""

    package: str
    """The rival, with its version."""
    python: str = "3.11"
    """What `uv venv --python` is given."""
    more: tuple[str, ...] = ()
    """Packages that it does not ask for itself."""

    def interpreter(self, root: Path = FOLDER) -> Path:
        """Return its interpreter; make the environment if there is none, which takes minutes.

        Raises LookupError where uv finds no such Python.
        """
        folder = root / self.package.partition("==")[0]
        interpreter = folder / "bin" / "python"
        ready = folder / "ready"
        if ready.exists():
            return interpreter.absolute()
        made = _uv("venv", "--clear", "--python", self.python, str(folder))
        if made.returncode:
            raise LookupError(
                f"{self.package} needs Python {self.python}, which is not on PATH: it is left out."
            )
        torches = [f"{name}=={version(name)}" for name in ("torch", "torchvision")]
        wanted = (*torches, self.package, *self.more, *OF_WORKLOADS)
        installed = _uv("pip", "install", "--python", str(interpreter), *wanted)
        if installed.returncode:
            raise RuntimeError(f"{self.package} could not be installed:\n{installed.stderr}")
        ready.touch()
        return interpreter.absolute()


def _uv(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("uv")), *arguments]
    wait = {"UV_HTTP_TIMEOUT": "1800"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**wait, **os.environ}
    )
