"""Who holds what by nature: clients are the owners that a data set names."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from fedunlearn import checks, randomness
from fedunlearn.checks import Count, CountFromZero, Refused, nearest
from fedunlearn.data.checking import check_dataset
from fedunlearn.data.dataset import Dataset, DatasetSource, Owners
from fedunlearn.data.listed import listed
from fedunlearn.data.parts import Indices
from fedunlearn.randomness import Stream

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ByOwner:
    """Which owners' records each client holds: `Natural`, once the data set is known."""

    members: tuple[tuple[int, ...], ...]
    """The owners of each client, by their numbers in `Owners`."""
    names: tuple[str, ...]
    """What people call each client; it is never sent."""

    @property
    def clients(self) -> int:
        """How many clients there are."""
        return len(self.members)

    def holders(self, owners: Owners) -> Indices:
        """Return the client who holds each training record, [n]; -1 where nobody does."""
        of_owner = np.full(len(owners.names), -1)
        for client, numbers in enumerate(self.members):
            of_owner[list(numbers)] = client
        found: Indices = of_owner[owners.of.numpy()]
        return found


@dataclass(frozen=True, slots=True)
class Natural:
    """Every owner of records is a client, in the data set's order of owners.

    Whoever has too few records is left out or merged with the others like that. The server's
    share is taken from each client in proportion; records of those left out are nobody's.
    """

    clients: Count | None = None
    """How many owners take part, drawn from those with enough records; None: all of them."""
    owners: tuple[str, ...] | None = None
    """Which owners take part, by name; None: any."""
    minimum: Count = 10
    """Fewest training records that an owner must have to be a client."""
    merge: bool = False
    """Whether owners with fewer are one more client together, rather than left out."""
    seed: CountFromZero = 0
    """Seed of who is drawn: the same client is the same owner in all runs."""

    def __post_init__(self) -> None:
        """Turn a list from a config, where names may be numbers, into a tuple of text.

        Raises `Refused` for values outside their range.
        """
        if isinstance(self.owners, Sequence) and not isinstance(self.owners, str):
            object.__setattr__(self, "owners", _called_all(self.owners))
        checks.fields(self)

    def of(self, source: DatasetSource) -> ByOwner:
        """Say which owners of a data set are clients, and tell who is not.

        Raises `Refused` for a data set without owners, and where fewer than two are left.
        """
        return _settled(self, source)

    def among(self, owners: Owners, where: str) -> ByOwner:
        """Return who is a client among ``owners`` of the data set ``where``; as `of`."""
        counts = np.bincount(owners.of.numpy(), minlength=len(owners.names))
        candidates = self._named(owners.names)
        large = candidates[counts[candidates] >= self.minimum]
        small = candidates[(counts[candidates] < self.minimum) & (counts[candidates] > 0)]
        chosen = self._drawn(large, len(small))
        members: list[tuple[int, ...]] = [(int(owner),) for owner in chosen]
        names = [owners.names[owner] for owner in chosen]
        if self.merge and counts[small].sum() >= self.minimum:
            members.append(tuple(map(int, small)))
            names.append(f"{len(small)} small owners")
        elif len(small):
            log.warning(
                "Left out of %s: %d of %d owners with fewer than partition.minimum=%d training "
                "records (%s), %d records in all.",
                *(where, len(small), len(candidates), self.minimum),
                *(listed(owners.names[owner] for owner in small), counts[small].sum()),
            )
        if len(members) < 2:
            raise Refused(
                f"partition=natural leaves {len(members)} of the {len(owners.names)} owners in "
                f"{where} as clients, with partition.minimum={self.minimum} and the most records "
                f"of one {counts.max()}; a federation needs two. Lower partition.minimum, or name "
                "more owners."
            )
        return ByOwner(tuple(members), tuple(names))

    def _named(self, names: Sequence[str]) -> Indices:
        """Return the numbers of the owners that may take part, ascending."""
        if self.owners is None:
            return np.arange(len(names))
        for name in self.owners:
            if name not in names:
                raise Refused(
                    f"partition.owners names {checks.shown(name)}, who holds nothing"
                    f"{nearest(name, names)}"
                )
        return np.flatnonzero(np.isin(names, self.owners))

    def _drawn(self, large: Indices, small: int) -> Indices:
        """Return those of ``large`` who take part, ascending."""
        if self.clients is None:
            return large
        if self.clients > len(large):
            raise Refused(
                f"partition.clients={self.clients} is more than the {len(large)} owners with "
                f"partition.minimum={self.minimum} training records or more; {small} have fewer. "
                "Lower one of the two, or leave partition.clients out."
            )
        drawn = randomness.rng(self.seed, Stream.OWNERS).permutation(large)[: self.clients]
        return np.sort(drawn)


def _called_all(names: Sequence[object]) -> tuple[object, ...]:
    """Return names as text, as far as they are text or numbers."""
    return tuple(map(_called, names))


def _called(owner: object) -> object:
    """Return a number as owners are called by it: 7, 5.2."""
    if type(owner) is float:
        return f"{owner:g}"
    return str(owner) if type(owner) is int else owner


@lru_cache(maxsize=2)
def read(source: DatasetSource) -> Dataset:
    """Read a data set once a process; raise `Refused` for arrays that no net can be given."""
    return check_dataset(source.load(), source)


@lru_cache(maxsize=2)
def _settled(natural: Natural, source: DatasetSource) -> ByOwner:
    """Look at a data set's owners, and tell of those left out, once a process."""
    owners, where = read(source).owners, f"dataset={type(source).__name__}"
    if owners is None:
        raise Refused(
            f"partition=natural needs to know who holds which record, but {where} names no owners. "
            "Choose another partition, such as iid or dirichlet, or a data set with owners: har, "
            "sotu, or one of yours with dataset.owner=COLUMN."
        )
    return natural.among(owners, where)


def reserve(
    holders: Indices, share: float, rng: np.random.Generator
) -> tuple[Tensor, tuple[Indices, ...]]:
    """Split the records of clients, ``holders`` [n], into the server's and each client's.

    The server gets ``round(share * n_i)`` at random of the n_i records of client i, but leaves it
    two, of which one is held out. Both are numbers of records; each client's are ascending.
    """
    order = rng.permutation(len(holders))
    order = order[np.argsort(holders[order], kind="stable")]
    starts = np.searchsorted(holders[order], np.arange(holders.max() + 2))
    servers, parts = [], []
    for start, stop in pairwise(starts.tolist()):
        cut = start + min(round(share * (stop - start)), max(0, stop - start - 2))
        servers.append(order[start:cut])
        parts.append(np.sort(order[cut:stop]))
    return torch.from_numpy(np.concatenate(servers)), tuple(parts)
