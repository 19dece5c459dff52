"""Overrides of which a command would take no notice: each is refused, with what to write."""

import re
from collections.abc import Mapping

from omegaconf import DictConfig

from fedunlearn.checks import Refused

from .overrides import key_and_value

_ONE_STRATEGY = "It runs one strategy: write strategy=NAME, or use fedunlearn compare."
_SEED = "Write seed=0, or 'seed=[0,1,2]'."
_SEEDS = "Write 'seeds=[0,1,2]'."

UNHEEDED: Mapping[str, Mapping[str, str]] = {
    "withdraw": {"strategies": _ONE_STRATEGY, "seeds": _SEED},
    "difficulty": {"strategies": "It runs none.", "seeds": "Write seed=0."},
    "doctor": {"strategies": _ONE_STRATEGY, "seeds": _SEED},
    "compare": {"seed": _SEEDS, "minimise": "That is for sweeps of fedunlearn withdraw."},
    "estimate": {"seed": _SEEDS, "minimise": "That is for sweeps of fedunlearn withdraw."},
}
"""Keys that a command takes no notice of, and what to do instead."""


def require_used(command: str, overrides: list[str], cfg: DictConfig) -> None:
    """Raise `Refused` for an override that ``command`` would not heed."""
    given = dict(map(key_and_value, overrides))
    for key, instead in UNHEEDED[command].items():
        if key in given:
            raise Refused(f"fedunlearn {command} does not heed {key}={given[key]}. {instead}")
    if command not in ("compare", "estimate"):
        return
    if re.fullmatch(r"\d+", given.get("seeds", "")):
        count = int(given["seeds"])
        raise Refused(
            f"seeds={count} would be one seed, the number {count}. Write seeds=[{count}] for that, "
            "or list several, such as 'seeds=[0,1,2]'."
        )
    own = [key for key in given if key.partition(".")[0] == "strategy"]
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
