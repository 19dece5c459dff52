"""What to simulate: a federation, its withdrawals, and the strategies to compare on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fedunlearn import checks
from fedunlearn.checks import Refused
from fedunlearn.data.dataset import DatasetSource
from fedunlearn.data.partitions import Partition
from fedunlearn.data.planting import Planting
from fedunlearn.engines import Engine
from fedunlearn.engines.local import Local
from fedunlearn.evaluators.snapshot import Evaluator
from fedunlearn.federation import Scenario
from fedunlearn.history import Keep, Needs
from fedunlearn.ledger import Moment
from fedunlearn.models import Build
from fedunlearn.recovery import Nothing, Recovery
from fedunlearn.runs import RETRAIN, SHARED
from fedunlearn.stores import Store
from fedunlearn.strategy import Request, UnlearningStrategy
from fedunlearn.timeline import plan
from fedunlearn.training import Training


@dataclass(frozen=True)
class Evaluation:
    """How models are measured."""

    measures: tuple[Evaluator, ...]
    every: int = 1
    """Training rounds between evaluations; unlearning and recovery are measured every round."""
    batch_size: int = 1024
    """Records per forward pass."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.whole("evaluators.every", self.every)
        checks.whole("evaluators.batch_size", self.batch_size)


@dataclass(frozen=True)
class Experiment:
    """All that one comparison is made of."""

    dataset: DatasetSource
    partition: Partition
    planting: Planting
    model: Build
    training: Training
    requests: tuple[Request, ...]
    strategies: Mapping[str, UnlearningStrategy]
    reference: UnlearningStrategy
    """Retraining; it always runs, so that every number stands next to its own."""
    evaluation: Evaluation
    recovery: Recovery = field(default_factory=Nothing)
    keep: Store = field(default_factory=Keep)
    engine: Engine = field(default_factory=Local)
    cooperates: bool = True
    """Whether those who leave work once more for a strategy that asks them to."""
    heldout: float = 0.2
    proxy: float = 0.1

    def __post_init__(self) -> None:
        """Put the requests in order; raise `Refused` for what cannot be run."""
        requests = plan(self.requests, self.partition.clients, self.training.rounds)
        object.__setattr__(self, "requests", requests)
        for name, strategy in self.strategies.items():
            self.keep.check(name, strategy.needs)
            if strategy.needs.leaver and not self.cooperates:
                raise Refused(
                    f"strategy={name} lets those who leave work once more, but they are gone "
                    "(withdrawal.cooperates=false). Choose a strategy that does not ask them, or "
                    "set withdrawal.cooperates=true."
                )
            if strategy.needs.proxy and not self.proxy:
                raise Refused(
                    f"strategy={name} needs unlabelled records on the server, but proxy=0 "
                    "reserves none. Set proxy=0.1, say."
                )
            for request in self.requests:
                if strategy.needs.updates and strategy.needs.every > request.after:
                    raise Refused(
                        f"strategy={name} keeps one round in {strategy.needs.every}, but the "
                        f"request comes after round {request.after}: nothing would be stored. "
                        "Set strategy.interval lower or training.rounds higher."
                    )
        if SHARED in self.strategies or self.branches[RETRAIN] != self.reference:
            raise Refused(
                f"The result files keep the names {SHARED} and {RETRAIN} for the common training "
                "and for the reference; call the strategy something else."
            )

    @property
    def branches(self) -> dict[str, UnlearningStrategy]:
        """What is run after training: the reference first, since all others are measured by it."""
        return {RETRAIN: self.reference, **self.strategies}

    @property
    def needs(self) -> Needs:
        """What training must record to serve every strategy."""
        return Needs.union(strategy.needs for strategy in self.branches.values())

    def scenario(self, seed: int) -> Scenario:
        """Say who holds what under ``seed``."""
        leavers = [client for r in self.requests for client in sorted(r.clients)]
        return Scenario(
            dataset=self.dataset,
            partition=self.partition,
            planting=self.planting,
            model=self.model,
            leavers=tuple(leavers),
            seed=seed,
            heldout=self.heldout,
            proxy=self.proxy,
        )

    def scenarios(self, seeds: Sequence[int]) -> dict[int, Scenario]:
        """Return the scenario of each seed; raise `Refused` unless seeds are given, each once."""
        if not seeds or len(set(seeds)) != len(seeds):
            raise Refused(f"seeds must name one or more different seeds, not {list(seeds)}.")
        return {seed: self.scenario(seed) for seed in seeds}

    def measures(self, moment: Moment) -> bool:
        """Whether a run measures the model of ``moment``.

        In training that is only now and then, but always before a request and at the end.
        """
        ends = {self.training.rounds, *(request.after for request in self.requests)}
        due = moment.round % self.evaluation.every == 0 or moment.round in ends
        return moment.phase != "train" or due

    @property
    def length(self) -> int:
        """Models that one seed brings about, for the progress bar."""
        first = self.requests[0].after if self.requests else self.training.rounds
        steps = first
        for strategy in self.branches.values():
            served = [r for r in self.requests if r.clients]
            steps += len(self.requests) + self.training.rounds - first
            steps += sum(strategy.length(r) + self.recovery.rounds for r in served)
        return steps

    @property
    def models_stored(self) -> int:
        """How many models the run folder gets for one seed."""
        return 1 + len(self.branches) * len(self.requests)

    def stored_bytes(self, size: int) -> int:
        """Return the bytes of all rounds that one training keeps of a model of ``size`` numbers.

        That is in memory, 4 bytes a number, with full cohorts.
        """
        needs, cohort = self.needs, self.training.cohort_size(self.partition.clients)
        kept = sum(needs.keeps(number) for number in range(1, self.training.rounds + 1))
        return 4 * size * kept * (cohort * needs.updates + needs.models)
