"""The retrained models of a seed: the first repeats training, the further ones had other luck."""

from collections.abc import Iterable

from fedunlearn.data import Federation
from fedunlearn.models import Vector
from fedunlearn.randomness import Stream, drawn_seed
from fedunlearn.results import reference_name, reference_number


def training_seed(seed: int, name: str) -> int:
    """Return the seed of cohorts, batches and the first model in the branch ``name``.

    That is the run's ``seed`` for every strategy and for the first reference, and a number below
    2^32 drawn from ``seed`` and n for ``retrain-n``. Data never depend on it.
    """
    number = reference_number(name)
    if number <= 1:
        return seed
    return drawn_seed(seed, Stream.REFERENCE, number)


def seed_of(training: int, seeds: Iterable[int], references: int) -> int:
    """Return which of a run's ``seeds`` has a branch that trains with the seed ``training``.

    Clients that serve several seeds know by it whose data a message is about.
    """
    names = [reference_name(number) for number in range(1, references + 1)]
    return next(seed for seed in seeds for n in names if training_seed(seed, n) == training)


def first_model(federation: Federation, name: str) -> Vector:
    """Return the model [d] before round 1 in the branch ``name``: see `training_seed`."""
    seed = federation.scenario.seed
    branch_seed = training_seed(seed, name)
    return federation.initial if branch_seed == seed else federation.network.initial(branch_seed)
