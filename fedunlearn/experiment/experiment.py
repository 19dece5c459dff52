"""What to simulate: a federation, its withdrawals, and the strategies to compare on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from fedunlearn import checks
from fedunlearn.checks import Refused
from fedunlearn.data import (
    HELDOUT,
    PROXY,
    ByOwner,
    DatasetSource,
    Partition,
    Planting,
    Scenario,
)
from fedunlearn.evaluators import Evaluator
from fedunlearn.experiment import compatible
from fedunlearn.experiment.loggers import Logger
from fedunlearn.experiment.loggers import NoLogger as NoLogger
from fedunlearn.flower import Engine, Local, kinds_in
from fedunlearn.history import (
    AsNeeded,
    Demand,
    InMemory,
    Needs,
    OnDisk,
    Policy,
    Store,
    count_recorded,
    fit,
)
from fedunlearn.models import Build
from fedunlearn.results import Asked, Margins, reference_name
from fedunlearn.results.certificates import Thresholds, private_key
from fedunlearn.unlearning import (
    Join,
    Moment,
    NoRecovery,
    Recovery,
    Request,
    Training,
    UnlearningStrategy,
    changes,
    plan,
)


@dataclass(frozen=True)
class Evaluation:
    """How models are measured."""

    measures: tuple[Evaluator, ...]
    every: int = 1
    """Training rounds between evaluations; unlearning and recovery are measured every round."""
    batch_size: int = 1024
    """Records per forward pass."""
    final: tuple[Evaluator, ...] = ()
    """What is measured only before a request, at the end of unlearning and after recovery."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.whole("evaluators.every", self.every)
        checks.whole("evaluators.batch_size", self.batch_size)


@dataclass(frozen=True)
class Experiment:
    """All that one comparison is made of."""

    dataset: DatasetSource
    partition: Partition | ByOwner
    planting: Planting
    model: Build
    training: Training
    requests: tuple[Request, ...]
    """Who asks for what to be forgotten, and when."""
    strategies: Mapping[str, UnlearningStrategy]
    reference: UnlearningStrategy
    """Retraining; it always runs, so that every number stands next to its own."""
    evaluation: Evaluation
    joins: tuple[Join, ...] = ()
    """Who takes part only from a round on, or again."""
    recovery: Recovery = field(default_factory=NoRecovery)
    store: Store = field(default_factory=InMemory)
    policy: Policy = field(default_factory=AsNeeded)
    """Which rounds are kept, and whose updates."""
    budget: float | None = None
    """Bytes that the rounds of one training may take; `within_budget` picks how."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    """When a certificate says that somebody was forgotten."""
    margins: Margins = field(default_factory=Margins)
    """Up to where a strategy's models count as whole, and as retrained."""
    signing_key: Path | None = None
    """A file with the Ed25519 private key that signs certificates, tables and models."""
    engine: Engine = field(default_factory=Local)
    cooperates: bool = True
    """Whether those who leave work once more for a strategy that asks them to."""
    cache: Path | None = None
    """A folder of trainings and references that runs share; each is then stored in full."""
    checkpoint: float = 10
    """Seconds between checkpoints, from which a killed run goes on; more where one takes long."""
    logger: Logger = field(default_factory=NoLogger)
    """Where numbers and figures are copied to, besides the run's own files."""
    heldout: float = 0.2
    proxy: float = 0.1
    split: int | None = None
    """The seed of who holds what, for all seeds of a run; None divides the data anew each time."""
    references: int = 1
    """Retrained models a seed; those after the first have another first model and other cohorts."""

    def __post_init__(self) -> None:
        """Put the requests in order; raise `Refused` for what cannot be run."""
        checks.number("checkpoint", self.checkpoint, at_least=0)
        checks.whole("references", self.references)
        checks.require("heldout", HELDOUT, self.heldout)
        checks.require("proxy", PROXY, self.proxy)
        if self.split is not None:
            checks.whole("split", self.split, at_least=0)
        if self.signing_key is not None:
            private_key(self.signing_key)
        if self.budget is not None:
            checks.number("history.budget", self.budget, above=0)
        clients, rounds = self.partition.clients, self.training.rounds
        requests = plan(self.requests, clients, rounds, self.joins)
        object.__setattr__(self, "requests", requests)
        compatible.budget_and_store(self.budget, self.store)
        single = [compatible.singles(*named) for named in self.strategies.items()]
        for name, strategy in chain.from_iterable(single):
            needs = strategy.needs
            self.store.check(name, needs)
            compatible.strategy_and_policy(name, needs, self.policy, self._cohort)
            compatible.strategy_and_training(name, strategy, self.training)
            compatible.strategy_and_leavers(name, needs, cooperates=self.cooperates)
            compatible.strategy_and_proxy(name, needs, self.proxy)
            compatible.strategy_and_requests(name, needs, self.policy, self.requests)
            compatible.strategy_and_members(name, needs, self.requests, self.joins, clients)
        compatible.strategies_and_references(self.strategies, self.branches, self.reference)

    @property
    def branches(self) -> dict[str, UnlearningStrategy]:
        """What is run after training: references first, since all others are measured by them."""
        retrained = {reference_name(n): self.reference for n in range(1, self.references + 1)}
        return {**retrained, **self.strategies}

    @property
    def kinds(self) -> frozenset[type]:
        """Classes that may describe work to clients, those of a user's own among them."""
        return kinds_in(self.training, self.recovery, *self.branches.values())

    @property
    def needs(self) -> Needs:
        """What training must record to serve every strategy."""
        needs = [strategy.needs for strategy in self.branches.values()]
        # What others find in a cache must serve whatever they run.
        return Needs.union([*needs, Needs(updates=True, models=True)] if self.cache else needs)

    def scenario(self, seed: int) -> Scenario:
        """Say who holds what under ``seed``."""
        leavers = [client for r in self.requests if r.scope.probed for client in sorted(r.clients)]
        return Scenario(
            dataset=self.dataset,
            partition=self.partition,
            planting=self.planting,
            model=self.model,
            leavers=tuple(dict.fromkeys(leavers)),
            seed=seed,
            heldout=self.heldout,
            proxy=self.proxy,
            split=self.split,
            changes=changes(self.requests, self.joins),
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
    def asked(self) -> list[Asked]:
        """What each client asks for, request by request."""
        return [
            Asked(number, client, each.scope.words, each.asked(client), each.after)
            for number, each in enumerate(self.requests, start=1)
            for client in sorted(each.clients)
        ]

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
        needs, clients = self.needs, self.policy.updates(self._cohort)
        kept = count_recorded(self.policy, needs, range(1, self.training.rounds + 1))
        return 4 * size * kept * (clients * needs.updates + needs.models)

    @property
    def _cohort(self) -> int:
        return self.training.cohort_size(self.partition.clients)

    def within_budget(self, size: int) -> tuple["Experiment", str]:
        """Return this with a store and a policy that fit the budget, and what was picked.

        The sentence is empty where there is no budget. Raises `Refused` where nothing fits a
        model of ``size`` numbers.
        """
        if self.budget is None or not isinstance(self.store, OnDisk):
            return self, ""
        last, served = self.training.rounds, [r for r in self.requests if r.clients]
        recovered = [r.after + n for r in served for n in range(1, self.recovery.rounds + 1)]
        demand = Demand(
            needs=[self.needs, *(strategy.needs for strategy in self.branches.values())],
            size=size,
            cohort=self._cohort,
            rounds=[*range(1, last + 1), *recovered],
            first=min((request.after for request in self.requests), default=last),
        )
        picked = fit(self.budget, self.store, self.policy, demand)
        fitted = replace(self, store=picked.store, policy=picked.policy, budget=None)
        return fitted, picked.sentence
