"""A model is tried before it trains: what it does with two batches shows what cannot be trusted.

Class names say little: a layer of anybody's own may draw numbers, look at its neighbours in the
batch or count its calls. So a freshly initialised module is run, in both modes, and what comes out
is compared.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from fedunlearn.checks import Refused
from fedunlearn.models.network import Network
from fedunlearn.models.training_mode import seeded

JITTER = 0.01
"""Standard deviation of what is added to first weights: nets may begin with a head of zeros."""

TOLERANCE = 1e-3
"""Share of the largest logit by which rounding may move another, in a batch of another size."""


def try_model(network: Network, inputs: Tensor, device: str = "cpu") -> None:
    """Raise `Refused` unless the model of ``network`` is a function of weights and one record.

    ``inputs`` [n, *shape] are those of records of the data set, n at least 1. The model must return
    finite float32 logits [n, classes] that do not change if they are computed again or in another
    batch; it must leave its weights, its buffers and its inputs as they are, learn by a gradient,
    draw its random numbers from torch's own generator in training and none in evaluation, and
    compute on ``device``.
    """
    module = network.module(seed=0)
    _require_seeded(module, network.module(seed=0))
    with seeded(0):
        others = network.shape.drawn(4)
        batch = torch.cat([inputs[:2], others])
        outputs = _checked(network, module.eval(), batch, "evaluated")
        if not outputs.isfinite().all():
            raise Refused(
                "The model's logits are not finite with its first weights. Check how it is "
                "initialised and what it computes."
            )
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.data.add_(torch.randn_like(parameter), alpha=JITTER)
    _try_evaluation(network, module.eval(), batch)
    _try_training(network, module.train(), batch)
    _try_vector(network, module.eval(), batch, device)


def _try_evaluation(network: Network, module: nn.Module, batch: Tensor) -> None:
    with _drawing_nothing("evaluated", ("torch", "numpy", "random")):
        logits = _checked(network, module, batch, "evaluated")
    _require_repeated(logits, _checked(network, module, batch, "evaluated"))
    _require_alone(
        network, lambda shown: _checked(network, module, shown, "evaluated"), batch, logits
    )


def _try_training(network: Network, module: nn.Module, batch: Tensor) -> None:
    def once(seed: int = 1) -> Tensor:
        with seeded(seed), _drawing_nothing("trained", ("numpy", "random")):
            return _checked(network, module, batch, "trained")

    logits = once()
    _require_repeated(logits, once())
    if _equal(logits, once(seed=2)):  # records of one batch share what is drawn
        _require_alone(
            network, lambda shown: _checked(network, module, shown, "trained"), batch, logits
        )
    if not network.layout.parameters.stop:
        raise Refused(
            "The model has nothing to train: all its parameters have requires_grad=False."
        )
    learning = [each for each in module.parameters() if each.requires_grad]
    try:
        slopes = torch.autograd.grad(logits.square().sum(), learning, allow_unused=True)
    except RuntimeError as error:
        raise Refused(f"The model cannot be trained: {_first_line(error)}") from error
    if all(slope is None for slope in slopes):
        raise Refused("The model cannot be trained: its logits depend on none of its parameters.")


def _try_vector(network: Network, module: nn.Module, batch: Tensor, device: str) -> None:
    """Compare the network, which is given its weights as a vector, with the module itself."""
    weights = network.layout.flatten(module.state_dict())
    with torch.no_grad():
        expected, logits = module(batch), network(weights, batch)
    if not _close(expected, logits):
        raise Refused(
            "The model computes with tensors that are not those registered as its parameters and "
            "buffers, so it would not learn. Let forward() look them up by name."
        )
    if device == "cpu":
        return
    try:
        with torch.no_grad():
            network(weights.to(device), batch.to(device)).cpu()
    except Exception as error:
        raise Refused(
            f"The model cannot compute on {device}: {_first_line(error)} Set engine.device=cpu, or "
            "make new tensors in forward() on the device of its input."
        ) from error


def _checked(network: Network, module: nn.Module, batch: Tensor, when: str) -> Tensor:
    """Return the logits [n, classes]; raise `Refused` for others, and if anything else changed."""
    given, before = batch.clone(), _state(module)
    try:
        logits: object = module(given)
    except Exception as error:  # whatever a model raises
        shape = "x".join(map(str, batch.shape))
        raise Refused(
            f"The model fails when it is {when} on {_layout(network)} of {shape}: "
            f"{type(error).__name__}: {_first_line(error)}"
        ) from error
    wanted = f"one tensor of logits, {len(batch)}x{network.classes} for {len(batch)} records"
    if not isinstance(logits, Tensor):
        raise Refused(
            f"The model returns a {type(logits).__name__} when it is {when}, not {wanted}."
        )
    if logits.shape != (len(batch), network.classes):
        shape = "x".join(map(str, logits.shape)) or "a single number"
        raise Refused(
            f"The model returns {shape} when it is {when}, not {wanted}: the data set has "
            f"{network.classes} classes. Let its last layer have as many outputs."
        )
    if logits.dtype != torch.float32:
        raise Refused(f"The model returns {logits.dtype} when it is {when}; logits are float32.")
    if not torch.equal(given, batch):
        raise Refused(
            f"The model changes the records that it is given when it is {when}: measuring would "
            "change the data. Use no operation in place on them."
        )
    _require_same(before, _state(module), when)
    return logits


def _state(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of all parameters and buffers, persistent or not."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return {name: tensor.detach().clone() for name, tensor in tensors}


def _require_same(before: dict[str, Tensor], after: dict[str, Tensor], when: str) -> None:
    for name in before.keys() | after.keys():
        if name in before and name in after and _equal(before[name], after[name]):
            continue
        raise Refused(
            f"The model changes its own {name} when it is {when}: that is no update, so no method "
            "can unlearn it. Compute without it (GroupNorm in place of running statistics, "
            "weight_norm in place of spectral_norm)."
        )


def _require_seeded(module: nn.Module, other: nn.Module) -> None:
    first, second = _state(module), _state(other)
    for name in first.keys() | second.keys():
        if name not in first or name not in second or not _equal(first[name], second[name]):
            raise Refused(
                f"The model's {name} is initialised otherwise each time that the model is built, "
                "whatever the seed. Draw first weights from torch's generator alone."
            )


def _require_repeated(first: Tensor, second: Tensor) -> None:
    if not _equal(first, second):
        raise Refused(
            "The model gives other logits for the same weights and records when it computes them "
            "again: it draws random numbers from a generator of its own, or remembers earlier "
            "calls. Draw from torch's generator (torch.rand, nn.Dropout), in training mode only."
        )


def _require_alone(
    network: Network, forward: Callable[[Tensor], Tensor], batch: Tensor, logits: Tensor
) -> None:
    """Refuse logits of the first record that depend on which others stand beside it."""
    further = batch[2:5].flip(0)
    numbers = batch.is_floating_point() and not network.shape.levels
    others = torch.cat([batch[:1], further * 0.5 if numbers else further])
    for shown in (batch[:1], others):
        try:
            alone = forward(shown)
        except Refused as error:
            raise Refused(f"The model does not take every number of records. {error}") from error
        if not _close(alone[:1], logits[:1]):
            raise Refused(
                "The model's logits of a record depend on the other records of its batch: what "
                "leaves would go on speaking through others, and results would depend on "
                "evaluators.batch_size. Normalise each record by itself (GroupNorm, LayerNorm)."
            )


@contextmanager
def _drawing_nothing(when: str, sources: tuple[str, ...]) -> Iterator[None]:
    """Raise `Refused` if a pass moves one of the global random generators."""

    def states() -> dict[str, object]:
        of_numpy = np.random.get_state(legacy=False)["state"]  # noqa: NPY002 — its users are others
        by_name: dict[str, object] = {
            "torch": torch.get_rng_state().numpy().tobytes(),
            "numpy": (of_numpy["key"].tobytes(), of_numpy["pos"]),
            "random": random.getstate(),
        }
        return {source: by_name[source] for source in sources}

    before = states()
    yield
    for source, state in states().items():
        if state == before[source]:
            continue
        if source == "torch":
            raise Refused(
                "The model draws random numbers when it is evaluated, so one model has many "
                "accuracies. Draw only `if self.training` (dropout(..., training=self.training))."
            )
        raise Refused(
            f"The model draws random numbers from {source} when it is {when}, which no seed of a "
            "run reaches. Draw from torch's generator (torch.rand, nn.Dropout), in training only."
        )


def _layout(network: Network) -> str:
    """Return what the net is given, as tensors are drawn."""
    return "images [n, c, h, w]" if network.shape.kind == "images" else "records [n, ...]"


def _close(one: Tensor, other: Tensor) -> bool:
    scale = float(other.detach().abs().nan_to_num().max())
    return torch.allclose(one, other, rtol=0, atol=TOLERANCE * scale + 1e-6, equal_nan=True)


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same, and so where they are not numbers."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    same = one == other
    if one.is_floating_point():
        same |= one.isnan() & other.isnan()
    return bool(same.all())


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".") + "."
