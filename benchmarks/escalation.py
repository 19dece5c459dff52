"""Escalation next to choosing one strategy beforehand: who is forgotten, at which cost.

Digits, five clients, one of whom leaves with a backdoor: every client in turn, under several seeds.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

import torch
from scipy.stats import binomtest, t

from benchmarks import report
from fedunlearn.data import Backdoor, Digits, Federation, Iid, Scenario, build_federation
from fedunlearn.evaluators import BackdoorProbe, Forgetting, Snapshot, Utility
from fedunlearn.flower import Connection, Local, grid_clients
from fedunlearn.history import History, Needs
from fedunlearn.local import LocalWork
from fedunlearn.models import Mlp, Vector
from fedunlearn.unlearning import (
    FederationState,
    Ledger,
    NoRecovery,
    ProxyData,
    Request,
    ScopedClients,
    Step,
    Steps,
    Training,
    UnlearningStrategy,
    changes,
    forget,
    train,
)
from strategies.escalate import Escalate
from strategies.fedaccum import FedAccum
from strategies.federaser import FedEraser
from strategies.finetune import FineTune
from strategies.none import Nothing
from strategies.retrain import Retrain
from strategies.subtraction import Subtraction

CLIENTS, ROUNDS = 5, 24
MARGIN = 0.05
"""How far attack success may be from retraining's: that of a certificate."""
CHANGED = 0.05
"""The same for accuracy on the leaver's records."""
CONFIDENCE = 0.95
BEFOREHAND: dict[str, UnlearningStrategy] = {
    "none": Nothing(),
    "finetune": FineTune(),
    "fedaccum": FedAccum(),
    "subtraction": Subtraction(),
    "federaser": FedEraser(),
    "retrain": Retrain(),
}
LIMITS = (0.02, 0.05)
"""Attack success up to which a server says forgotten: escalation's default, and `MARGIN`."""
ESCALATIONS: dict[str, Escalate] = {
    f"{first}, federaser, retrain (at most {100 * limit:g} %)": Escalate(
        (BEFOREHAND[first], BEFOREHAND["federaser"], BEFOREHAND["retrain"]), limit
    )
    for first in ("fedaccum", "subtraction")
    for limit in LIMITS
}
COLUMNS = (
    *("seed", "client", "strategy", "attack", "attack_gap", "forget_gap", "test_gap"),
    *("said", "client_epochs", "models"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one strategy served one leaver, next to retraining."""

    seed: int
    client: int
    strategy: str
    attack: float
    """Success of the leaver's trigger on the test records."""
    attack_gap: float
    forget_gap: float
    test_gap: float
    said: bool
    """Whether the server's own test passes."""
    client_epochs: float
    models: int

    @property
    def forgotten(self) -> bool:
        """Whether its trigger works no more often than on the retrained model, but for `MARGIN`."""
        return self.attack_gap <= MARGIN

    @property
    def like_retrained(self) -> bool:
        """Whether the model does on the leaver's records as the retrained one as well."""
        return self.forgotten and abs(self.forget_gap) <= CHANGED


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve every client as a leaver, print a table and write a file."""
    parser = report.command_line(__doc__ or "", repetitions=6)
    options = parser.parse_args(arguments)
    if options.figure:
        parser.error("there is nothing to draw")
    torch.set_num_threads(1)
    found = [
        outcome
        for seed in range(options.repetitions)
        for client in range(CLIENTS)
        for outcome in of_leaver(seed, client)
    ]
    print(report.machine(), table(found), sep="\n\n")
    if options.out:
        rows = [[getattr(each, name) for name in COLUMNS] for each in found]
        report.write_csv(options.out, COLUMNS, rows)


def of_leaver(seed: int, client: int) -> list[Outcome]:
    """Train once, and let every strategy and escalation forget one client."""
    request = Request(frozenset({client}), ROUNDS)
    scenario = Scenario(
        Digits(),
        Iid(CLIENTS),
        Backdoor(),
        Mlp(),
        (client,),
        seed,
        changes=changes([request]),
    )
    found: list[Outcome] = []

    def job(connection: Connection) -> None:
        found.extend(_served(scenario, connection))

    Local(device="cpu").run(scenario, job)
    return found


def _served(scenario: Scenario, connection: Connection) -> list[Outcome]:
    here = build_federation(scenario)
    training = Training(ROUNDS, work=LocalWork(epochs=5))
    strategies = BEFOREHAND | ESCALATIONS

    def clients() -> ScopedClients:
        own = ProxyData(
            here.network,
            here.proxy,
            Ledger(),
            scenario.seed,
            verification=here.verification_sets,
        )
        return grid_clients(connection, training, own)

    start = History(here.network.layout, here.initial, here.initial)
    needs = Needs.union(each.needs for each in strategies.values())
    everybody = frozenset(range(CLIENTS))
    state, _ = _ended(train(FederationState(start, everybody), clients(), ROUNDS, needs))
    models, ledgers, counts = dict[str, Vector](), dict[str, Ledger](), dict[str, int]()
    for name, strategy in strategies.items():
        asked = clients()
        served = set(scenario.leavers), strategy, NoRecovery(), asked, strategy.needs
        after, steps = _ended(forget(state, *served))
        models[name], counts[name] = after.history.final, len(steps) - 1
        ledgers[name] = asked.ledger
    return _judged(here, state.history.final, models, ledgers, counts)


def _judged(
    here: Federation,
    original: Vector,
    models: Mapping[str, Vector],
    ledgers: Mapping[str, Ledger],
    counts: Mapping[str, int],
) -> list[Outcome]:
    """Set each model next to the retrained one, and to what the server itself can say."""
    _, before = tested(here, original)
    values = {name: measured(here, weights) for name, weights in models.items()}
    goal, outcomes = values["retrain"], list[Outcome]()
    for name, value in values.items():
        attack, accuracy = tested(here, models[name])
        gap = {key: value[key] - goal[key] for key in goal}
        limits = ESCALATIONS.get(name, Escalate((Retrain(),)))
        outcomes.append(
            Outcome(
                seed=here.scenario.seed,
                client=here.scenario.leavers[0],
                strategy=name,
                attack=value["attack_success_rate"],
                attack_gap=gap["attack_success_rate"],
                forget_gap=gap["forget_accuracy"],
                test_gap=gap["test_accuracy"],
                said=attack <= limits.forgotten and accuracy >= before - limits.utility,
                client_epochs=ledgers[name].client_epochs,
                models=counts[name],
            )
        )
    return outcomes


def measured(here: Federation, weights: Vector) -> dict[str, float]:
    """Return what evaluators find of a model [d] on records that no server knows of."""
    model = Snapshot(here.network, weights, here.request_sets(1), here.initial)
    values: dict[str, float] = {}
    for evaluator in (Utility(), Forgetting(), BackdoorProbe()):
        values |= evaluator(model, None)
    return values


def tested(here: Federation, weights: Vector) -> tuple[float, float]:
    """Return what the server's own test finds of a model [d]: attack success and accuracy."""
    own = ProxyData(here.network, here.proxy, Ledger(), 0, verification=here.verification_sets)
    verifier = own.verifier(1)
    return verifier.attack_success(weights), verifier.accuracy(weights)


def table(found: Iterable[Outcome]) -> str:
    """Return a row a strategy: shares and means over leavers, with intervals."""
    by_name: dict[str, list[Outcome]] = {}
    for each in found:
        by_name.setdefault(each.strategy, []).append(each)
    return report.table(
        [
            *("strategy", "trigger forgotten", "as retrained", "server says forgotten"),
            *("of these not", "test accuracy, points", "client epochs"),
        ],
        ([name, *_cells(outcomes)] for name, outcomes in by_name.items()),
    )


def _cells(outcomes: Sequence[Outcome]) -> list[str]:
    said = [each for each in outcomes if each.said]
    return [
        _share([each.forgotten for each in outcomes]),
        _share([each.like_retrained for each in outcomes]),
        _share([each.said for each in outcomes]),
        _share([not each.forgotten for each in said]),
        _mean([100 * each.test_gap for each in outcomes]),
        _mean([each.client_epochs for each in outcomes]),
    ]


def _share(found: Sequence[bool]) -> str:
    """Write how many of all, and Wilson's interval in per cent."""
    if not found:
        return "none said"
    within = binomtest(sum(found), len(found)).proportion_ci(CONFIDENCE, method="wilson")
    return f"{sum(found)} of {len(found)} ({100 * within.low:.0f} … {100 * within.high:.0f} %)"


def _mean(values: Sequence[float]) -> str:
    """Write a mean and the half width of its interval, as Student's t has it."""
    if len(values) < 2:
        return f"{mean(values):.1f}"
    half = t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return f"{mean(values):.1f} ± {half:.1f}"


def _ended(steps: Steps) -> tuple[FederationState, list[Step]]:
    """Take all steps; return where the federation then stands, and the steps."""
    taken: list[Step] = []
    while True:
        try:
            taken.append(next(steps))
        except StopIteration as stop:
            return stop.value, taken


if __name__ == "__main__":
    main()
