"""Where an attack happens: the federation at one request, and what models say of its records."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fedunlearn.attacks.games import AttackedRecords, Confidences
from fedunlearn.attacks.shadow_models import Setup, Shadows
from fedunlearn.checks import Refused
from fedunlearn.data import Federation, Records
from fedunlearn.evaluators import confidence
from fedunlearn.models import Vector, logits

POPULATION = 2000
"""So many test records at most are what RMIA compares with."""

Tell = Callable[[int], object]
"""Is told how many shadow models have been trained since it was told last."""


@dataclass(frozen=True)
class Target:
    """Where one request was served: who was there, and what it took from each who asked."""

    setup: Setup
    number: int
    """The request, from 1."""
    device: torch.device

    @property
    def federation(self) -> Federation:
        """Who holds what."""
        return self.setup.federation

    @cached_property
    def attacked(self) -> AttackedRecords:
        """What is known of the records that attacks are about."""
        clients = [np.full(len(pool.candidates), pool.client) for pool in self.setup.pools]
        return AttackedRecords(
            labels=self._records.labels.numpy(),
            member=torch.cat([pool.member for pool in self.setup.pools]).numpy(),
            clients=np.concatenate(clients),
            population=self._population.labels.numpy(),
        )

    def require_both_sides(self) -> None:
        """Raise `Refused` where there are no members, or nobody to compare them with."""
        member = self.attacked.member
        if member.all() or not member.any():
            raise Refused(
                f"The clients who ask at request {self.number} name {member.sum()} training "
                f"records that were not poisoned, and hold out {(~member).sum()} comparable ones; "
                "an attack needs some of both. Plant less, or hold out more."
            )

    def confidences(self, shadows: Shadows, tell: Tell) -> Confidences:
        """Train shadow models and return what they say; their weights are forgotten."""
        records, population = list[Any](), list[Any]()
        for weights in shadows.trained():
            for model in weights:
                logits, of_population = self.logits(model)
                records.append(confidence(logits, self.attacked.labels))
                population.append(confidence(of_population, self.attacked.population))
            tell(len(weights))
        return Confidences(np.stack(records), np.stack(population))

    def logits(self, weights: Vector) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return a model's logits of the attacked records, and of the population."""
        return self._logits(weights, self._records), self._logits(weights, self._population)

    @cached_property
    def _records(self) -> Records:
        return Records.joined([pool.candidates for pool in self.setup.pools])

    @cached_property
    def _population(self) -> Records:
        test = self.federation.dataset.test
        return Records(test.inputs[:POPULATION], test.labels[:POPULATION])

    def _logits(self, weights: Vector, records: Records) -> npt.NDArray[Any]:
        rows = logits(self.federation.network.arranging, weights.to(self.device), [records.inputs])
        array: npt.NDArray[Any] = rows.cpu().numpy()
        return array
