"""Kill comparisons at every kind of place, go on with them, and compare every byte they leave.

    python -m benchmarks.kills --cases 0:60 --results kills.jsonl

Each case ends a process without warning: at one of its dealings with files, chosen so that every
stage of every seed gets as many, or at any moment. Then it gives the command with which a user goes
on, `run=FOLDER`, ends that one as well most of the time, and so on. In the end it holds all files
but Hydra's own against those of a process that nobody disturbed. A case depends on nothing but its
number; those that ``--results`` holds are not done again. The clock of costs and certificates
stands still: no byte is excepted.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks import killed_runs
from benchmarks.killed_runs import KILLED, Kill, Place
from fedunlearn.experiment import RUN_LOG

SMALL = (
    *("model=mlp", "model.hidden=[16]", "partition.clients=4", "planting=backdoor"),
    *("training.rounds=3", "training.work.epochs=2", "training.work.batch_size=128"),
    *("training.work.optimizer.lr=0.5", "history=disk", "references=2"),
    *("recovery=plain", "recovery.rounds=1"),
)
"""Of every run; the evaluators are those of the default."""

TWO = ("strategies=[fedaccum,federaser]", "seeds=[0,1]")
BARE = ("figures=false", "checkpoint=0")
KEY = "private.pem"
"""The key that signs, where a scenario asks for it; the same in every case."""

SCENARIOS: Mapping[str, Sequence[Sequence[str]]] = {
    "two seeds": [[*TWO, *BARE]],
    "with figures": [[*TWO]],
    "multirun": [["-m", "strategies=[fedaccum]", "seeds=[0,1]", *BARE, "training.cohort=1,0.75"]],
    "shared cache": [
        ["strategies=[fedaccum]", "seeds=[0,1]", *BARE, "cache=cache"],
        ["strategies=[federaser]", "seeds=[0,1]", *BARE, "cache=cache"],
    ],
    "signed": [["strategies=[fedaccum]", "seeds=[0]", *BARE, f"signing_key={KEY}"]],
}
"""The commands of each, one after another; "with figures" saves every ten seconds, as it is set."""

SHARES = ("two seeds", "shared cache", "two seeds", "multirun", "with figures", "signed")
"""The scenarios of six cases in a row."""

BY_CLOCK, LATEST = 0.2, 10.0
"""Share of kills at any moment, and the seconds within which that is."""

AGAIN, FURTHER = 0.85, 160
"""How often what goes on is killed once more, and within how many of its events."""

OWN = ("log", "events.json", "place.json")
"""Files of this benchmark."""


def arguments(scenario: str, number: int) -> list[str]:
    """Return the command ``number`` of a scenario."""
    chosen = SCENARIOS[scenario][number]
    place = "hydra.sweep.dir" if "-m" in chosen else "hydra.run.dir"
    flags = [each for each in chosen if each.startswith("-")]
    values = [each for each in chosen if not each.startswith("-")]
    return ["compare", *flags, *SMALL, *values, f"{place}=run{number}"]


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below ``folder`` but Hydra's, locks, run.log and this benchmark's own."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        other = ".hydra" in path.parts or path.name in ("multirun.yaml", RUN_LOG)
        if path.is_file() and not other and not path.name.endswith(".lock") and name not in OWN:
            found[name] = path.read_bytes()
    return found


def differing(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> list[str]:
    """Return the files that are not in both with the same bytes."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


class Failed(Exception):
    """A command that nobody killed did not get to its end; what it printed."""


@dataclass(frozen=True)
class Undisturbed:
    """What a scenario leaves where no process is killed."""

    files: Mapping[str, bytes]
    places: Sequence[tuple[int, int, Place]]
    """Command, number and place of each event."""
    seconds: Sequence[float]
    """That each command took."""


def undisturbed(scenario: str, folder: Path) -> Undisturbed:
    """Carry a scenario out; raise `Failed` where it does not get to its end."""
    _empty(folder)
    places, seconds = [], []
    for number in range(len(SCENARIOS[scenario])):
        began = time.monotonic()
        _to_its_end(folder, arguments(scenario, number))
        seconds.append(time.monotonic() - began)
        events = enumerate(killed_runs.places(folder), 1)
        places += [(number, event, place) for event, place in events]
    return Undisturbed(contents(folder), places, seconds)


@dataclass(frozen=True)
class Plan:
    """What is done to one case."""

    scenario: str
    number: int
    """Of the command that is killed."""
    kills: Sequence[Kill]


def planned(case: int, scenario: str, whole: Undisturbed) -> Plan:
    """Return when the processes of a case are killed.

    Places take turns; which of its events it is, a generator of the case's own says.
    """
    rng = np.random.default_rng([2026, case])
    kinds = sorted({place for *_, place in whole.places}, key=str)
    turn = case // len(SHARES) * SHARES.count(scenario) + SHARES[: case % len(SHARES)].count(
        scenario
    )
    wanted = kinds[turn % len(kinds)]
    events = [(number, event) for number, event, place in whole.places if place == wanted]
    number, event = events[int(rng.integers(len(events)))]
    kill = Kill(event=event)
    if rng.random() < BY_CLOCK:
        kill = Kill(seconds=float(rng.uniform(0.05, min(LATEST, whole.seconds[number]))))
    kills = [kill]
    while rng.random() < AGAIN:
        kills.append(Kill(event=int(rng.integers(1, FURTHER))))
    return Plan(scenario, number, kills)


def disturbed(plan: Plan, folder: Path) -> list[Place]:
    """Carry a plan out in ``folder``, to the end; return where processes were killed.

    Raises `Failed` where a process that is not killed does not get to its end.
    """
    _empty(folder)
    deaths = []
    for number in range(len(SCENARIOS[plan.scenario])):
        begun = arguments(plan.scenario, number)
        given = begun
        for kill in plan.kills if number == plan.number else ():
            code, said = _gone_on(folder, given, begun, kill)
            given = ["compare", f"run=run{number}"]
            if code == 0:
                break
            if code != -KILLED:
                raise Failed(said)
            deaths.append(killed_runs.place(folder))
        _to_its_end(folder, given, begun)
    return deaths


def _to_its_end(folder: Path, given: Sequence[str], begun: Sequence[str] = ()) -> None:
    code, said = _gone_on(folder, given, begun or given)
    if code:
        raise Failed(f"exit code {code}: {said}")


def _gone_on(
    folder: Path, given: Sequence[str], begun: Sequence[str], kill: Kill | None = None
) -> tuple[int, str]:
    """Give a command; where it says that nothing was begun yet, that with which it begins."""
    code, said = killed_runs.run(folder, given, kill)
    if code == 2 and "no run was begun there" in said:
        return killed_runs.run(folder, begun, kill)
    return code, said


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / KEY).write_bytes(text)


def of_case(case: int, known: dict[str, Undisturbed], folder: Path) -> dict[str, Any]:
    """Carry a case out; return what came of it, for a line of the results."""
    scenario = SHARES[case % len(SHARES)]
    if scenario not in known:
        known[scenario] = undisturbed(scenario, folder)
    plan = planned(case, scenario, known[scenario])
    found: dict[str, Any] = {"case": case, "scenario": scenario, "number": plan.number}
    found["planned"] = [[kill.event, kill.seconds] for kill in plan.kills]
    try:
        found["kills"] = disturbed(plan, folder)
        found["differing"] = differing(contents(folder), known[scenario].files)
    except Failed as failure:
        found |= {"kills": [], "differing": [], "failed": str(failure)[-2000:]}
    return found


def table(found: Iterable[Mapping[str, Any]]) -> str:
    """Return the number of kills by stage, and seed or scenario, as Markdown."""
    counts = Counter((Place(*kill), each["scenario"]) for each in found for kill in each["kills"])
    rows = sorted({(place.stage, place.seed) for place, _ in counts}, key=str)
    lines = [["stage", "seed", *SCENARIOS, "all"], ["---"] * 2 + ["---:"] * (len(SCENARIOS) + 1)]
    for stage, seed in rows:
        numbers = [counts[Place(seed, stage), scenario] for scenario in SCENARIOS]
        lines.append(
            [stage, "" if seed is None else str(seed), *map(str, [*numbers, sum(numbers)])]
        )
    sums = [sum(n for (_, its), n in counts.items() if its == each) for each in SCENARIOS]
    lines.append(["all", "", *map(str, [*sums, sum(sums)])])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main() -> None:
    """Carry out the cases that are not done yet, and print the table of all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__)
    parser.add_argument("--cases", default="0:60", help="FIRST:END or FIRST:END:STEP")
    parser.add_argument("--results", type=Path, default=Path("kills.jsonl"))
    chosen = parser.parse_args()
    cases = range(*map(int, chosen.cases.split(":")))
    done = {each["case"] for each in _read(chosen.results)}
    known: dict[str, Undisturbed] = {}
    with tempfile.TemporaryDirectory() as place:
        for case in sorted({*cases} - done):
            found = of_case(case, known, Path(place) / "case")
            with chosen.results.open("a") as stream:
                stream.write(f"{json.dumps(found)}\n")
            print(json.dumps(found), flush=True)
    results = _read(chosen.results)
    print(table(results))
    wrong = [each["case"] for each in results if each["differing"] or "failed" in each]
    print(f"{sum(len(each['kills']) for each in results)} kills in {len(results)} cases, ", end="")
    print(f"wrong: {wrong or 'none'}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
