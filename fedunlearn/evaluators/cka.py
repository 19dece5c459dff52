"""How alike the layers of this and of the retrained model represent the same records."""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from fedunlearn import checks
from fedunlearn.checks import Whole
from fedunlearn.evaluators.snapshot import Snapshot
from fedunlearn.results import PART_SEPARATOR

FEWEST = 4
"""Records that the estimator needs."""

_NOISE = 1e-12
"""Share of a Gram matrix's size below which what is left of it is rounding."""


def cka(features: Tensor, others: Tensor) -> float:
    """Return the debiased linear CKA of two representations of the same records, in [-1, 1].

    ``h(X, Y) / sqrt(h(X, X) h(Y, Y))`` for ``features`` X [n, p] and ``others`` Y [n, q], with the
    unbiased estimator h of the squared covariance between both: of centred X and Y,
    ``h = |X^T Y|_F^2 - n/(n-2) sum_i r_i s_i + (sum_i r_i)(sum_i s_i) / ((n-1)(n-2))`` up to a
    factor, where ``r_i = |x_i|^2`` and ``s_i = |y_i|^2``. It is 1 for equal representations, also
    after rotation, shift or uniform scaling, and 0 in the mean for independent ones. The plain
    estimator would go to 1 for any two representations of fewer records than features. It is nan
    where a representation says the same of all records. ``|X^T Y|_F^2 = sum(X X^T * Y Y^T)`` is
    computed in whichever form is smaller.
    Raises ValueError where the records are not as many, or fewer than `FEWEST`.

    Kornblith, Norouzi, Lee, Hinton. Similarity of neural network representations revisited. ICML
    2019, arXiv 1905.00414; the estimator: Song, Smola, Gretton, Bedo, Borgwardt. Feature selection
    via dependence maximization. JMLR 2012.
    """
    x, y = _centred(features), _centred(others)
    if max(x.shape[1], y.shape[1]) > len(x):
        return cka_of_grams(x @ x.T, y @ y.T)
    _same_records(x, y)
    r, s = x.square().sum(dim=1), y.square().sum(dim=1)
    products = [(a.T @ b).square().sum() for a, b in ((x, y), (x, x), (y, y))]
    return _cosine(products, r, s)


def gram(features: Tensor) -> Tensor:
    """Return ``X X^T`` [n, n] in float64 for the centred X of ``features`` [n, ...]."""
    x = _centred(features)
    return x @ x.T


def cka_of_grams(first: Tensor, second: Tensor) -> float:
    """Return `cka` of two representations, given the `gram` of each, [n, n]."""
    _same_records(first, second)
    products = [(a * b).sum() for a, b in ((first, second), (first, first), (second, second))]
    return _cosine(products, first.diagonal(), second.diagonal())


def _cosine(products: list[Tensor], r: Tensor, s: Tensor) -> float:
    """Return the value, given ``|X^T Y|^2``, ``|X^T X|^2`` and ``|Y^T Y|^2``, r and s."""
    n = len(r)
    both, first, second = (
        float(product - n / (n - 2) * (a @ b) + a.sum() * b.sum() / ((n - 1) * (n - 2)))
        for product, (a, b) in zip(products, ((r, s), (r, r), (s, s)), strict=True)
    )
    told = first > _NOISE * float(products[1]) and second > _NOISE * float(products[2])
    return min(1.0, max(-1.0, both / math.sqrt(first * second))) if told else math.nan


def _centred(features: Tensor) -> Tensor:
    """Return ``features`` [n, ...] as [n, p] float64, each column with mean 0."""
    flat = features.flatten(1).cpu().double()
    shifted = flat - flat[:1]  # what is the same for all records is exactly 0 then
    return shifted - shifted.mean(dim=0)


def _same_records(first: Tensor, second: Tensor) -> None:
    if len(first) != len(second) or len(first) < FEWEST:
        raise ValueError(
            f"Representations of the same records are compared, of at least {FEWEST}; these are "
            f"of {len(first)} and {len(second)}."
        )


@dataclass(frozen=True, slots=True)
class LayerSimilarity:
    """Debiased linear CKA between each layer and the same layer of the retrained model.

    ``forget_cka/<layer>`` on the leavers' training records, ``test_cka/<layer>`` on test records,
    for the output of every layer with parameters; ``forget_cka`` and ``test_cka`` are the least
    over the layers. 1 is the retrained model's representation, up to rotation and scale, and
    independent ones have 0 in the mean. Another retrained model does not reach 1: compare with
    that floor. A set of fewer than four records is left out.
    """

    records: Annotated[int, Whole(FEWEST)] = 256
    """The most records of a set that are looked at, the same ones for every model."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def __call__(self, model: Snapshot, retrained: Snapshot | None) -> dict[str, float]:
        """Return the similarities, or nothing where there is no retrained model."""
        if retrained is None:
            return {}
        values = {}
        for name in ("forget", "test"):
            if len(model.sets.get(name, ())) >= FEWEST:
                first, second = self._grams(model, name), self._grams(retrained, name)
                layers = {
                    layer: cka_of_grams(grams, second[layer]) for layer, grams in first.items()
                }
                values[f"{name}_cka"] = float(np.min([*layers.values()]))
                values |= {
                    f"{name}_cka{PART_SEPARATOR}{layer}": value for layer, value in layers.items()
                }
        return values

    def _grams(self, model: Snapshot, name: str) -> dict[str, Tensor]:
        """Return each layer's Gram matrix on a set, which is all that is held of its output."""

        @torch.no_grad()
        def compute() -> dict[str, Tensor]:
            images = model.sampled(name, self.records).inputs
            weights = model.weights.to(images.device)
            return model.network.activations(weights, model.network.arranged(images), gram)

        return model.once((self, name), compute)
