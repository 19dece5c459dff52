"""NoT: turn the sign of some tensors around; the rounds after it learn anew, and differently.

    W_l <- -W_l    for the layers l in L

Nobody is asked and nothing is stored. The new model is far from the old one, and its records are
no longer fitted: those who remain bring theirs back in ordinary rounds (``recovery=plain``), and
nobody brings back the leavers'. What is broken is the whole model, not one client's share.

Khalil, Brunswic, Lamghari, Li, Beitollahi, Chen. NoT: Federated Unlearning via Weight Negation.
CVPR 2025, arXiv 2503.05657. Where a net is odd or even in a layer, negation changes no prediction.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fedunlearn.unlearning import (
    Clients,
    Guarantee,
    History,
    Layout,
    Needs,
    Request,
    Vector,
    checks,
)


@dataclass(frozen=True, slots=True)
class WeightNegation:
    """Negate the parameters named in ``layers``; none named: the first weight of the model."""

    guarantee: ClassVar[Guarantee] = "none"

    layers: tuple[str, ...] = ()
    """Names of the parameters that are negated; none: the model's first weight."""

    def __post_init__(self) -> None:
        """Turn a list from a config into a tuple; raise `Refused` unless it holds names."""
        if isinstance(self.layers, str):
            object.__setattr__(self, "layers", (self.layers,))
        checks.fields(self)
        names = tuple(self.layers)
        object.__setattr__(self, "layers", names)
        if len(set(names)) < len(names):
            raise checks.field_refused(
                self, "layers", f" must name parameters, each once, not {list(names)}."
            )

    @property
    def needs(self) -> Needs:
        """Nothing is recorded and nobody is asked."""
        return Needs(tensors=self.layers)

    def length(self, request: Request) -> int:
        """One step: the server does it alone."""
        return 1

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the negated model."""
        weights = history.final.clone()
        named = history.layout.named(weights)
        for name in self.layers or [_first_weight(history.layout)]:
            named[name].neg_()
        yield weights


def _first_weight(layout: Layout) -> str:
    """Return the first parameter that is called a weight: a transformer's class token is none."""
    names = [part.name for part in layout.parts if not part.buffer]
    return next((name for name in names if name.endswith("weight")), names[0])
