"""Give every key of the configuration nasty values, and see what becomes of each.

`python -m benchmarks.configurations` sets one key after another, as `--cfg job` prints them, to
each of some values that make no sense in most places. A configuration is refused in a sentence
before training, or it is one that can be run: then a share of them is run to its end. Anything
else, a traceback above all, is listed, and the exit code is 1.
"""

import argparse
import contextlib
import io
import json
import random
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, ListConfig, OmegaConf
from rich.console import Console

from benchmarks import report
from fedunlearn.checks import Refused
from fedunlearn.experiment import prepare, run
from fedunlearn.simulations import compare, configured, guard, plain_values
from fedunlearn.unlearning import ClientFailed

TINY = (
    *("dataset=digits", "model=mlp", "model.hidden=[4]", "partition.clients=3"),
    *("training.rounds=1", "training.work.epochs=1", "figures=false", "strategy=finetune"),
    *("references=1", "strategy.rounds=1"),
)
"""A run that takes a second."""

LONG = "long " * 200

VALUES: Mapping[str, Any] = {
    "null": None,
    "-1": -1,
    "0": 0,
    "1e30": 1e30,
    "10^20": 10**20,
    "nan": float("nan"),
    "inf": float("inf"),
    "empty text": "",
    "text": "text",
    "[]": [],
    "{}": {},
    "[0,0]": [0, 0],
    "true": True,
    "1.5": 1.5,
    "long text": LONG,
}
"""What each key is set to; Hydra's command line can say all of these."""

LEFT_OUT = ("cache", "hydra")
"""Keys whose every text is a folder that would be made."""

REFUSED, PREPARED, RAN = "refused", "can be run", "was run"
FAULTS = ("traceback", "no key named", "too long")
LONGEST = 700
"""Characters that a sentence may have."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one key and value."""

    key: str
    value: str
    outcome: str
    said: str


def keys(cfg: DictConfig) -> list[str]:
    """Return the full path of every key, those of whole groups and of list items included."""
    return [key for key in _keys(cfg, "") if key.split(".")[0] not in LEFT_OUT]


def _keys(part: Any, place: str) -> Iterator[str]:
    if isinstance(part, DictConfig):
        for name in part:
            key = f"{place}.{name}" if place else str(name)
            yield key
            yield from _keys(part._get_node(name), key)
    elif isinstance(part, ListConfig):
        for number in range(len(part)):
            yield f"{place}.{number}"
            yield from _keys(part._get_node(number), f"{place}.{number}")


def tried(whole: DictConfig, key: str, name: str, *, carried_out: bool) -> Result:
    """Set one key, and go as far as to the training, or through it where ``carried_out``."""
    cfg, said = _copy(whole), io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            _set(cfg, key, VALUES[name])
            outcome = _tried(cfg, carried_out=carried_out)
    except (Refused, ClientFailed) as refusal:
        return Result(key, name, _judged(str(refusal), key), str(refusal))
    except BaseException:
        return Result(key, name, "traceback", traceback.format_exc())
    return Result(key, name, outcome, said.getvalue())


def _set(cfg: DictConfig, key: str, value: Any) -> None:
    parent, _, last = key.rpartition(".")
    holder = OmegaConf.select(cfg, parent) if parent else cfg
    OmegaConf.set_struct(cfg, False)
    if isinstance(holder, ListConfig):
        holder[int(last)] = value
    else:
        holder[last] = value


def _tried(cfg: DictConfig, *, carried_out: bool) -> str:
    """Do what `withdraw` does, as far as asked."""
    seeds = plain_values.seeds(cfg.seed, "seed")
    strategies = compare.with_untouched({"finetune": cfg.strategy})
    experiment = configured.experiment(configured.settled(cfg, seeds), strategies)
    if not carried_out:
        prepare(experiment, seeds)
        return PREPARED
    content = configured.content(cfg, strategies)
    console = Console(file=io.StringIO())
    with tempfile.TemporaryDirectory() as folder:
        run(experiment, seeds, Path(folder), content, console)
    return RAN


def _judged(sentence: str, key: str) -> str:
    """Say whether a sentence names the key, at least by its group and name, and is short."""
    words = [word for word in key.split(".") if not word.isdigit()]
    if len(sentence) > LONGEST:
        return "too long"
    return REFUSED if words[0] in sentence or words[-1] in sentence else "no key named"


def main(arguments: Sequence[str] | None = None) -> None:
    """Try every key and value; exit with 1 if one of them shows a fault."""
    parser = argparse.ArgumentParser(prog="benchmarks.configurations", description=__doc__)
    parser.add_argument("--overrides", nargs="*", default=[], help="of the configuration tried")
    parser.add_argument("--runs", type=int, default=20, help="so many are run to the end")
    parser.add_argument("--keys", nargs="*", help="those that begin so; all by default")
    parser.add_argument("--out", type=Path, help="a line of JSON a configuration")
    options = parser.parse_args(arguments)
    results = []
    with initialize_config_dir(guard.CONF, version_base="1.3", job_name="withdraw"):
        whole = compose("config", overrides=[*TINY, *options.overrides])
        begin = tuple(options.keys or [""])
        cases = [(key, name) for key in keys(whole) if key.startswith(begin) for name in VALUES]
        for key, name in cases:
            results.append(tried(whole, key, name, carried_out=False))
            _noted(results[-1], options.out)
        can = [result for result in results if result.outcome == PREPARED]
        for one in random.Random(0).sample(can, min(options.runs, len(can))):
            results.append(tried(whole, one.key, one.value, carried_out=True))
            _noted(results[-1], options.out)
    print(summary(results))
    sys.exit(any(result.outcome in FAULTS for result in results))


def _copy(cfg: DictConfig) -> DictConfig:
    return OmegaConf.create(OmegaConf.to_container(cfg))  # type: ignore[return-value]


def _noted(result: Result, out: Path | None) -> None:
    if out:
        with out.open("a") as stream:
            stream.write(json.dumps(asdict(result)) + "\n")
    if result.outcome in FAULTS:
        sys.stderr.write(f"{result}\n")


def summary(results: Sequence[Result]) -> str:
    """Return a row a value: how often each outcome came."""
    outcomes = (REFUSED, PREPARED, RAN, *FAULTS)
    counts = Counter((result.value, result.outcome) for result in results)
    counts.update(("all", result.outcome) for result in results)
    rows = [[name, *(str(counts[name, one]) for one in outcomes)] for name in [*VALUES, "all"]]
    return report.table(["value", *outcomes], rows)


if __name__ == "__main__":
    main()
