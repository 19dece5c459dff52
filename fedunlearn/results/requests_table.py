"""The rows of requests.csv: when each client asked, when it was served, and what came of it."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fedunlearn.results.case import Case

WORDS = {True: "yes", False: "no", None: ""}
"""What requests.csv says of a certificate's conclusion; None: it has none."""

NOTHING_VERIFIED: Mapping[Case, bool | None] = {}
NOTHING_MISSED: Mapping[Case, Sequence[str]] = {}
NOTHING_NOTED: Mapping[Case, Mapping[str, float]] = {}


class Asked(NamedTuple):
    """One client's part in a request."""

    request: int
    """The number, from 1."""
    client: int
    scope: str
    """In words."""
    arrived: float
    """In training rounds."""
    served: int
    """The training round after which it was."""


def request_rows(
    summary: Iterable[Mapping[str, Any]],
    asked: Sequence[Asked],
    recovery: int,
    verified: Mapping[Case, bool | None] = NOTHING_VERIFIED,
    approves: Callable[[bool | None, Sequence[str]], bool] = lambda verified, missed: True,
    noted: Mapping[Case, Mapping[str, float]] = NOTHING_NOTED,
    missed: Mapping[Case, Sequence[str]] = NOTHING_MISSED,
) -> list[dict[str, Any]]:
    """Return the rows of requests.csv, by the rows of summary.csv.

    ``recovery`` are the rounds of recovery after every request that changes anything. ``verified``
    is what the certificate of each case concludes, and ``approves`` says whether that suffices.
    ``noted`` is what the strategy had noted by then, ``missed`` the goals that its model missed.
    """
    by_request, rows, spent = _by_request(asked), [], dict[tuple[object, ...], int]()
    for case in summary:
        those, rounds = by_request[case["request"]], int(case["rounds"])
        recovered = min(rounds, recovery)
        here = Case(case["seed"], case["strategy"], case["request"])
        found, notes, wrong = verified.get(here), noted.get(here, {}), missed.get(here, ())
        approved = approves(found, wrong)
        for one in those:
            waited = one.served - one.arrived
            queued = spent.get((here.seed, here.strategy, one.served), 0)
            finished = one.served + queued + rounds
            rows.append(
                {
                    "seed": case["seed"],
                    "strategy": case["strategy"],
                    **one._asdict(),
                    "waited": waited,
                    "queued": queued,
                    "unlearning_rounds": rounds - recovered,
                    "recovery_rounds": recovered,
                    "rounds_to_forget": waited + queued + rounds,
                    "begun": one.served + queued,
                    "finished": finished,
                    "verified": WORDS[found],
                    "decision": "approved" if approved else "rejected",
                    "released": finished if approved else "",
                    "notes": " ".join(f"{name}={value:.6g}" for name, value in notes.items()),
                    "missed": "; ".join(wrong),
                }
            )
        if those:
            place = here.seed, here.strategy, those[0].served
            spent[place] = spent.get(place, 0) + rounds
    return rows


def _by_request(asked: Sequence[Asked]) -> Mapping[int, Sequence[Asked]]:
    """Return each request's parts by its number; none of others."""
    parts = defaultdict[int, list[Asked]](list)
    for one in asked:
        parts[one.request].append(one)
    return parts
