"""Who is compared, and what the project wants of the comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.processes import Lap, Player, Playing
from benchmarks.rivals.environments import Environment
from benchmarks.rivals.player import RivalPlayer
from benchmarks.workloads import Workload
from fedunlearn.threads import cores

OURS, CEILING, RAY = "auto", "ceiling", "Flower Ray"
LOOPS = ("loop, 1 thread", "loop, 2 threads")
BEST_LOOP = "plain loop, the better"


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to train a workload: a function as `processes` describes it, and its arguments."""

    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def start(self, workload: Workload, device: str | None = None) -> Player:
        """Start a process that plays it."""
        place = {} if device is None else {"device": device}
        return Player(self.function, workload=workload, **self.arguments, **place)


@dataclass(frozen=True, slots=True)
class Rival:
    """Another simulator, in an environment of its own."""

    environment: Environment
    function: str
    """``module:function``, as `processes` describes it."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of its process."""

    def start(self, workload: Workload, device: str | None = None) -> Playing:
        """Start a process that plays it; raises LookupError where its Python is missing."""
        return RivalPlayer(self.environment, self.function, workload, self.settings)


BLAZEFL = Environment("blazefl==3.0.0", python="3.14")
RIVALS = {
    "BlazeFL": Rival(BLAZEFL, "benchmarks.rivals.blazefl:threads"),
    "pfl": Rival(Environment("pfl==0.6.0"), "benchmarks.rivals.pfl:ranks"),
    "fluke": Rival(Environment("fluke-fl==0.8.1"), "benchmarks.rivals.fluke:one_process"),
}
"""Simulators of others."""

CONTENDERS: dict[str, Contender | Rival] = {
    OURS: Contender("benchmarks.ours:contend", {"mode": "auto"}),
    "cohort": Contender("benchmarks.ours:contend", {"mode": "cohort"}),
    "workers": Contender("benchmarks.ours:contend", {"mode": "workers"}),
    "halves": Contender("benchmarks.ours:contend", {"mode": "halves"}),
    LOOPS[0]: Contender("benchmarks.plain:loop", {"threads": 1}),
    LOOPS[1]: Contender("benchmarks.plain:loop", {"threads": 2}),
    RAY: Contender("benchmarks.flower_ray:contend"),
    CEILING: Contender("benchmarks.plain:ceiling"),
    **RIVALS,
}
"""`auto` is what a user of fedunlearn gets."""

WANTED = {
    ("MLP 60 x 20", BEST_LOOP): 3.0,
    ("MLP 60 x 20", RAY): 30.0,
    ("MLP 600 x 20", BEST_LOOP): 2.5,
    ("LeNet-5 60 x 20", BEST_LOOP): 1.25,
    ("LeNet-5 600 x 20", BEST_LOOP): 1.25,
    ("LeNet-5 600 x 20", CEILING): 0.85,
    ("CNN 1.66M 600 x 10", CEILING): 0.85,
    ("LeNet-5 60 x 20", CEILING): 0.9,
    ("LeNet-5 60 x 20", "BlazeFL"): 1.5,
    ("LeNet-5 600 x 20", "BlazeFL"): 1.3,
    ("MLP 60 x 20", "BlazeFL"): 4.0,
    ("MLP 600 x 20", "BlazeFL"): 4.0,
    ("ResNet-18 64 x 4", BEST_LOOP): 1.2,
    ("ResNet-18 64 x 4", CEILING): 0.9,
}
"""Of workload and rival: the least multiple of the rival's speed."""


def samples_per_second(contender: str, workload: Workload, lap: Lap) -> float:
    """Return records trained a second; the ceiling is one core's speed times the cores."""
    times = cores() if contender == CEILING else 1
    return times * workload.records * workload.clients * lap.rounds / lap.seconds


def ratios(speeds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return our median speed on a workload over each rival's, where both were measured."""
    medians = {name: median(values) for name, values in speeds.items()}
    loops = [medians[name] for name in LOOPS if name in medians]
    rivals = {name: medians[name] for name in (RAY, CEILING, *RIVALS) if name in medians}
    if loops:
        rivals = {BEST_LOOP: max(loops), **rivals}
    if OURS not in medians:
        return {}
    return {rival: medians[OURS] / speed for rival, speed in rivals.items()}
