"""The `fedunlearn` command: pick a simulation, hand it the rest of the command line."""

import sys

from fedunlearn import __version__
from fedunlearn.checks import nearest

USAGE = """\
usage: fedunlearn <command> [Hydra overrides and options]

  withdraw   train a federation, let clients leave, forget them by one strategy
  compare    the same with several strategies and seeds, in one table
  plot       draw the figures of a finished run, or of several, again from their files
  report     write a page, Markdown, LaTeX tables and figures of a finished run, or of a multirun
  doctor     show the machine and the federation, and measure which engine.mode is faster
  estimate   say what a comparison will store, send and take, without training
  cost       turn the ledger of a finished run into time, money, and requests until it pays
  attack     attack the models of a finished run: can anybody tell who was in the data?
  score      score the models of a finished run as the NeurIPS 2023 unlearning competition did
  verify     check the deletion certificates of a finished run, or of several
  cache      list, check or delete the trainings that runs share (cache=FOLDER)

examples:
  fedunlearn withdraw strategy=federaser dataset=digits partition=dirichlet partition.alpha=0.3
  fedunlearn compare 'strategies=[none,retrain,federaser]' 'seeds=[0,1,2]'
  fedunlearn withdraw -m strategy=federaser strategy.interval=1,2,4 seed=0,1
  fedunlearn withdraw run=outputs/multirun/2026-11-21_10-00-00   go on after it was killed
  fedunlearn plot outputs/demo
  fedunlearn report outputs/demo
  fedunlearn doctor model=mlp partition.clients=20
  fedunlearn estimate experiment=mnist_backdoor 'strategies=[federaser]' strategy.interval=4
  fedunlearn cost outputs/demo devices=phones
  fedunlearn attack outputs/demo --shadows 16
  fedunlearn score outputs/compare/2026-11-21_10-00-00           after compare split=0 'seeds=[…]'
  fedunlearn verify outputs/demo

`fedunlearn withdraw --help` lists every choice, `--cfg job` prints the whole configuration.
"""

COMMANDS = (
    "withdraw",
    "compare",
    "plot",
    "report",
    "doctor",
    "estimate",
    "cost",
    "attack",
    "score",
    "verify",
    "cache",
)


def main() -> None:
    """Run the command named first on the command line."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help", "help"):
        sys.stdout.write(USAGE)
        sys.exit(0 if len(sys.argv) > 1 else 2)
    command = sys.argv[1]
    if command in ("-V", "--version"):
        sys.stdout.write(f"fedunlearn {__version__}\n")
        return
    if command not in COMMANDS:
        sys.stderr.write(f"fedunlearn {command} is no command{nearest(command, COMMANDS)}\n")
        sys.exit(2)
    arguments = sys.argv[2:]
    if command in ("withdraw", "compare") and any(a.startswith("run=") for a in arguments):
        from simulations.guard import sentences
        from simulations.resume import begun

        with sentences():
            arguments = begun(command, arguments)
    sys.argv = [f"fedunlearn {command}", *arguments]
    # Each command imports what it needs: `plot` starts without torch's seconds.
    if command == "withdraw":
        from simulations.withdraw import main as run
    elif command == "compare":
        from simulations.compare import main as run
    elif command == "report":
        from simulations.report_command import main as run
    elif command == "doctor":
        from simulations.doctor import main as run
    elif command == "estimate":
        from simulations.estimate import main as run
    elif command == "cost":
        from simulations.cost import main as run
    elif command == "verify":
        from simulations.verify import main as run
    elif command == "attack":
        from simulations.attack import main as run
    elif command == "score":
        from simulations.score import main as run
    elif command == "cache":
        from simulations.cache import main as run
    else:
        from simulations.plot import main as run
    run()


if __name__ == "__main__":
    main()
