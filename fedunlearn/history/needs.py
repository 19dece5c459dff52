"""What a strategy asks training to record, and what the server is willing to keep."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fedunlearn import checks
from fedunlearn.checks import Count

if TYPE_CHECKING:
    from fedunlearn.models import Layout


@dataclass(frozen=True, slots=True)
class Needs:
    """What a strategy asks training to record, so that storage is a measured cost."""

    updates: bool = False
    """Per-client updates of the kept rounds."""
    every: Count = 1
    """Keep the first round of each block of this many."""
    models: bool = False
    """The broadcast model of the kept rounds."""
    remaining: bool = False
    """Asks those who remain to work."""
    leaver: bool = False
    """Asks the leaving client to work once more."""
    masks: bool = False
    """Freezes parameters in clients' work, or slows them; only what moves is sent back."""
    kernels: bool = False
    """Square kernels of convolutions, longer than 1, which it turns."""
    proxy: bool = False
    """Unlabelled records on the server."""
    verifies: bool = False
    """Tests models on labelled records of the server, and by the markers that leavers hand over."""
    replaces: bool = False
    """Its ordinary rounds take the place of the training rounds of the same number and all after
    them, as those of a rollback do: a later request finds what really led to the model."""
    statistics: bool = False
    """Sums over each client's records, which determine the best last layer on the first model."""
    tensors: tuple[str, ...] = ()
    """Parameters of the model that it names."""
    complete: bool = False
    """Cannot work where a policy keeps fewer rounds or fewer updates than it asks for."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def rounds(self) -> bool:
        """Whether any round must be kept."""
        return self.updates or self.models

    def includes(self, number: int) -> bool:
        """Whether round ``number`` is kept: those are 1, 1 + every, 1 + 2 every, and so on."""
        return self.rounds and (number - 1) % self.every == 0

    @staticmethod
    def union(wanted: Iterable[Needs]) -> Needs:
        """Return what serves all of ``wanted``; intervals meet in their greatest divisor."""
        needs = list(wanted)
        return Needs(
            updates=any(need.updates for need in needs),
            every=math.gcd(*(need.every for need in needs if need.rounds)) or 1,
            models=any(need.models for need in needs),
            remaining=any(need.remaining for need in needs),
            leaver=any(need.leaver for need in needs),
            masks=any(need.masks for need in needs),
            kernels=any(need.kernels for need in needs),
            proxy=any(need.proxy for need in needs),
            verifies=any(need.verifies for need in needs),
            replaces=any(need.replaces for need in needs),
            statistics=any(need.statistics for need in needs),
            complete=any(need.complete for need in needs),
            tensors=tuple(dict.fromkeys(name for need in needs for name in need.tensors)),
        )

    def check(self, layout: Layout) -> None:
        """Raise `Refused` for `tensors` and `kernels` that the model does not have."""
        if self.kernels and not layout.kernels:
            raise checks.Refused(
                "The model has no convolution with a square kernel, and turning a kernel of size 1 "
                "would change nothing. Choose another model or method."
            )
        parameters = [part.name for part in layout.parts if not part.buffer]
        for name in self.tensors:
            if name not in parameters:
                guess = checks.nearest(name, parameters)
                raise checks.Refused(f"The model has no parameter {name}{guess}")


@dataclass(frozen=True, slots=True)
class InMemory:
    """What the server is willing to keep of training, in memory; `stores.OnDisk` keeps it there."""

    encoding: ClassVar[str] = "float32"

    updates: bool = True
    """Whether clients' updates are kept where a strategy needs them."""
    models: bool = True
    """Whether broadcast models are kept where a strategy needs them."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def on_disk(self, nbytes: int) -> bool:
        """Say that rounds stay in memory, however many bytes they take."""
        return False

    def check(self, strategy: str, needs: Needs) -> None:
        """Raise `Refused` if ``strategy`` needs what is not kept."""
        for what, wanted, kept in (
            ("updates", needs.updates, self.updates),
            ("models", needs.models, self.models),
        ):
            if wanted and not kept:
                raise checks.Refused(
                    f"strategy={strategy} needs stored {what}, but history.{what}=false keeps none."
                    " Set history=memory, or choose a strategy that stores nothing."
                )
