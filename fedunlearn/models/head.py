"""The last layer of a net: where it lies in the vector, and what it looks at."""

from dataclasses import dataclass

from torch import Tensor

from fedunlearn.checks import Refused
from fedunlearn.models.layout import Layout, Part, Vector


@dataclass(frozen=True, slots=True)
class Head:
    """A last layer ``logits = W x + b`` by its weight W [classes, f] and bias b [classes]."""

    weight: Part
    bias: Part

    @classmethod
    def of(cls, layout: Layout) -> "Head":
        """Find the head by its place: the last two parameters.

        Raises `Refused` unless these are the weight and the bias of a linear layer.
        """
        last = [part for part in layout.parts if not part.buffer][-2:]
        if len(last) == 2:
            weight, bias = last
            together = weight.name.rpartition(".")[0] == bias.name.rpartition(".")[0]
            if together and len(weight.shape) == 2 and bias.shape == weight.shape[:1]:
                return cls(weight, bias)
        names = " and ".join(f"{part.name} {tuple(part.shape)}" for part in last)
        raise Refused(
            f"The model's last parameters are {names}: a ridge head needs a linear last layer with "
            "a weight (classes, features) and a bias (classes). Choose another model or method."
        )

    @property
    def layer(self) -> str:
        """The name of the layer."""
        return self.weight.name.rpartition(".")[0]

    @property
    def sums(self) -> tuple[int, int]:
        """The shape of what `ridge.sums` returns for it: ``(f + 1, f + 1 + classes)``."""
        classes, features = self.weight.shape
        return features + 1, features + 1 + classes

    def put(self, weights: Vector, solution: Tensor) -> Vector:
        """Return ``weights`` [d] with the head ``solution`` [f + 1, classes]: W^T above b."""
        changed = weights.clone()
        changed[self.weight.slice] = solution[:-1].T.reshape(-1).to(changed)
        changed[self.bias.slice] = solution[-1].to(changed)
        return changed
