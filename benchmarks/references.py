"""Seconds to retrain a bank of references: digits, twenty clients of whom one leaves."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch

from benchmarks import report
from fedunlearn.attacks import Setup, without
from fedunlearn.data import Change, Digits, Iid, NoPlanting, Scenario, build_federation
from fedunlearn.flower import Local
from fedunlearn.local import Threads
from fedunlearn.models import Build, Cnn, Mlp
from fedunlearn.unlearning import Training

COLUMNS = ("net", "mode", "repetition", "seconds", "cpu_seconds", "accuracy")
MODELS: dict[str, Build] = {"mlp": Mlp(), "cnn": Cnn()}
CLIENTS, LEAVER = 20, 0
WANTED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Bank:
    """What one bank took."""

    mode: str
    seconds: float
    """On the clock; more than alone where others use the machine."""
    cpu: float
    """Of all threads of this process together."""
    accuracy: float
    """Mean over the references, on the test records."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the banks that the command line names, print a table and write a file."""
    parser = report.command_line(__doc__ or "", repetitions=3)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["mlp"])
    parser.add_argument("--references", type=int, default=32, metavar="R")
    parser.add_argument("--rounds", type=int, default=Training().rounds)
    options = parser.parse_args(arguments)
    if options.figure:
        parser.error("there is nothing to draw")
    torch.set_num_threads(1)
    banks = {
        name: [
            trained(name, options.references, options.rounds) for _ in range(options.repetitions)
        ]
        for name in options.models
    }
    what = f"{options.references} references, {options.rounds} rounds, {CLIENTS} clients"
    print(report.machine(), what, table(banks), sep="\n\n")
    if options.out:
        rows = [
            (name, bank.mode, number, bank.seconds, bank.cpu, bank.accuracy)
            for name, held in banks.items()
            for number, bank in enumerate(held, start=1)
        ]
        report.write_csv(options.out, COLUMNS, rows)


def trained(name: str, references: int, rounds: int) -> Bank:
    """Retrain ``references`` models as `fedunlearn attack` does, and look at what they learnt."""
    leaving = (Change(rounds, (LEAVER,)),)
    scenario = Scenario(
        Digits(), Iid(CLIENTS), NoPlanting(), MODELS[name], (LEAVER,), seed=0, changes=leaving
    )
    here, trainer = build_federation(scenario), Local().trainer(scenario)
    setup = Setup.at(here, 1, trainer, Training(rounds))
    bank = without(setup, rounds, references)
    began, cpu = time.perf_counter(), time.process_time()
    models = torch.cat(list(bank.trained()))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    test = here.dataset.test
    with torch.no_grad():
        right = [here.network(w, test.inputs).argmax(1) == test.labels for w in models]
    mode = "workers" if isinstance(trainer, Threads) else "cohort"
    return Bank(mode, seconds, cpu, float(torch.stack(right).double().mean()))


def table(banks: dict[str, list[Bank]]) -> str:
    """Return a row a net: medians over repetitions, and the goal."""
    return report.table(
        ["net", "mode", "seconds", "CPU seconds", "test accuracy", "wanted", "reached", "met"],
        (
            [
                name,
                held[0].mode,
                *(
                    report.number(median(getattr(bank, value) for bank in held))
                    for value in ("seconds", "cpu", "accuracy")
                ),
                *report.goal(WANTED_SECONDS, median(b.seconds for b in held), at_most=True),
            ]
            for name, held in banks.items()
        ),
    )


if __name__ == "__main__":
    main()
