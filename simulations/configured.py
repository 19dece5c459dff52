"""From a composed configuration to plain values: the only place that instantiates it.

Rooms are named by their faces here, which import nothing until a value is built: what Hydra alone
can refuse, or print, does not wait for torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from fedunlearn import checks, history, results, unlearning
from fedunlearn import experiment as experiments
from fedunlearn.checks import FieldRefused, Refused

from .offered import require_offered
from .search_path import not_found

HOW = ("resume", "overwrite")
"""Keys that tell how a process treats the folder that it finds."""

SEVERAL = 3
"""References of each seed, unless the configuration says otherwise."""


def settled(cfg: DictConfig, seeds: Sequence[int]) -> DictConfig:
    """Set the number of references where it is open: of a single seed 1, else `SEVERAL`.

    No number of them up to 18 can tell anything from chance under a single seed.
    """
    cfg.references = _references(cfg, single=len(seeds) == 1)
    return cfg


def _references(cfg: DictConfig, *, single: bool = False) -> int:
    """Return the references of each seed, also where ``cfg`` leaves their number open."""
    usual = 1 if single else SEVERAL
    return usual if cfg.references is None else cast(int, cfg.references)


def experiment(cfg: DictConfig, strategies: Mapping[str, DictConfig]) -> experiments.Experiment:
    """Build the experiment that ``cfg`` describes, with these strategies by name.

    Raises `Refused` for whatever in it cannot be.
    """
    training = build("training", cfg.training)
    chosen = cfg.get("strategy")
    build("devices", cfg.devices)  # which `fedunlearn cost` will want
    keeping = OmegaConf.to_container(cfg.history, resolve=True)
    assert isinstance(keeping, dict)
    allowed = keeping.pop("budget", None)
    return experiments.Experiment(
        dataset=build("dataset", cfg.dataset),
        partition=build("partition", cfg.partition),
        planting=build("planting", cfg.planting),
        model=build("model", cfg.model),
        training=training,
        requests=requests(cfg.withdrawal, training.rounds),
        strategies={
            name: build("strategy" if part is chosen else f"strategies.{name}", part)
            for name, part in strategies.items()
        },
        reference=build("reference", cfg.reference),
        evaluation=evaluation(cfg.evaluators),
        recovery=build("recovery", cfg.recovery),
        store=build("history", keeping),
        policy=build("policy", cfg.policy),
        budget=None if allowed is None else history.budget.parse(allowed),
        thresholds=build("certificate", cfg.certificate),
        margins=build("answer", cfg.answer),
        engine=build("engine", cfg.engine),
        cooperates=bool(cfg.withdrawal.cooperates),
        checkpoint=cfg.checkpoint,
        logger=build("logger", cfg.logger),
        cache=_path(cfg.cache),
        signing_key=_path(cfg.signing_key),
        heldout=cfg.heldout,
        proxy=cfg.proxy,
        split=cfg.split,
        references=_references(cfg),
    )


def _path(value: str | None) -> Path | None:
    return None if value is None else Path(value).expanduser().absolute()


def evaluation(evaluators: DictConfig) -> experiments.Evaluation:
    """Build what is measured, and how often; a wrong value is named by its place in the list."""
    values: dict[str, Any] = plain(evaluators)
    measures, final = (
        tuple(
            build(f"evaluators.{kind}[{place}]", measure)
            for place, measure in enumerate(values.pop(kind, ()))
        )
        for kind in ("measures", "final")
    )
    return experiments.Evaluation(measures=measures, final=final, **values)


def rebuilt(run: results.Run) -> experiments.Experiment:
    """Return the experiment of a finished run, on this machine; raise `Refused` where it cannot be.

    Whatever trained it, what is trained now is trained here in this process.
    """
    config = run.manifest.get("config")
    if not isinstance(config, dict) or not isinstance(config.get("strategies"), dict):
        raise Refused(f"The manifest of {run.folder} holds no configuration to train again from.")
    here: dict[str, Any] = {
        **config,
        "engine": {"_target_": "fedunlearn.flower.Local"},
        "cache": None,
        "signing_key": None,
        "logger": None,
    }
    require_offered(here, run.folder / results.MANIFEST_FILE)
    cfg = OmegaConf.create(here)
    try:
        return experiment(cfg, cfg.strategies)
    except (AttributeError, KeyError, TypeError) as error:
        raise Refused(
            f"The configuration in {run.folder} is not one of this version of fedunlearn: "
            f"{str(error).splitlines()[0]}."
        ) from error


def build(where: str, part: Any) -> Any:
    """Instantiate one part of the configuration, at ``where``; what goes wrong is a sentence.

    A value out of its field's range is named by its key in the whole configuration.
    """
    if isinstance(part, DictConfig):
        part = OmegaConf.to_container(part, resolve=True)
    try:
        return instantiate(part, _convert_="all")
    except Exception as error:
        cause: BaseException = error
        place = where
        while cause.__cause__ is not None:
            inside = re.search(r"^full_key: (.+)$", str(cause), re.MULTILINE)
            place = f"{where}.{inside[1]}" if inside else place
            absent = not_found(cause)
            if absent is not None:
                raise Refused(f"{place} cannot be built: {absent}") from None
            cause = cause.__cause__
        if isinstance(cause, FieldRefused):
            raise cause.at(place) from None
        if isinstance(cause, Refused):
            raise cause from None
        raise Refused(f"{where} cannot be built: {cause}") from error


def requests(withdrawal: DictConfig, rounds: int) -> tuple[unlearning.Request, ...]:
    """Read the timeline: ``timeline`` if there is one, else ``clients`` after round ``after``."""
    timeline = withdrawal.timeline
    if timeline is None:
        after = rounds if withdrawal.after is None else withdrawal.after
        timeline = [{"after": after, "clients": withdrawal.clients}]
    planned = []
    for entry in timeline:
        if set(entry) != {"after", "clients"}:
            raise Refused(
                "Each entry of withdrawal.timeline is {after: round, clients: [ids]}, not "
                f"{dict(entry)}."
            )
        asking = entry["clients"]
        if asking is None or isinstance(asking, str):
            raise Refused(f"withdrawal.clients must list client numbers, not {asking!r}.")
        clients = [asking] if isinstance(asking, int) else list(asking)
        for client in clients:
            checks.whole("Each of withdrawal.clients", client, at_least=0)
        checks.whole("withdrawal.after", entry["after"])
        planned.append(unlearning.Request(frozenset(clients), entry["after"]))
    return tuple(planned)


def seeds(values: object) -> Sequence[int]:
    """Read ``seeds``: a number or a list of them."""
    numbers = [values] if isinstance(values, int) else list(values)  # type: ignore[call-overload]
    for seed in numbers:
        checks.whole("Each of seeds", seed, at_least=0)
    return numbers


def content(cfg: DictConfig, strategies: Mapping[str, DictConfig]) -> dict[str, object]:
    """Return the configuration with the values of every strategy run, for the manifest.

    That is what a run is, not whether this process begins it or goes on with it.
    """
    whole = {name: part for name, part in plain(cfg).items() if name not in HOW}
    return {**whole, "strategies": {name: plain(part) for name, part in strategies.items()}}


def plain(cfg: DictConfig) -> dict[str, object]:
    """Return a configuration as dicts and lists."""
    container = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
