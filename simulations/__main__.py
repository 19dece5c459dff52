"""The `fedunlearn` command: pick a simulation, hand it the rest of the command line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from importlib import import_module
from io import StringIO

from fedunlearn import __version__

from .interruptions import stoppable

COMMANDS = {
    "withdraw": "train a federation, let clients leave, forget them by one strategy",
    "compare": "the same with several strategies and seeds, in one table",
    "tune": "try as many settings of each strategy on validation seeds, and keep the nearest",
    "tune-planner": "find which strategy of RUM serves which part best, by ToW on validation seeds",
    "plot": "draw the figures of a finished run, or of several, again from their files",
    "report": "write a page, Markdown, LaTeX tables and figures of a finished run or multirun",
    "doctor": "show the machine and the federation, and measure which engine.mode is faster",
    "estimate": "say what a comparison will store, send and take, without training",
    "cost": "turn the ledger of a finished run into time, money, and requests until it pays",
    "attack": "attack the models of a finished run: can anybody tell who was in the data?",
    "score": "score the models of a finished run as the NeurIPS 2023 unlearning competition did",
    "suspects": "rank the clients of a finished run, and their records, by suspected label noise",
    "difficulty": "say who is hard to forget: memorization and entanglement of each client",
    "verify": "check the deletion certificates of a finished run, or of several",
    "cache": "list, check or delete the trainings that runs share (cache=FOLDER)",
    "explain": "say what a key, a group, a choice, a strategy or a metric means",
}
"""A command is the module of its name in this folder, whose `main` it calls."""

CONFIGURED = ("withdraw", "compare", "tune", "tune-planner", "estimate", "doctor")
"""Those that take keys of the configuration."""

RUN = ("withdraw", "compare", "tune", "tune-planner")
"""Those that go on with a killed run, by ``run=FOLDER``."""

ONLY_PRINT = ("--cfg", "-c", "--info", "-i", "--hydra-help", "--version")
"""Hydra's flags that run nothing."""

EXAMPLES = """\
examples:
  fedunlearn withdraw strategy=federaser dataset=digits partition=dirichlet partition.alpha=0.3
  fedunlearn compare 'strategies=[none,retrain,federaser]' 'seeds=[0,1,2]'
  fedunlearn withdraw -m strategy=federaser strategy.interval=1,2,4 seed=0,1
  fedunlearn withdraw run=outputs/multirun/2026-11-21_10-00-00   go on after it was killed
  fedunlearn plot outputs/demo
  fedunlearn report outputs/demo
  fedunlearn tune strategies=all trials=4 experiment=digits_backdoor
  fedunlearn doctor model=mlp partition.clients=20
  fedunlearn estimate experiment=mnist_backdoor 'strategies=[federaser]' strategy.interval=4
  fedunlearn cost outputs/demo devices=phones
  fedunlearn attack outputs/demo --shadows 16
  fedunlearn score outputs/compare/2026-11-21_10-00-00           after compare split=0 'seeds=[…]'
  fedunlearn suspects outputs/demo
  fedunlearn difficulty outputs/demo
  fedunlearn verify outputs/demo
  fedunlearn explain partition training.work.optimizer.lr

`fedunlearn COMMAND --help` says more of each, `--cfg job` prints the whole configuration.
What lies in conf/, strategies/ and modules of the folder where you stand can be chosen as well.
"""


def usage() -> str:
    """Return what `fedunlearn --help` prints."""
    listed = "".join(f"  {name:<12} {sentence}\n" for name, sentence in COMMANDS.items())
    return f"usage: fedunlearn <command> [Hydra overrides and options]\n\n{listed}\n{EXAMPLES}"


def main() -> None:
    """Run the command named first on the command line, until it is done or stopped."""
    with stoppable():
        run()


def run() -> None:
    """Run the command named first on the command line."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help", "help"):
        sys.stdout.write(usage())
        sys.exit(0 if len(sys.argv) > 1 else 2)
    command = sys.argv[1]
    if command in ("-V", "--version"):
        sys.stdout.write(f"fedunlearn {__version__}\n")
        return
    if command not in COMMANDS:
        from fedunlearn.checks import nearest  # half the time of --help

        word = command.lstrip("-")
        instead = (
            f". A command comes first: fedunlearn withdraw {word}."
            if "=" in word
            else nearest(command, COMMANDS)
        )
        sys.stderr.write(f"fedunlearn {command} is no command{instead}\n")
        sys.exit(2)
    arguments = sys.argv[2:]
    if command in CONFIGURED and {"-h", "--help"} & set(arguments):
        from .help_pages import page

        sys.stdout.write(page(command))
        return
    if command in RUN and any(argument.startswith("run=") for argument in arguments):
        from .guard import sentences
        from .resume import begun

        with sentences():
            arguments = begun(command, arguments)
    sys.argv = [f"fedunlearn {command}", *arguments]
    # Each command imports what it needs: `plot` starts without torch's seconds.
    with printed_at_once() if any(a in ONLY_PRINT for a in arguments) else nullcontext():
        import_module(f".{command.replace('-', '_')}", __package__).main()


@contextmanager
def printed_at_once() -> Iterator[None]:
    """Hold what Hydra prints until it is done: it has a traceback for readers that go away."""
    held = StringIO()
    try:
        with redirect_stdout(held):
            yield
    finally:
        sys.stdout.write(held.getvalue())


if __name__ == "__main__":
    main()
