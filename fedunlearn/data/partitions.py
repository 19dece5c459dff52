"""Which client holds which records: disjoint, complete, and drawn from one generator."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fedunlearn import checks
from fedunlearn.checks import Count, Positive, Refused
from fedunlearn.data.dealing import (
    apportion,
    check_room,
    choose_holders,
    deal,
    draw_until,
    share_equally,
)
from fedunlearn.data.parts import Indices, Labels, Parts, validate


class Partition(Protocol):
    """Divides records among clients: a frozen dataclass, named in conf/partition."""

    @property
    def clients(self) -> int:
        """How many clients there are."""

    @property
    def minimum(self) -> int:
        """The fewest records that a client may hold."""

    def __call__(self, labels: Labels, rng: np.random.Generator) -> Parts:
        """Divide records with ``labels`` [n], each to exactly one client; all chance is ``rng``.

        Raises `Refused` for what cannot be had: among others ``clients * minimum > n``.
        """


@dataclass(frozen=True, slots=True)
class Iid:
    """Every client gets a random share of equal size (one record more or less)."""

    clients: Count = 5
    """Number of clients."""
    minimum: Count = 10
    """Fewest records that a client may hold."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def __call__(self, labels: Labels, rng: np.random.Generator) -> Parts:
        """Divide the records; raise `Refused` if there are too few."""
        check_room(self.clients, self.minimum, len(labels))
        shares = np.array_split(rng.permutation(len(labels)), self.clients)
        parts = tuple(np.sort(share) for share in shares)
        return validate(parts, len(labels), self.minimum)


@dataclass(frozen=True, slots=True)
class Dirichlet:
    """Label skew: client i gets the share ``p_ci`` of class c, ``p_c ~ Dirichlet(alpha, …)``.

    One symmetric draw of N shares a class, for N clients; small ``alpha`` gives a class to few
    clients, large ``alpha`` tends to equal shares. Draws in which some client holds fewer than
    ``minimum`` records are discarded as a whole, so that the partition is an exact draw from the
    distribution given the minimum. Where `dealing.TRIES` draws do not meet it, it is refused:
    records moved to small clients would make label mixtures that no Dirichlet drew.
    Yurochkin, Agarwal, Ghosh, Greenewald, Hoang, Khazaeni. Bayesian nonparametric federated
    learning of neural networks. ICML 2019, arXiv 1905.12022.
    """

    clients: Count = 5
    """Number of clients."""
    alpha: Positive = 0.5
    """Concentration of the Dirichlet distribution; smaller is more skewed."""
    minimum: Count = 10
    """Fewest records that a client may hold; draws with fewer are discarded."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def __call__(self, labels: Labels, rng: np.random.Generator) -> Parts:
        """Divide the records; raise `Refused` if the minimum is not met."""
        check_room(self.clients, self.minimum, len(labels))
        _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)

        def draw() -> Indices:
            shares = rng.dirichlet([self.alpha] * self.clients, len(sizes))
            return apportion(sizes, shares, rng)

        counts = draw_until(draw, self.minimum, f"partition.alpha={self.alpha:g}")
        return validate(deal(classes, counts, rng), len(labels), self.minimum)


@dataclass(frozen=True, slots=True)
class Pathological:
    """Every client holds exactly ``classes`` classes, and every class is held by someone.

    One client after another, in random order, takes the classes with the fewest holders so far,
    ties at random, so that numbers of holders differ by at most one; the holders of a class share
    it equally. Draws are discarded as in `Dirichlet`.
    Li, Diao, Chen, He. Federated learning on non-IID data silos. ICDE 2022, arXiv 2102.02079.
    """

    clients: Count = 5
    """Number of clients."""
    classes: Count = 2
    """Classes that each client holds; ``clients * classes`` must reach their number."""
    minimum: Count = 10
    """Fewest records that a client may hold; draws with fewer are discarded."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def __call__(self, labels: Labels, rng: np.random.Generator) -> Parts:
        """Divide the records; raise `Refused` if classes or records do not suffice."""
        check_room(self.clients, self.minimum, len(labels))
        _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        self._check_holders(sizes)

        def draw() -> Indices:
            held = choose_holders(self.clients, self.classes, len(sizes), rng)
            return share_equally(sizes, held, rng)

        counts = draw_until(draw, self.minimum, f"partition.classes={self.classes}")
        return validate(deal(classes, counts, rng), len(labels), self.minimum)

    def _check_holders(self, sizes: Indices) -> None:
        if self.classes > len(sizes):
            raise Refused(
                f"partition.classes={self.classes} is more than the {len(sizes)} classes of the "
                "data set."
            )
        if self.clients * self.classes < len(sizes):
            raise Refused(
                f"partition.clients={self.clients} with partition.classes={self.classes} leaves "
                f"some of the {len(sizes)} classes without a holder; raise one of the two."
            )
        holders = -(-self.clients * self.classes // len(sizes))
        if sizes.min() < holders:
            raise Refused(
                f"A class has {sizes.min()} records, too few for the up to {holders} clients that "
                "share a class; lower partition.clients or partition.classes."
            )


@dataclass(frozen=True, slots=True)
class SortedShards:
    """Records sorted by label, cut into ``clients * shards`` equal pieces, dealt at random.

    A client holds ``shards`` pieces, hence about that many classes (a piece may span several).
    McMahan, Moore, Ramage, Hampson, Aguera y Arcas. Communication-efficient learning of deep
    networks from decentralized data. AISTATS 2017, arXiv 1602.05629.
    """

    clients: Count = 5
    """Number of clients."""
    shards: Count = 2
    """Pieces that each client is dealt."""
    minimum: Count = 10
    """Fewest records that a client may hold."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def __call__(self, labels: Labels, rng: np.random.Generator) -> Parts:
        """Divide the records; raise `Refused` if there are too few for the shards."""
        check_room(self.clients, self.minimum, len(labels))
        pieces = self.clients * self.shards
        if pieces > len(labels):
            raise Refused(
                f"partition.clients={self.clients} times partition.shards={self.shards} is more "
                f"than the {len(labels)} records, so a shard would be empty; lower one of the two."
            )
        shuffled = rng.permutation(len(labels))
        by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
        shards = np.array_split(by_label, pieces)
        hands = rng.permutation(pieces).reshape(self.clients, self.shards)
        parts = tuple(np.sort(np.concatenate([shards[s] for s in hand])) for hand in hands)
        return validate(parts, len(labels), self.minimum)


@dataclass(frozen=True, slots=True)
class QuantitySkew:
    """Sizes differ, labels do not: client i gets the share ``p_i``, ``p ~ Dirichlet(alpha, …)``.

    Draws are discarded as in `Dirichlet`.
    Li, Diao, Chen, He. Federated learning on non-IID data silos. ICDE 2022, arXiv 2102.02079.
    """

    clients: Count = 5
    """Number of clients."""
    alpha: Positive = 0.5
    """Concentration of the Dirichlet distribution; smaller is more skewed."""
    minimum: Count = 10
    """Fewest records that a client may hold; draws with fewer are discarded."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def __call__(self, labels: Labels, rng: np.random.Generator) -> Parts:
        """Divide the records; raise `Refused` if the minimum is not met."""
        check_room(self.clients, self.minimum, len(labels))
        everything = np.zeros(len(labels), np.int64)

        def draw() -> Indices:
            shares = rng.dirichlet([self.alpha] * self.clients, 1)
            return apportion(np.array([len(labels)]), shares, rng)

        counts = draw_until(draw, self.minimum, f"partition.alpha={self.alpha:g}")
        return validate(deal(everything, counts, rng), len(labels), self.minimum)
