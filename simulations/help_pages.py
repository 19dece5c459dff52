"""What `fedunlearn COMMAND --help` prints, for the commands that take keys of the configuration."""

from __future__ import annotations

import textwrap

from .settings import defaults, known_groups, known_settings, sentences_of_groups

WIDTH = 80

_FEDERATION = ("dataset", "partition", "partition.clients", "model", "training.rounds")
_LEAVING = ("withdrawal.clients", "planting")

KEYS = {
    "withdraw": (*_FEDERATION, *_LEAVING, "strategy", "recovery", "seed"),
    "compare": (*_FEDERATION, *_LEAVING, "strategies", "recovery", "seeds"),
    "tune": (*_FEDERATION, *_LEAVING, "strategies", "trials", "validation"),
    "tune-planner": (
        *("dataset", "partition", "model", "training.rounds"),
        *_LEAVING,
        *("strategies", "strategy.by", "trials", "validation"),
    ),
    "estimate": (*_FEDERATION, *_LEAVING, "strategies", "references", "seeds"),
    "doctor": (
        *_FEDERATION,
        "training.cohort",
        "training.work.batch_size",
        "engine",
        "engine.workers",
        "history",
    ),
}
"""The ten keys that matter most to a command that takes all."""

ABOUT = {
    "withdraw": "Train a federation, let clients leave, forget them by one strategy, and measure "
    "it next to retraining.",
    "compare": "The same for several strategies and seeds: one training and the same retrained "
    "models for all of them, one answer a strategy.",
    "tune": "Try as many settings of each strategy on validation seeds, drawn from what its sweep "
    "lists, and keep the nearest to retraining: tuned.yaml, for compare tuned=FILE.",
    "tune-planner": "Try tables of RUM, which say what strategy serves which part of what is to be "
    "forgotten, made of those that strategies names, and keep the one with the highest ToW.",
    "estimate": "Say what such a comparison will store, send and take, and what it can tell, "
    "without training anything.",
    "doctor": "Show the machine and the federation, and measure which engine.mode is faster.",
}

EXAMPLES = {
    "withdraw": (
        "strategy=pga planting=backdoor",
        "-m strategy.interval=1,2,4 seed=0,1",
        "run=outputs/withdraw/FOLDER        go on with a killed run",
    ),
    "compare": (
        "'strategies=[none,federaser,pga]' 'seeds=[0,1,2]'",
        "experiment=digits_backdoor",
        "run=outputs/compare/FOLDER         go on with a killed run",
    ),
    "tune": (
        "strategies=all trials=4 experiment=digits_backdoor",
        "run=outputs/tune/FOLDER            go on with a killed run",
    ),
    "tune-planner": (
        "'strategies=[none,finetune]' trials=12",
        "run=outputs/tune_planner/DIR    after a kill",
    ),
    "estimate": ("experiment=mnist_backdoor", "'strategies=[federaser]' strategy.interval=4"),
    "doctor": ("model=mlp partition.clients=20",),
}


def page(command: str) -> str:
    """Return one screen: what the command does, ten keys, examples, and where the rest is."""
    lines = [f"usage: fedunlearn {command} [KEY=VALUE …]", ""]
    lines += textwrap.wrap(ABOUT[command], WIDTH)
    lines += ["", "keys, with their defaults:"]
    for key in KEYS[command]:
        lines += _row(*_told(key))
    lines += ["", "examples:"]
    lines += [f"  fedunlearn {command} {example}" for example in EXAMPLES[command]]
    lines += ["", "more:"]
    lines += _row("fedunlearn explain WORD", "what a key, group, choice, strategy or metric means")
    lines += _row("--cfg job", "print the whole configuration, and run nothing")
    if command in ("withdraw", "compare"):
        lines += _row("debug=fast", "a trial of two rounds")
        lines += _row("-m", "run every combination of the values separated by commas")
        lines += _row("--hydra-help", "Hydra's own options")
    return "\n".join(lines) + "\n"


def _told(key: str) -> tuple[str, str]:
    """Return ``key=default`` and what it means, with its choices where it is a group."""
    if key in known_groups():
        usual, choices = defaults()[key], ", ".join(known_groups()[key])
        shown = choices if len(choices) < 60 else "fedunlearn explain " + key
        return f"{key}={usual}", f"{sentences_of_groups()[key]}: {shown}"
    setting = next(one for one in known_settings() if one.path == key)
    value = setting.value if len(setting.value) < 20 else "[…]"
    return f"{key}={value}", setting.sentence


def _row(left: str, right: str) -> list[str]:
    first, *more = textwrap.wrap(right, WIDTH - 30) or [""]
    return [f"  {left:27} {first}".rstrip(), *(f"{'':30}{line}" for line in more)]
