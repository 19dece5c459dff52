"""The `flwr` command with a SuperLink of its own, and offline."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

PROC = Path("/proc/self/environ").exists()
"""Whether processes can be found by their environment."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def processes_of(home):
    """Return the processes that were started with this FLWR_HOME, and what these started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"FLWR_HOME={home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:
            continue  # ended meanwhile, or another user's
    return found


def end(home):
    """End these processes; what has not ended within some seconds is killed."""
    for how, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        for process in processes_of(home):
            try:
                os.kill(process, how)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + seconds
        while processes_of(home) and time.monotonic() < deadline:
            time.sleep(0.1)


@contextmanager
def flwr_command(home, app):
    """Yield a function that calls `flwr` in the folder ``app``; all that it starts ends with it."""
    home.mkdir(exist_ok=True)
    tools = Path(sys.executable).parent
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("FLWR_", "RAY_"))}
    environment = inherited | {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": free_port(),
        "FLWR_LOCAL_CONTROL_API_PORT": free_port(),
        "UV_OFFLINE": "1",
    }

    def call(*arguments):
        return subprocess.run(
            [str(tools / "flwr"), *arguments],
            cwd=app,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    try:
        yield call
    finally:
        end(home)
        assert processes_of(home) == []
