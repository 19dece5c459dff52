"""The overlay that `fedunlearn tune` writes and `fedunlearn compare tuned=FILE` reads."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig

from fedunlearn import checks, files
from fedunlearn.checks import Refused, nearest

from . import plain_values
from .variants import options, variant

FILE = "tuned.yaml"
"""The overlay's name in the folder of a tuning."""

_HEAD = """\
# Settings that `fedunlearn tune` chose. Compare untuned and tuned, on other seeds than these:
#   fedunlearn compare tuned=THIS_FILE 'strategies=[…]' 'seeds=[…]'
"""


def written(path: Path, seeds: Sequence[int], chosen: Mapping[str, Mapping[str, object]]) -> Path:
    """Write which fields of each strategy were ``chosen`` on ``seeds``; none: its own values."""
    content = {"seeds": list(seeds), "strategies": {name: dict(v) for name, v in chosen.items()}}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return files.write(path, (_HEAD + text).encode())


def beside(cfg: DictConfig, strategies: Mapping[str, DictConfig]) -> dict[str, DictConfig]:
    """Return the strategies, and next to each one with its own values the tuned one.

    Raises `Refused` where ``cfg.tuned`` is no such file, where it was tuned on a seed of
    ``cfg.seeds``, and where a setting of it no longer exists.
    """
    if cfg.tuned is None:
        return dict(strategies)
    path = Path(cfg.tuned).expanduser().absolute()
    tuned_on, chosen = _read(path)
    both = sorted(set(tuned_on) & set(plain_values.seeds(cfg.seeds)))
    if both:
        raise Refused(
            f"seeds={both[0]} is one on which {path} was tuned: a strategy is judged by seeds "
            f"that it has not seen. Write others than {list(tuned_on)}."
        )
    together: dict[str, DictConfig] = {}
    for name, part in strategies.items():
        together[name] = part
        if chosen.get(name):
            label, better = variant({name: chosen[name]}, {})
            if label not in strategies:
                together[label] = better
    return together


def _read(path: Path) -> tuple[Sequence[int], Mapping[str, Mapping[str, Any]]]:
    """Return the seeds and the settings that the file at ``path`` holds."""
    if not path.is_file():
        raise Refused(f"tuned={path} is no file. fedunlearn tune writes one, called {FILE}.")
    found = files.read_yaml(path, "settings that fedunlearn tune chose")
    seeds = found.get("seeds") if isinstance(found, dict) else None
    chosen = found.get("strategies") if isinstance(found, dict) else None
    whole = checks.Whole(at_least=0)
    if not isinstance(seeds, list) or any(whole.wrong(seed) for seed in seeds):
        raise Refused(f"{path} does not list the seeds on which it was tuned: seeds: [100, 101].")
    if not isinstance(chosen, dict) or not all(isinstance(one, dict) for one in chosen.values()):
        raise Refused(f"{path} does not say for each of strategies which fields differ.")
    known = options()
    for name in chosen:
        if name not in known:
            raise Refused(f"{path} tunes {name}, which does not exist{nearest(str(name), known)}")
    return seeds, chosen
