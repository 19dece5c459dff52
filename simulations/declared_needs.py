"""What a strategy declares that it needs, read from its source, and what does not go with it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from omegaconf import DictConfig

from fedunlearn import history, unlearning
from fedunlearn.experiment import compatible

from . import field_ranges
from .withdrawals import fields, value

AS_NEEDED: Any = SimpleNamespace(asks=lambda needs: needs)
"""Stands for the policy that keeps what strategies ask for."""


STORES = ("fedunlearn.history.InMemory", "fedunlearn.history.OnDisk")

POLICY = "fedunlearn.history.AsNeeded"
"""Keeps what strategies ask for."""


def needs(part: Mapping[str, Any]) -> history.Needs | None:
    """Return what the strategy of a configuration declares; None where its source does not tell.

    That is where its property is one call of `Needs` with what its fields say, or with what the
    parts that it is made of need.
    """
    found = field_ranges.source(str(part.get("_target_", "")))
    methods = found.body if found is not None else []
    for method in methods:
        match method:
            case ast.FunctionDef(name="needs", body=[*_, ast.Return(value=ast.Call() as call)]):
                fields = SimpleNamespace(**{key: _standing_in(one) for key, one in part.items()})
                names = {"__builtins__": {}, "Needs": history.Needs, "self": fields}
                try:
                    made = eval(ast.unparse(call), names)
                except Exception:  # it calls what only its own module knows
                    return None
                return made if isinstance(made, history.Needs) else None
    return None


def _standing_in(one: Any) -> Any:
    """Return what stands for a field's value: a part that is built by what it needs alone."""
    if isinstance(one, list):
        return tuple(map(_standing_in, one))
    if isinstance(one, Mapping) and "_target_" in one:
        inner = needs(one)
        return SimpleNamespace() if inner is None else SimpleNamespace(needs=inner)
    return one


def require_compatible(cfg: DictConfig, strategies: Mapping[str, DictConfig]) -> None:
    """Raise `Refused` for a strategy that is not given what its source says that it needs."""
    store, withdrawal = value(cfg.history), value(cfg.withdrawal)
    for name, part in strategies.items():
        declared = needs(fields(part))
        if declared is None:
            continue
        if {"updates", "models"} <= store.keys() and str(store["_target_"]) in STORES:
            history.InMemory(store["updates"], store["models"]).check(name, declared)
        compatible.strategy_and_leavers(name, declared, cooperates=withdrawal["cooperates"])
        compatible.strategy_and_proxy(name, declared, cfg.proxy)
        if withdrawal["timeline"] is None and fields(cfg.policy).get("_target_") == POLICY:
            after = withdrawal["after"] or fields(cfg.training).get("rounds", 0)
            asked = [unlearning.Request(frozenset(), after)] if isinstance(after, int) else []
            compatible.strategy_and_requests(name, declared, AS_NEEDED, asked)
