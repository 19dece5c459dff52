"""What is refused of a configuration before a class of it is built, which loads torch for seconds.

A wrong value is told in the sentence in which its class would tell it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from fedunlearn import checks, data, history, unlearning
from fedunlearn.checks import Refused
from fedunlearn.results.certificates import private_key

from . import declared_needs, field_ranges, withdrawals
from .withdrawals import fields, value

PLAIN = ("figures", "resume", "overwrite", "withdrawal.cooperates")
"""Keys that are true or false, and that no field of a class checks."""

NUMBERS: Mapping[str, checks.Bound] = {
    "checkpoint": checks.Number(at_least=0),
    "heldout": data.HELDOUT,
    "proxy": data.PROXY,
    "evaluators.every": checks.Whole(1),
    "evaluators.batch_size": checks.Whole(1),
}
"""Numbers that belong to the experiment itself."""

OR_NULL: Mapping[str, checks.Bound] = {"references": checks.Whole(1), "split": checks.Whole(0)}
"""Likewise; null stands for the usual."""

PARTS = ("training", "devices", "dataset", "partition", "planting", "model")
"""Groups in the order in which they are built, up to the strategies."""

FURTHER = (
    *("reference", "evaluators", "recovery", "history", "policy"),
    *("certificate", "answer", "engine", "logger"),
)
"""Those that are built after the strategies."""

COUNTED = tuple(
    f"fedunlearn.data.{name}"
    for name in ("Iid", "Dirichlet", "Pathological", "QuantitySkew", "SortedShards")
)
"""Divisions that have as many clients as they are asked for."""


def require(cfg: DictConfig, strategies: Mapping[str, DictConfig]) -> None:
    """Raise `Refused` for a value that cannot be, as far as the source of its class tells.

    ``strategies`` are those that would run, by name.
    """
    _require_kinds(cfg)
    for group in PARTS:
        field_ranges.require(group, value(cfg[group]))
    _require_timeline(cfg)
    for name, part in strategies.items():
        place = "strategy" if part is cfg.get("strategy") else f"strategies.{name}"
        field_ranges.require(place, value(part))
    for group in FURTHER:
        part = value(cfg[group])
        if group == "history":
            part.pop("budget", None)  # the experiment's own
        field_ranges.require(group, part)
    declared_needs.require_compatible(cfg, strategies)
    if cfg.history.get("budget") is not None:
        history.byte_amounts.parse(cfg.history.budget)
    if cfg.signing_key is not None:
        private_key(Path(cfg.signing_key).expanduser().absolute())
    for key in {"seed", "seeds"} & set(cfg):
        seeds(cfg[key], key)


def _require_timeline(cfg: DictConfig) -> None:
    """Raise `Refused` for requests that the federation cannot be asked.

    Only the data set knows how many clients a division by owners has, and their names.
    """
    partition, training = fields(cfg.partition), fields(cfg.training)
    if partition.get("_target_") not in COUNTED:
        return
    clients, rounds = partition.get("clients"), training.get("rounds")
    if not isinstance(clients, int) or not isinstance(rounds, int):
        return
    if checks.PLAIN[int].wrong(clients) or checks.PLAIN[int].wrong(rounds):
        return
    try:
        asked = withdrawals.Reader(clients, rounds, build=_light).read(cfg.withdrawal)
    except withdrawals.NotBuilt:
        return
    unlearning.plan(asked.requests, clients, rounds, asked.joins)


def _light(where: str, part: Mapping[str, Any]) -> Any:
    """Make a part of a withdrawal that needs no torch; raises `NotBuilt` for others.

    Any scope stands in for one of a user's own.
    """
    if where == "withdrawal.scope":
        return data.PlantedRecords()
    if not str(part["_target_"]).startswith("fedunlearn.unlearning."):
        raise withdrawals.NotBuilt
    field_ranges.require(where, dict(part))
    return instantiate(part, _convert_="all")


def _require_kinds(cfg: DictConfig) -> None:
    """Raise `Refused` for what only commands read, where it is none of its kind."""
    for group in ("withdrawal", "evaluators", "history"):
        if not OmegaConf.is_dict(cfg[group]):
            raise Refused(
                f"{group} must be a choice of that group, not {checks.shown(value(cfg[group]))}."
            )
    for key in PLAIN:
        checks.require(key, checks.PLAIN[bool], OmegaConf.select(cfg, key, default=False))
    for key, fits in {**NUMBERS, **OR_NULL}.items():
        given = OmegaConf.select(cfg, key)
        if given is not None or key not in OR_NULL:
            checks.require(key, fits, given)
    names, wanted = value(cfg.minimise), checks.PLAIN[str]
    if not isinstance(names, list) or any(wanted.wrong(name) for name in names):
        raise Refused(
            f"minimise must be a list of columns of summary.csv, not {checks.shown(names)}."
        )
    for key in ("cache", "signing_key", "tuned"):
        place = value(OmegaConf.select(cfg, key))
        if place is not None and (not isinstance(place, str) or not place):
            raise Refused(f"{key} must be a path or null, not {checks.shown(place)}.")


def seeds(values: object, key: str = "seeds") -> Sequence[int]:
    """Read what ``key`` gives: a seed or a list of them."""
    listed = value(values)
    numbers: list[Any] = listed if isinstance(listed, list) else [listed]
    if not numbers or len(set(map(repr, numbers))) < len(numbers):
        raise Refused(f"{key} must be a number or different ones, not {checks.shown(numbers)}.")
    for seed in numbers:
        checks.whole(f"Each of {key}" if listed is numbers else key, seed, at_least=0)
    return numbers
