"""The table of docs/flower.md: every reply that must not be used, under each of three grids.

Each ends the run with a sentence that names the client, or is tolerated: then the round is that of
the others, and nothing of the reply is averaged, stored or charged.
"""

import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from flwr.app import ConfigRecord
from flwr.serverapp.strategy import FedAvg

from fedunlearn.checks import Refused
from fedunlearn.data import build_federation
from fedunlearn.flower import (
    InProcessGrid,
    Local,
    Ray,
    Unlearning,
    handshake,
    kinds_in,
)
from fedunlearn.local import LocalWork
from fedunlearn.models import mean
from fedunlearn.unlearning import ClientFailed, Training
from strategies.fedaccum import FedAccum
from tests.support import plain_app as plain
from tests.support.grid_clients import scenario_clients, with_training
from tests.support.hostile import (
    LIAR,
    SCENARIO,
    WRONG,
    Hostile,
    Meddling,
    Quitting,
    in_every_engine,
    times,
)

DOCS = Path(__file__).parents[2] / "docs" / "flower.md"

TABLE = {
    "NaN or infinity in an array": ["nan", "inf"],
    "an array longer than 10^18 (such as 10^30 everywhere)": ["1e30"],
    "another shape, or one other than it says; another type of number": [
        *("wrong shape", "one axis more", "another shape than it says", "float16", "integers"),
    ],
    "a missing array, one that nobody asked for, bytes that are no array": [
        *("missing array", "another array", "unreadable"),
    ],
    "`num-examples` of 0, below 0, NaN, infinite, 2.5, above 10^9, a list, missing": [
        *(case for case in WRONG if case.startswith("num-examples")),
        "no count",
    ],
    "`seconds` that are NaN or below 0": ["seconds nan", "seconds negative"],
    "nothing at all": ["empty"],
    "an exception, SystemExit": ["raises", "SystemExit"],
    "a reply after the time limit": ["late"],
    "an id that is none (1.5, 99, −1, NaN), somebody else's, none": [  # noqa: RUF001
        *("id 1.5", "id 99", "id -1", "id nan", "id 0", "id none"),
    ],
    "two answers to one message, an answer in another node's name": [
        *("twice", "in another's name"),
    ],
}
SAID = WRONG | {
    "SystemExit": r"failed: [\s\S]*SystemExit",
    "late": r"did not answer within [\d.]+ seconds",
    "twice": r"answered 2 times",
    "in another's name": r"answered in the name of another node",
}
NAMED = "named or tolerated"
TWICE = r"Nodes \d+ and \d+ both say that they are client 0\."
NOBODY = r"The clients do not say who they are"
ALONE = r"sent a reply that cannot be used: it holds .*, and most others .*, partition-id"


def claims(case):
    """Return what is said of a client that claims another's id, none, or nothing."""
    claim = re.escape(case[3:])
    usual = rf"The client on node \d+ says that it is client {claim}\."
    return {"id 0": TWICE, "id none": NOBODY}.get(case, usual)


def cells():
    """Return what the docs say, by row: one cell a grid, without its footnotes."""
    lines = [line for line in DOCS.read_text().splitlines() if line.startswith("|")]
    begin = next(i for i, line in enumerate(lines) if "`engine=local`" in line) + 2
    rows = [re.sub(r" [¹²³]", "", line).strip("| ").split(" | ") for line in lines[begin:]]
    return {what: told for what, *told in rows}


class OurClients:
    """A federation of this package's clients under an engine, one of which is hostile."""

    tolerated = (0, 1, 3)

    def __init__(self, engine, monkeypatch, case):
        self.engine, self.case = engine, case
        self.in_time, self.late = times(engine)
        in_every_engine(
            monkeypatch,
            lambda honest: Hostile(Hostile(honest, "train", str(case)), "query", f"{case}.id"),
        )

    def run(self, check):
        """Call ``check`` with this while the engine runs."""
        here = build_federation(SCENARIO)
        records = len(here.train[LIAR])
        objective = Quitting(records, str(self.case))
        training = Training(1, work=LocalWork(1, batch_size=10**6, objective=objective))
        Path(f"{self.case}.id").write_text("")
        ran = []

        def job(connection):
            nodes = connection.nodes
            meddled = Meddling(connection.grid, "train", self.case, nodes[LIAR], nodes[0])
            self.initial = here.initial
            self.clients = scenario_clients(replace(connection, grid=meddled), training, SCENARIO)
            self.case.write_text("")
            self.honest, _ = next(self.clients.rounds(here.initial, 1, 1))
            assert self.honest.clients == (0, 1, 2, 3)
            check(self)
            ran.append(True)

        self.engine.run(SCENARIO, job, kinds_in(training))
        assert ran

    def outcome(self, case):
        """Hold a case to both ways to go on, and return the cell that is right."""
        if case.startswith("id"):
            return self.introduced(case)
        self.case.write_text(f"late {self.late}" if case == "late" else case)
        timeout = self.in_time if case == "late" else None
        clients = with_training(self.clients, timeout=timeout)
        before = len(list(clients.ledger))
        with pytest.raises(ClientFailed, match=rf"^Client {LIAR} {SAID[case]}"):
            next(clients.rounds(self.initial, 1, 1))
        assert len(list(clients.ledger)) == before
        if case == "late":
            time.sleep(self.late)  # Ray's process is at its work still
        tolerant = with_training(clients, tolerated_failures=1)
        updates, weights = next(tolerant.rounds(self.initial, 1, 1))
        assert updates.clients == self.tolerated
        assert [charge.client for charge in list(clients.ledger)[before:]] == [*self.tolerated]
        expected = self.honest.without({LIAR})
        assert updates.examples.tolist() == expected.examples.tolist()
        torch.testing.assert_close(updates.deltas, expected.deltas)
        torch.testing.assert_close(weights, self.initial + mean(expected.deltas, expected.examples))
        if case == "late":
            time.sleep(self.late)
        return NAMED

    def introduced(self, case):
        """Return what becomes of a client that says that it is another, or nobody."""
        Path(f"{self.case}.id").write_text(case)
        grid = self.clients.channel.connection.grid
        with pytest.raises((ClientFailed, Refused), match=claims(case)):
            handshake(grid, 4)
        Path(f"{self.case}.id").write_text("")
        assert handshake(grid, 4).nodes == self.clients.channel.connection.nodes
        return "refused"


class WrappedApp:
    """A Flower app of somebody's own under `Unlearning`, one client of which is hostile."""

    def __init__(self, case):
        self.case = case

    def run(self, check):
        check(self)

    def trained(self, case, tolerated, honest=1):
        """Train for two rounds, the first ``honest`` of them without the case."""
        timeout = 0.5 if case == "late" else 60.0
        unlearning = Unlearning(
            FedAvg(), FedAccum(), {}, clients=plain.CLIENTS, tolerated_failures=tolerated
        )

        def told(key, arrays):
            said = "late 1" if case == "late" else case
            self.case.write_text(said if key >= honest else "")

        told(0, None)
        app = Hostile(plain.App().build(), "train", str(self.case))
        grid = InProcessGrid(app, plain.CLIENTS, workers=2)
        try:
            unlearning.start(
                Meddling(grid, "train", self.case, 1000 + LIAR, 1000),
                *(plain.arrays(plain.INITIAL), 2, timeout, ConfigRecord({})),
                evaluate_fn=told,
            )
        except (ClientFailed, Refused) as error:
            return unlearning, str(error)
        finally:
            grid.close()
        return unlearning, ""

    def outcome(self, case):
        """Hold a case to both ways to go on, and return the cell that is right."""
        claimed = case.startswith("id")
        if claimed:
            unlearning, error = self.trained(case, tolerated=1, honest=0)
            alone = rf"{NOBODY}|^The client on node \d+ {ALONE}"  # whoever is asked first
            said = alone if case == "id none" else claims(case)
            assert re.search(said, error), error
            assert len(unlearning.curve) == 1
        otherwise = ALONE if case == "id none" else f"sent a reply .*: it says .* client {case[3:]}"
        said = SAID.get(case, otherwise)
        unlearning, error = self.trained(case, tolerated=0)
        assert re.search(rf"^Client {LIAR} {said}", error), error
        assert len(unlearning.curve) == 2
        assert len(list(unlearning.ledger)) == plain.CLIENTS

        unlearning, error = self.trained(case, tolerated=1)
        assert not error
        others = sorted(plain.EVERYBODY - {LIAR})
        assert [charge.client for charge in list(unlearning.ledger)[plain.CLIENTS :]] == others
        kept = [stored.clients for stored in unlearning.history]
        assert kept == [tuple(sorted(plain.EVERYBODY)), tuple(others)]
        first = plain.formula(plain.EVERYBODY, 1)
        plain.close(unlearning.curve[2].weights, plain.formula(others, 1, first))
        return "refused in the first round, then named or tolerated" if claimed else NAMED


@pytest.mark.filterwarnings("ignore")  # Ray leaves files of its own open
@pytest.mark.parametrize(
    "column",
    [
        pytest.param(0, id="engine=local"),
        pytest.param(1, id="engine=ray", marks=[pytest.mark.slow]),
        pytest.param(2, id="Unlearning"),
    ],
)
def test_what_the_docs_say_of_every_hostile_reply(column, monkeypatch, tmp_path):
    case = tmp_path / "case"
    case.write_text("")
    grid = (
        WrappedApp(case)
        if column == 2
        else OurClients([Local(workers=2, mode="workers"), Ray()][column], monkeypatch, case)
    )
    told = cells()
    assert list(told) == list(TABLE)

    def check(grid):
        for row, cases in TABLE.items():
            assert {grid.outcome(each) for each in cases} == {told[row][column]}, row

    grid.run(check)


def test_no_case_is_left_out():
    tried = [case for cases in TABLE.values() for case in cases]
    assert len(tried) == len(set(tried))
    assert {*WRONG, *SAID} <= set(tried)
