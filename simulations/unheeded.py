"""Overrides of which a command would take no notice: each is refused, with what to write."""

import re
from collections.abc import Mapping

from omegaconf import DictConfig

from fedunlearn.checks import Refused

from .overrides import key_and_value

_ONE_STRATEGY = "It runs one strategy: write strategy=NAME, or use fedunlearn compare."
_SEED = "Write seed=0, or 'seed=[0,1,2]'."
_MINIMISE = "That is for sweeps of fedunlearn withdraw."
_VALIDATION = "Write 'validation=[100,101]': other seeds than those that compare judges by."
_SEEDS = "Write 'seeds=[0,1,2]'."

_TRIALS = "That is for fedunlearn tune."
_TUNED = "Settings that fedunlearn tune chose are for fedunlearn compare."
_TUNING = {"trials": _TRIALS, "validation": _TRIALS}
_OF_TUNING = {
    "seed": _VALIDATION,
    "seeds": _VALIDATION,
    "minimise": _MINIMISE,
    "tuned": _TUNED,
    "figures": "It draws none.",
}

UNHEEDED: Mapping[str, Mapping[str, str]] = {
    "withdraw": {"strategies": _ONE_STRATEGY, "seeds": _SEED, "tuned": _TUNED, **_TUNING},
    "difficulty": {"strategies": "It runs none.", "seeds": "Write seed=0.", **_TUNING},
    "doctor": {"strategies": _ONE_STRATEGY, "seeds": _SEED, "tuned": _TUNED, **_TUNING},
    "compare": {"seed": _SEEDS, "minimise": _MINIMISE, **_TUNING},
    "estimate": {"seed": _SEEDS, "minimise": _MINIMISE, **_TUNING},
    "tune": _OF_TUNING,
    "tune-planner": _OF_TUNING,
}
"""Keys that a command takes no notice of, and what to do instead."""


def require_used(command: str, overrides: list[str], cfg: DictConfig) -> None:
    """Raise `Refused` for an override that ``command`` would not heed."""
    given = dict(map(key_and_value, overrides))
    for key, instead in UNHEEDED[command].items():
        if key in given:
            raise Refused(f"fedunlearn {command} does not heed {key}={given[key]}. {instead}")
    own = [key for key in given if key.partition(".")[0] == "strategy"]
    if command == "tune" and own:
        raise Refused(
            f"fedunlearn tune starts from each strategy as its YAML says it: {own[0]}="
            f"{given[own[0]]} would change nothing. Name it in 'strategies=[…]'."
        )
    if command not in ("compare", "estimate"):
        return
    if re.fullmatch(r"\d+", given.get("seeds", "")):
        count = int(given["seeds"])
        raise Refused(
            f"seeds={count} would be one seed, the number {count}. Write seeds=[{count}] for that, "
            "or list several, such as 'seeds=[0,1,2]'."
        )
    chosen, named = cfg.hydra.runtime.choices.strategy, cfg.strategies
    if own and named != "all" and "all" not in named and chosen not in named:
        raise Refused(
            f"fedunlearn {command} runs those that strategies names, and {chosen} is none of them: "
            f"{own[0]}={given[own[0]]} would change nothing. Add it to 'strategies=[…]'."
        )
    if "strategy" in given and len(own) == 1:
        raise Refused(
            f"fedunlearn {command} runs those that strategies names: strategy={chosen} would "
            f"change nothing. Write 'strategies=[{chosen}]' to run it alone."
        )
