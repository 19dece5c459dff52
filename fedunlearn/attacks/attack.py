"""Attacks on the models that a finished run saved, by shadow models of its own federation."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch

from fedunlearn import checks
from fedunlearn.attacks.games import LEAST, ShadowAnswers, attack_results
from fedunlearn.attacks.shadow_models import Setup, Shadows, with_halves, without
from fedunlearn.attacks.target import Target, Tell
from fedunlearn.checks import Refused
from fedunlearn.data import build_federation
from fedunlearn.evaluators import confidence
from fedunlearn.experiment import Experiment, saved_model, split_hash
from fedunlearn.flower import Local
from fedunlearn.models import Vector
from fedunlearn.results import ATTACK_COLUMNS, SHARED_TRAINING, Case, Run

SeedAndStrategy = tuple[int, str]
"""Whose model one is, of those that one request left."""


@dataclass(frozen=True)
class Attack:
    """A finished run, and how its models are attacked."""

    experiment: Experiment
    run: Run
    count: int
    """Shadow models of either kind, for each federation and request."""
    strategies: Collection[str]
    """Whose models are attacked; ``shared`` is the model before unlearning."""
    engine: Local = field(default_factory=Local)

    def __post_init__(self) -> None:
        """Raise `Refused` for what cannot be attacked, before anything is trained."""
        folder = self.run.folder
        if self.run.manifest.get("status") != "finished":
            raise Refused(f"The run in {folder} is not through; finish it, then attack it.")
        checks.whole("--shadows", self.count, at_least=LEAST)
        if self.count % 2:
            raise Refused(f"--shadows must be even, for shadow models are twins, not {self.count}.")
        for name in self.strategies:
            checks.member("--models", name, {SHARED_TRAINING, *self.run.summary["strategy"]})
        if not self.groups:
            raise Refused(
                f"Nothing was to be forgotten in the run in {folder}, so there is nothing to find "
                "in it."
            )
        for (_, number), cases in self.groups.items():
            for seed in {seed for seed, _ in cases}:
                require_same_data(self.experiment, self.run, seed)
            target = self._target(cases[0][0], number)
            target.require_both_sides()
            self._shadows(target)
            for seed, strategy in cases:
                self._weights(target, seed, strategy)

    @cached_property
    def groups(self) -> dict[tuple[str, int], list[SeedAndStrategy]]:
        """The models that are attacked, by the hash of their federation's data and by request.

        Seeds that share their data (``split``) share their shadow models, too.
        """
        summary = self.run.summary
        order = [SHARED_TRAINING, *dict.fromkeys(summary["strategy"])]
        groups: dict[tuple[str, int], list[SeedAndStrategy]] = {}
        for number in range(1, len(self.experiment.requests) + 1):
            rows = summary[(summary["request"] == number) & (summary["clients"] != "")]
            saved = set(zip(rows["seed"], rows["strategy"], strict=True))
            # After a first request every strategy goes on from a model of its own.
            saved |= {(seed, SHARED_TRAINING) for seed in rows["seed"] if number == 1}
            for seed, name in sorted(saved, key=lambda case: (case[0], order.index(case[1]))):
                if name in self.strategies:
                    groups.setdefault((self._split(seed), number), []).append((int(seed), name))
        return groups

    @property
    def to_train(self) -> int:
        """How many shadow models there will be."""
        return 2 * self.count * len(self.groups)

    def table(self, tell: Tell) -> pd.DataFrame:
        """Train the shadow models, attack every model, and return the rows of attacks.csv."""
        rows = [row for group in self.groups for row in self._rows(*group, tell)]
        return pd.DataFrame(rows, columns=list(ATTACK_COLUMNS)).sort_values(
            ["seed", "request"], kind="stable", ignore_index=True
        )

    def _rows(self, split: str, number: int, tell: Tell) -> Iterator[dict[str, Any]]:
        cases = self.groups[split, number]
        target = self._target(cases[0][0], number)
        shadows = self._shadow_answers(target, tell)
        logits = {case: target.logits(self._weights(target, *case)) for case in cases}
        phis = {case: confidence(logits[case][0], target.attacked.labels) for case in cases}
        for seed, strategy in cases:
            others = [phi for (of, by), phi in phis.items() if by == strategy and of != seed]
            unlearned = np.stack(others) if others else None
            for result in attack_results(
                *logits[seed, strategy], target.attacked, shadows, unlearned
            ):
                values = (result.estimate.value, result.estimate.low, result.estimate.high)
                what = (result.attack, result.level, result.statistic, *values)
                row = (seed, strategy, number, *what, result.members, result.others)
                yield dict(zip(ATTACK_COLUMNS, row, strict=True))

    def _shadow_answers(self, target: Target, tell: Tell) -> ShadowAnswers:
        halves, out = self._shadows(target)
        return ShadowAnswers(
            target.confidences(halves, tell), halves.held, target.confidences(out, tell)
        )

    def _shadows(self, target: Target) -> tuple[Shadows, Shadows]:
        """Return the models to be trained for as many rounds as a retrained one has behind it."""
        after = target.federation.erasure(target.number).after
        rounds = after + self.experiment.recovery.rounds
        return (
            with_halves(target.setup, after, self.count),
            without(target.setup, rounds, self.count),
        )

    def _target(self, seed: int, number: int) -> Target:
        federation = build_federation(self.experiment.scenario(seed))
        trainer = self.engine.trainer(federation.scenario)
        setup = Setup.at(federation, number, trainer, self.experiment.training)
        return Target(setup, number, torch.device(self.engine.device))

    def _split(self, seed: int) -> str:
        return _split_in(self.run, seed)

    def _weights(self, target: Target, seed: int, strategy: str) -> Vector:
        request = 0 if strategy == SHARED_TRAINING else target.number
        case = Case(seed, strategy, request)
        return saved_model(self.run.folder, target.federation.network.layout, case)


def require_same_data(experiment: Experiment, run: Run, seed: int) -> None:
    """Refuse to train where the records of a seed are not those that a run had."""
    if split_hash(build_federation(experiment.scenario(seed))) != _split_in(run, seed):
        raise Refused(
            f"The records of seed {seed} are not those of the run in {run.folder}: their "
            "hash differs from its manifest's. Models trained now must learn from the same data."
        )


def _split_in(run: Run, seed: int) -> str:
    """Return the hash of a seed's data that a run's manifest names."""
    splits = run.manifest.get("split_sha256")
    return str(splits.get(str(seed))) if isinstance(splits, dict) else ""
