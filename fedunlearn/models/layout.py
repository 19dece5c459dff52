"""A model is one flat vector [d]; a `Layout` names its parts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

import torch
from torch import Tensor, nn

from fedunlearn.checks import Refused

Vector = Tensor
"""A whole model: [d] float32."""

STATISTICS = frozenset({"running_mean", "running_var", "num_batches_tracked"})
"""What torch calls the buffers of its normalisation layers."""


@dataclass(frozen=True)
class Part:
    """One named tensor of a model and its place ``[start, start + size)`` in the vector."""

    name: str
    shape: torch.Size
    start: int
    buffer: bool

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.shape.numel()

    @property
    def slice(self) -> slice:
        """Where the part lies in the vector."""
        return slice(self.start, self.start + self.size)


@dataclass(frozen=True)
class Layout:
    """Names, shapes and offsets of a model's tensors: parameters first, then float buffers."""

    parts: tuple[Part, ...]
    constants: Mapping[str, Tensor] = field(default_factory=dict, compare=False, repr=False)
    """What a saved model holds besides its vector, and nothing ever moves: frozen parameters, and
    buffers of other kinds than float32."""

    @classmethod
    def of(cls, module: nn.Module) -> "Layout":
        """Lay out the trainable parameters and persistent float32 buffers of ``module``.

        Parameters with ``requires_grad=False`` and buffers of integers, truth values or other
        precisions are `constants`. Raises `Refused` for trainable parameters of other precisions,
        and for one tensor under two names.
        """
        state = module.state_dict()
        every = dict(module.named_parameters(remove_duplicate=False))
        parameters = {name: each for name, each in every.items() if each.requires_grad}
        buffers = {
            name: tensor
            for name, tensor in state.items()
            if name not in every and tensor.dtype == torch.float32
        }
        parts: list[Part] = []
        seen: dict[int, str] = {}
        start = 0
        for name, tensor in chain(parameters.items(), buffers.items()):
            if tensor.dtype != torch.float32:
                raise Refused(
                    f"The model's {name} is {tensor.dtype}; what is trained must be float32."
                )
            if tensor.numel() and seen.setdefault(tensor.data_ptr(), name) != name:
                raise Refused(
                    f"The model shares one tensor between {seen[tensor.data_ptr()]} and {name}; "
                    "give each its own."
                )
            parts.append(Part(name, tensor.shape, start, buffer=name in buffers))
            start += tensor.numel()
        laid_out = {part.name for part in parts}
        constants = {name: each.detach() for name, each in state.items() if name not in laid_out}
        return cls(tuple(parts), constants)

    @classmethod
    def of_tensors(cls, named: Mapping[str, Tensor]) -> "Layout":
        """Lay out named tensors, in their order, all of floating point as parameters.

        Others are `constants`. Names alone do not tell buffers from parameters, but those of
        BatchNorm are known. Raises `Refused` for its running statistics and for complex numbers.
        """
        parts: list[Part] = []
        constants: dict[str, Tensor] = {}
        start = 0
        for name, tensor in named.items():
            if name.rpartition(".")[2] in STATISTICS:
                raise Refused(
                    f"The model's {name} is a running statistic: it is no update, so no method "
                    "can unlearn it. Use GroupNorm (or no normalisation) instead."
                )
            if tensor.is_complex():
                raise Refused(
                    f"The model's {name} is {tensor.dtype}; store its real and imaginary parts."
                )
            if not tensor.is_floating_point():
                constants[name] = tensor
                continue
            parts.append(Part(name, tensor.shape, start, buffer=False))
            start += tensor.numel()
        return cls(tuple(parts), constants)

    @cached_property
    def size(self) -> int:
        """The length d of the vector."""
        return sum(part.size for part in self.parts)

    @cached_property
    def parameters(self) -> slice:
        """Where all trainable parameters lie: what may be scaled, projected or negated."""
        return slice(0, sum(part.size for part in self.parts if not part.buffer))

    @cached_property
    def tensors(self) -> tuple[slice, ...]:
        """Where each trainable parameter lies, one slice a tensor."""
        return tuple(part.slice for part in self.parts if not part.buffer)

    @cached_property
    def kernels(self) -> tuple[Part, ...]:
        """The weights of convolutions whose kernels are square and longer than 1."""
        weights = (part for part in self.parts if not part.buffer and len(part.shape) == 4)
        return tuple(part for part in weights if part.shape[2] == part.shape[3] > 1)

    def flatten(self, state: Mapping[str, Tensor]) -> Vector:
        """Copy named tensors into one vector [d]; raise `Refused` where names or shapes differ."""
        for part in self.parts:
            if part.name not in state:
                raise Refused(f"The tensor {part.name} is missing.")
            if state[part.name].shape != part.shape:
                shape, wanted = tuple(state[part.name].shape), tuple(part.shape)
                raise Refused(f"The tensor {part.name} has shape {shape}; expected {wanted}.")
        if not self.parts:
            return torch.empty(0)
        return torch.cat([state[part.name].detach().reshape(-1) for part in self.parts])

    def named(self, vector: Tensor) -> dict[str, Tensor]:
        """Return views of ``vector`` [..., d] by name, each ``[..., *shape]``; no copies."""
        pieces = torch.split(vector, [part.size for part in self.parts], dim=-1)
        lead = vector.shape[:-1]
        return {
            part.name: piece.view(lead + part.shape)
            for part, piece in zip(self.parts, pieces, strict=True)
        }

    def saved(self, vector: Vector) -> dict[str, Tensor]:
        """Return all tensors of a model [d] as `load_state_dict` takes them, contiguous."""
        named = {**self.named(vector), **self.constants}
        return {name: tensor.contiguous() for name, tensor in named.items()}
