"""`Network`: a net as a function of one flat vector of weights."""

import copy
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.parameter import is_lazy

from fedunlearn.checks import Refused
from fedunlearn.models.architectures import Build
from fedunlearn.models.batchable import hindrance
from fedunlearn.models.dense_cohort import Dense
from fedunlearn.models.flat_leaves import Leaves
from fedunlearn.models.forward import Net
from fedunlearn.models.head import Head
from fedunlearn.models.layout import Layout, Vector
from fedunlearn.models.shapes import Shape
from fedunlearn.models.training_mode import differs_in_training, seeded

Slots = list[tuple[dict[str, Any], str]]
"""Where a module looks up its tensors: a dictionary and a name in it for each."""


Copy = tuple[nn.Module, Slots]
"""A module that one thread works with, and where it looks up the parts of a model."""


class _Own(threading.local):
    """What a thread has for itself."""

    leaves: Leaves | None = None

    def __init__(self) -> None:
        self.copies: dict[tuple[torch.device, bool], Copy] = {}
        """By device, and by whether the module is in training mode."""

    def leaves_like(self, layout: Layout, weights: Vector) -> Leaves:
        leaves = self.leaves
        if leaves is None or not leaves.fits(weights):
            leaves = self.leaves_on(layout, torch.empty_like(weights))
        leaves.memory.copy_(weights)
        return leaves

    def leaves_on(self, layout: Layout, memory: Vector) -> Leaves:
        if self.leaves is None or self.leaves.memory is not memory:
            self.leaves = Leaves(layout, memory)
        return self.leaves


class Network:
    """A net as a pure function of its weights: ``logits = network(weights, images)``.

    The module is in evaluation mode; `in_training` is the other one. The function may be called
    from several threads: each works with its own copy of the module. Frozen parameters, and buffers
    that no vector carries, stay as the module came with them under seed 0.
    Raises `Refused` for BatchNorm: its running statistics leak the leavers' data and make no sense
    averaged. What only behaviour shows, `try_model` refuses.
    """

    def __init__(self, build: Build, shape: Sequence[int], classes: int) -> None:
        self._build = build
        self.shape = shape if isinstance(shape, Shape) else Shape(shape)
        """Of one record's input."""
        self.classes = classes
        """How many logits a record has."""
        self._module = self._fresh(seed=0).eval()
        _refuse_hidden_state(self._module)
        self._own = _Own()
        self.convolutional = any(
            isinstance(part, nn.modules.conv._ConvNd) for part in self._module.modules()
        )
        """Whether any layer is a convolution."""
        self.layout = Layout.of(self._module)

    def arranged(self, images: Tensor) -> Tensor:
        """Return ``images`` in the memory order that suits the net: channels last for convolutions.

        On a CPU they take about an eighth less time so; the numbers are the same up to rounding.
        """
        if self.convolutional and images.dim() == 4:
            return images.to(memory_format=torch.channels_last)
        return images

    def initial(self, seed: int) -> Vector:
        """Return freshly initialised weights [d], a function of ``seed``."""
        return self.layout.flatten(self._fresh(seed).state_dict())

    def module(self, seed: int) -> nn.Module:
        """Return the module itself, freshly initialised under ``seed``, in training mode."""
        return self._fresh(seed).train()

    def __call__(self, weights: Vector, images: Tensor) -> Tensor:
        """Return the logits [n, classes] of ``images`` [n, c, h, w] under ``weights`` [d]."""
        return self._forward(weights, images, training=False)

    @cached_property
    def stochastic(self) -> bool:
        """Whether the forward pass of training is another than that of evaluation: dropout, say."""
        return differs_in_training(self._module, self.shape)

    def in_training(self, rng: np.random.Generator) -> Net:
        """Return the net in training mode; each of its passes draws its random numbers by ``rng``.

        Weights without a gradient are a teacher's, and evaluated. A net that is not `stochastic`
        is the same in both modes, and draws nothing.
        """
        if not self.stochastic:
            return self

        def forward(weights: Vector, images: Tensor) -> Tensor:
            if not weights.requires_grad:
                return self(weights, images)
            with seeded(int(rng.integers(2**63)), weights.device):
                return self._forward(weights, images, training=True)

        return forward

    def arranging(self, weights: Vector, images: Tensor) -> Tensor:
        """Return the logits of ``images`` as calling the net does, from `arranged` ones."""
        return self(weights, self.arranged(images))

    def leaves(self, weights: Vector) -> Leaves:
        """Return this thread's `Leaves`, with the values of ``weights`` [d].

        The net takes their `whole` for weights and then computes with their `parts`. A thread has
        one, which it uses again for every client: what it held before is gone.
        """
        return self._own.leaves_like(self.layout, weights)

    def leaves_on(self, memory: Vector) -> Leaves:
        """Return this thread's `Leaves` that look at ``memory`` [d], in place of those it had."""
        return self._own.leaves_on(self.layout, memory)

    def together(self, weights: Tensor, images: Tensor) -> Tensor:
        """Return the logits [k, n, classes] of k clients, each with its own weights.

        ``weights`` is [k, d], ``images`` [k, n, c, h, w]. The gradient by ``weights`` may be taken
        once.
        """
        return self._together(weights, images)

    @cached_property
    def _together(self) -> Callable[[Tensor, Tensor], Tensor]:
        return Dense.of(self._module, self.layout) or vmap(self)

    @cached_property
    def alone(self) -> str:
        """Why the net cannot be computed by `together`, in a few words; empty if it can."""
        return hindrance(self, self.together, self.initial(0), self.shape)

    @cached_property
    def head(self) -> Head:
        """The last layer; raises `Refused` unless its output is the logits, for a linear layer."""
        head = Head.of(self.layout)
        self._entering(head, self.initial(0), torch.zeros(1, *self.shape, dtype=self.shape.dtype))
        return head

    def features(self, weights: Vector, images: Tensor) -> Tensor:
        """Return what enters the last layer, [n, f]: ``logits = features W^T + b``."""
        return self._entering(self.head, weights, images)

    def activations(
        self, weights: Vector, images: Tensor, keep: Callable[[Tensor], Tensor] = Tensor.clone
    ) -> dict[str, Tensor]:
        """Return what every layer with parameters of its own says of ``images``, in one pass.

        The layers stand in the order in which they are called, by the name that their tensors
        begin with in the layout (``model`` for the net itself); of a layer that is called
        several times, the last output counts. ``keep`` is given each output [n, ...] at once,
        before a later layer may overwrite it: where it returns less, no more than that is held.
        """
        kept: dict[str, Tensor] = {}

        def noting(name: str) -> Callable[[nn.Module, Any, Any], None]:
            def note(layer: nn.Module, given: Any, out: Any) -> None:
                if isinstance(out, Tensor):
                    kept[name or "model"] = keep(out)

            return note

        parts = (part.name for part in self.layout.parts if not part.buffer)
        owners = dict.fromkeys(name.rpartition(".")[0] for name in parts)
        module, _ = self._copy(weights.device)
        hooks = [module.get_submodule(name).register_forward_hook(noting(name)) for name in owners]
        try:
            self(weights, images)
        finally:
            for hook in hooks:
                hook.remove()
        return kept

    def _entering(self, head: Head, weights: Vector, images: Tensor) -> Tensor:
        """Return what enters ``head`` on the way to the logits."""
        passed: list[tuple[Tensor, Tensor]] = []
        layer = self._copy(weights.device)[0].get_submodule(head.layer)
        hook = layer.register_forward_hook(lambda _, given, out: passed.append((given[0], out)))
        try:
            logits = self(weights, images)
        finally:
            hook.remove()
        linear = isinstance(layer, nn.Linear) and len(passed) == 1 and passed[0][0].dim() == 2
        if not linear or passed[0][1] is not logits:
            raise Refused(
                f"The model's layer {head.layer} is not a linear layer whose output is the logits, "
                "which a ridge head needs. Choose another model or method."
            )
        return passed[0][0]

    def _parts(self, weights: Vector) -> Iterable[Tensor]:
        leaves = self._own.leaves
        if leaves is not None and weights is leaves.whole:
            return leaves.parts
        return self.layout.named(weights).values()

    def _forward(self, weights: Vector, images: Tensor, *, training: bool) -> Tensor:
        module, slots = self._copy(weights.device, training=training)
        for (held, name), tensor in zip(slots, self._parts(weights), strict=True):
            held[name] = tensor
        return cast(Tensor, module(images))

    def _copy(self, device: torch.device, *, training: bool = False) -> Copy:
        """Return this thread's own module, and where it looks up each part."""
        copied = self._own.copies.get((device, training))
        if copied is None:
            module = copy.deepcopy(self._module).train(training)
            for part in module.modules():  # functorch forbids module.to within its transforms
                for held in (part._parameters, part._buffers):
                    moved = {n: t.to(device) for n, t in held.items() if t is not None}
                    held.update(cast(dict[str, Any], moved))
            copied = self._own.copies[device, training] = module, _slots(module, self.layout)
        return copied

    def _fresh(self, seed: int) -> nn.Module:
        """Build the module under ``seed``; raise `Refused` with the reason where that fails."""
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                module = self._build(self.shape, self.classes)
                if any(map(is_lazy, module.parameters())):
                    module.eval()(self.shape.drawn(1))  # lazy layers learn their sizes
                return module
        except Refused:
            raise
        except Exception as error:  # whatever somebody's own code raises
            shape = "x".join(map(str, self.shape))
            raise Refused(
                f"The model cannot be built for records of {shape} and {self.classes} classes: "
                f"{type(error).__name__}: {' '.join(str(error).split())}"
            ) from error


def _slots(module: nn.Module, layout: Layout) -> Slots:
    """Return where ``module`` looks up each part; torch's functional_call is slower there."""
    slots = []
    for part in layout.parts:
        owner, _, name = part.name.rpartition(".")
        holder = module.get_submodule(owner)
        slots.append((holder._buffers if part.buffer else holder._parameters, name))
    return cast(Slots, slots)


def _refuse_hidden_state(module: nn.Module) -> None:
    for name, child in module.named_modules():
        if isinstance(child, nn.modules.batchnorm._NormBase) and child.track_running_stats:
            raise Refused(
                f"The model's layer {name or 'itself'} is {type(child).__name__}: its running "
                "statistics are not updates, so no method can unlearn them. Use GroupNorm "
                "(or no normalisation) instead."
            )
