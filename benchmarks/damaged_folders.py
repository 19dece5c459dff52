"""The folders that are damaged: made once, by small runs of the command line itself."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.damages import restored

TINY = (
    *("model=mlp", "model.hidden=[8]", "partition.clients=4", "training.rounds=2"),
    *("training.work.epochs=1", "training.work.optimizer.lr=0.3", "planting=backdoor"),
    *("figures=false", "checkpoint=0", "references=2", "split=0"),
)
COMPARE = (*TINY, "strategies=[finetune,federaser]", "strategy.interval=1")

CACHED = (*COMPARE, "seeds=[0,1]", "history=disk")
"""What fills the cache, and what reads it."""

FOLDERS = ("finished", "stopped", "open", "retrained", "multirun", "stopped-multirun", "cache")
"""``open`` is a finished run whose manifest lists no checksums any more, as for editing."""

SAVES = 9
"""The checkpoints after which a run is killed."""


def make(root: Path) -> None:
    """Make every folder below ``root``, and one of each, of other seeds, in ``root/other``.

    What is there already stays.
    """
    for below, first in ((root, 0), (root / "other", 5)):
        seeds = f"seeds=[{first},{first + 1}]"
        finished = [*COMPARE, seeds, "history=disk", f"cache={below / 'cache'}"]
        _once(below / "finished", ["compare", *finished])
        _once(below / "stopped", ["compare", *COMPARE, seeds, "history=disk"], killed=True)
        if not (below / "open").exists():
            restored(below / "finished", below / "open")
            _without_checksums(below / "open" / "manifest.json")
        alone = [*TINY, "strategies=[retrain]", seeds]
        _once(below / "retrained", ["compare", *alone])
        swept = ["-m", f"seed={first},{first + 1}", "strategy=finetune,federaser", *TINY]
        _once(below / "multirun", ["withdraw", *swept])
        _once(below / "stopped-multirun", ["withdraw", *swept], killed=True)


def _once(folder: Path, arguments: Sequence[str], *, killed: bool = False) -> None:
    if folder.exists():
        return
    kind = "sweep" if "-m" in arguments else "run"
    place = f"hydra.{kind}.dir={folder}"
    program = ["-m", "benchmarks.damaged_folders"] if killed else ["-m", "fedunlearn"]
    done = subprocess.run(
        [sys.executable, *program, *arguments, place], capture_output=True, text=True, check=False
    )
    if done.returncode != (9 if killed else 0):
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    if not killed and arguments[0] == "compare" and folder.name == "finished":
        subprocess.run(
            [sys.executable, "-m", "fedunlearn", "attack", str(folder), "--shadows", "4"],
            check=True,
            capture_output=True,
        )


def _without_checksums(manifest: Path) -> None:
    content = json.loads(manifest.read_text(encoding="utf-8"))
    for name in ("files", "sha256"):
        content.pop(name, None)
    manifest.write_text(json.dumps(content, indent=2), encoding="utf-8")


def killed() -> None:
    """Carry out the command line, and end the process without a word after some checkpoints."""
    from fedunlearn.__main__ import main
    from fedunlearn.experiment.checkpoint import Checkpoint, RunState

    save, left = Checkpoint.save, [SAVES]

    def counted(self: Checkpoint, state: RunState) -> None:
        save(self, state)
        left[0] -= 1
        if not left[0]:
            os._exit(9)

    Checkpoint.save = counted  # type: ignore[method-assign]
    main()


if __name__ == "__main__":
    killed()
