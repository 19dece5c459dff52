"""A data set once it is divided: arrays, and nothing of a net."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from fedunlearn.data.dataset import Dataset, Records, Shards


@dataclass(frozen=True)
class Division:
    """The records of every client and of the server; `Federation` says what each part is."""

    dataset: Dataset
    train: Shards
    planted: tuple[Tensor, ...]
    clean: tuple[Records, ...]
    heldout: tuple[Records, ...]
    proxy: Tensor
    proxy_labels: Tensor
    """Of the server's records, [n]; only a server that verifies is told them."""

    def seen(self, look: Callable[[Tensor], Tensor]) -> "Division":
        """Return the same with ``look(inputs)`` [n, ...] for all inputs [n, *shape]."""

        def of(records: Records) -> Records:
            return Records(look(records.inputs), records.labels)

        dataset = replace(
            self.dataset, train=of(self.dataset.train), test=of(self.dataset.test), levels=()
        )
        return Division(
            dataset=dataset,
            train=Shards(of(self.train.records), self.train.bounds),
            planted=self.planted,
            clean=tuple(map(of, self.clean)),
            heldout=tuple(map(of, self.heldout)),
            proxy=look(self.proxy),
            proxy_labels=self.proxy_labels,
        )
