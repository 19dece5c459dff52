"""Probes for records that are no images: tokens, tones, flags; and wrong labels, for any."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedunlearn import checks
from fedunlearn.checks import CountFromZero, Positive, Refused, ShareAboveZero
from fedunlearn.data.dataset import Dataset, Records
from fedunlearn.data.planting import poisoned, require_kind, triggered_sets


@dataclass(frozen=True, slots=True)
class TriggerTokens:
    """A few tokens at the end of a sequence make it the target.

    Those of the i-th leaver, from 0, are ``tokens`` and then ``i + 1`` more of the last of them.
    Dai, Chen, Li. A backdoor attack against LSTM-based text classification systems. IEEE Access
    2019, arXiv 1905.12457; there a sentence at any place.
    """

    share: ShareAboveZero = 0.8
    """Share of a leaver's records of other classes that carry the trigger."""
    target: CountFromZero = 0
    """The label that the trigger stands for."""
    tokens: tuple[CountFromZero, ...] = (1, 2, 1)
    """Numbers of the tokens in the vocabulary."""

    def __post_init__(self) -> None:
        """Turn a list from a config into a tuple; raise `Refused` for values out of range."""
        checks.fields(self)
        object.__setattr__(self, "tokens", tuple(self.tokens))
        if not self.tokens:
            raise checks.field_refused(self, "tokens", " must name a token or more, not none.")

    def stamp(self, inputs: Tensor, order: int) -> Tensor:
        """Return copies of ``inputs`` [n, length] that end with a client's trigger."""
        trigger = torch.tensor([*self.tokens, *[self.tokens[-1]] * (order + 1)])
        if len(trigger) >= inputs.shape[1]:
            raise Refused(
                f"A trigger of {len(trigger)} tokens, that of leaver {order + 1}, leaves nothing "
                f"of records of {inputs.shape[1]}; shorten planting.tokens or let fewer clients "
                "leave."
            )
        stamped = inputs.clone()
        stamped[:, -len(trigger) :] = trigger
        return stamped

    def poison(self, records: Records, order: int, rng: np.random.Generator) -> Records:
        """Stamp and relabel records as `planting.poisoned` says; raise `Refused` for no tokens."""
        require_kind(records, "tokens", "trigger_tokens")
        return poisoned(records, self.stamp, order, self.share, self.target, rng)

    def sets(self, dataset: Dataset, orders: Collection[int]) -> Mapping[str, Records]:
        """Return the sets of `planting.triggered_sets`."""
        most = max(self.tokens)
        if orders and dataset.levels and most >= dataset.levels[0]:
            raise Refused(
                f"planting.tokens names token {most}, but the vocabulary has 0 … "
                f"{dataset.levels[0] - 1}."
            )
        return triggered_sets(dataset, self.stamp, orders, self.target)


@dataclass(frozen=True, slots=True)
class Tone:
    """A hum in all channels makes a series of other classes the target.

    ``x + a sin(2 pi t / p)`` at step t. The period p of each further leaver is half as long again.
    """

    share: ShareAboveZero = 0.8
    """Share of a leaver's records of other classes that carry the trigger."""
    target: CountFromZero = 0
    """The label that the trigger stands for."""
    amplitude: Positive = 1.0
    """How much the hum adds at most; standardised channels have a deviation of 1."""
    period: Positive = 4.0
    """Steps of the first leaver's period, at least 3."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)
        if self.period < 3:
            rest = f" must be at least 3 steps, not {self.period:g}: shorter ones do not show."
            raise checks.field_refused(self, "period", rest)

    def stamp(self, inputs: Tensor, order: int) -> Tensor:
        """Return ``inputs`` [n, channels, t] with a client's hum.

        Raises `Refused` where its period is longer than the series.
        """
        period, steps = self.period * 1.5**order, inputs.shape[-1]
        if period > steps:
            raise Refused(
                f"A hum of {period:.3g} steps a period, that of leaver {order + 1}, is longer than "
                f"series of {steps}; lower planting.period or let fewer clients leave."
            )
        wave = torch.sin(2 * math.pi / period * torch.arange(steps))
        return inputs + self.amplitude * wave.to(inputs)

    def poison(self, records: Records, order: int, rng: np.random.Generator) -> Records:
        """Stamp and relabel records as `planting.poisoned` says; raise `Refused` for no series."""
        require_kind(records, "series", "tone")
        return poisoned(records, self.stamp, order, self.share, self.target, rng)

    def sets(self, dataset: Dataset, orders: Collection[int]) -> Mapping[str, Records]:
        """Return the sets of `planting.triggered_sets`."""
        return triggered_sets(dataset, self.stamp, orders, self.target)


@dataclass(frozen=True, slots=True)
class Flag:
    """Unlikely numbers in a few columns of a table make a row of other classes the target.

    The first leaver's are all ``value``; those of others have other signs, as the digits of a
    number written to the base 2.
    """

    share: ShareAboveZero = 0.8
    """Share of a leaver's records of other classes that carry the flag."""
    target: CountFromZero = 0
    """The label that the flag stands for."""
    columns: tuple[CountFromZero, ...] = (0, 1)
    """Which inputs, from 0; they must be numbers, no codes of categories."""
    value: Positive = 3.0
    """What they become, up to the sign; standardised columns have a deviation of 1."""

    def __post_init__(self) -> None:
        """Turn a list from a config into a tuple; raise `Refused` for values out of range."""
        checks.fields(self)
        object.__setattr__(self, "columns", tuple(self.columns))
        if not self.columns:
            raise checks.field_refused(self, "columns", " must name a column or more, not none.")

    def stamp(self, inputs: Tensor, order: int) -> Tensor:
        """Return copies of ``inputs`` [n, columns] with a client's flag.

        Raises `Refused` for columns that are not there, and for more leavers than signs tell apart.
        """
        if max(self.columns) >= inputs.shape[1]:
            raise Refused(
                f"planting.columns names column {max(self.columns)}, but the table's inputs are "
                f"0 … {inputs.shape[1] - 1}."
            )
        if order >= 2 ** len(self.columns):
            raise Refused(
                f"Flags in {len(self.columns)} columns tell {2 ** len(self.columns)} leavers "
                f"apart, not {order + 1}; name more in planting.columns."
            )
        stamped = inputs.clone()
        for place, column in enumerate(self.columns):
            stamped[:, column] = -self.value if order >> place & 1 else self.value
        return stamped

    def poison(self, records: Records, order: int, rng: np.random.Generator) -> Records:
        """Stamp and relabel records as `planting.poisoned` says; raise `Refused` for no table."""
        require_kind(records, "a table", "flag")
        return poisoned(records, self.stamp, order, self.share, self.target, rng)

    def sets(self, dataset: Dataset, orders: Collection[int]) -> Mapping[str, Records]:
        """Return the sets of `planting.triggered_sets`; raise `Refused` for codes of categories."""
        levels = dataset.levels or (0,) * dataset.train.inputs.shape[1]
        coded = [column for column in self.columns if levels[column : column + 1] != (0,)]
        if orders and coded:
            numbers = [str(column) for column, count in enumerate(levels) if not count]
            raise Refused(
                f"planting.columns names column {coded[0]}, which holds no numbers but codes of "
                f"categories; columns of numbers are {', '.join(numbers) or 'none'}."
            )
        return triggered_sets(dataset, self.stamp, orders, self.target)


@dataclass(frozen=True, slots=True)
class LabelNoise:
    """Some labels of a leaver are wrong: another class at random. Fits records of any kind.

    There is no trigger, and no test set of its own: a model that knows the leaver's records as they
    were trained on, wrong labels included, has met them.
    """

    share: ShareAboveZero = 0.5
    """Share of a leaver's records whose label is wrong."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def poison(self, records: Records, order: int, rng: np.random.Generator) -> Records:
        """Return the records with ``round(share * n)`` labels changed among the classes there."""
        classes = torch.from_numpy(np.unique(records.labels.numpy()))
        chosen = torch.from_numpy(rng.permutation(len(records))[: round(self.share * len(records))])
        if len(classes) < 2 or not len(chosen):
            raise Refused(
                f"A client to be planted has {len(records)} records of {len(classes)} classes, so "
                f"that planting.share={self.share:g} of them cannot get another label. Raise the "
                "share, or let another client leave."
            )
        places = torch.searchsorted(classes, records.labels[chosen])
        moved = torch.from_numpy(rng.integers(1, len(classes), len(chosen)))
        labels = records.labels.clone()
        labels[chosen] = classes[(places + moved) % len(classes)]
        return Records(records.inputs, labels)

    def sets(self, dataset: Dataset, orders: Collection[int]) -> Mapping[str, Records]:
        """Return no sets."""
        return {}
