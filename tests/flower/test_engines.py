import pickle
import threading
from dataclasses import dataclass, replace

import pytest
import torch
from flwr.app import Array, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import nn

from fedunlearn.checks import Refused
from fedunlearn.data import build_federation
from fedunlearn.flower import (
    InProcessGrid,
    Local,
    Ray,
    build_client_app,
    differences,
    handshake,
    pack,
    payload,
    unpack,
)
from fedunlearn.flower.arrays import TensorArray
from fedunlearn.flower.engines import ray as ray_engine
from fedunlearn.flower.engines.local import choose
from fedunlearn.local import Ball, LocalWork, memory_chunks
from fedunlearn.models import (
    Cnn,
    Conv1d,
    GroupNormCnn,
    Gru,
    LeNet5,
    Lstm,
    McMahanCnn,
    Mlp,
    Network,
    Shape,
    Tabular,
    Transformer,
)
from fedunlearn.unlearning import ClientFailed, Ledger, Training
from tests.support.grid_clients import scenario_clients
from tests.support.recurrent import Recurrent
from tests.support.small_federation import SMALL, bytes_of, train_small
from tests.support.world import Fragile

TRAINING = Training(rounds=3, cohort=0.75, work=LocalWork(epochs=1))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray leaves files of its own open
def test_ray_gives_the_weights_and_costs_of_this_process():
    here, costs = train_small(Local(mode="workers"), TRAINING)
    there, same_costs = train_small(Ray(), TRAINING)
    torch.testing.assert_close(there, here, rtol=1e-5, atol=1e-5)
    assert bytes_of(costs) == bytes_of(same_costs)


@dataclass(frozen=True)
class Stochastic:
    """A net that draws in training: by dropout, and by noise of torch's own."""

    def __call__(self, shape, classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.5), Noisy())


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(32, 10)

    def forward(self, hidden):
        return self.last(hidden + 0.1 * torch.randn_like(hidden) if self.training else hidden)


@pytest.mark.parametrize(
    "engine",
    [
        Local(workers=1, mode="workers"),
        pytest.param(Ray(), marks=[pytest.mark.slow, pytest.mark.filterwarnings("ignore")]),
    ],
    ids=["one worker", "ray"],
)
def test_nets_that_draw_in_training_draw_the_same_wherever_they_train(engine):
    drawing = replace(SMALL, model=Stochastic())
    here, costs = train_small(Local(workers=3, mode="workers"), TRAINING, drawing)
    there, same_costs = train_small(engine, TRAINING, drawing)
    assert torch.equal(here, there)
    assert bytes_of(costs) == bytes_of(same_costs)
    other, _ = train_small(Local(workers=3, mode="workers"), TRAINING, replace(drawing, seed=6))
    assert not torch.equal(here, other)


@pytest.mark.parametrize(
    "engine",
    [
        *(Local(mode=mode) for mode in ("workers", "cohort", "halves")),
        pytest.param(Ray(), marks=[pytest.mark.slow]),
    ],
    ids=["local", "cohort", "halves", "ray"],
)
@pytest.mark.filterwarnings("ignore")
def test_a_failing_client_ends_the_run_with_its_id_and_traceback(engine):
    threads = threading.active_count()
    work = LocalWork(epochs=1, objective=Fragile())
    with pytest.raises(ClientFailed, match=r"(?s)Client \d failed.*odd batch") as caught:
        train_small(engine, Training(rounds=1, work=work))
    assert "tests/support/world.py" in str(caught.value)
    assert threading.active_count() <= threads + 1  # Ray keeps one of its own


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("mode", ["cohort", "halves"])
def test_training_as_one_batch_or_in_halves_gives_the_same_weights_and_costs(mode, workers):
    alone, costs = train_small(Local(mode="workers"), TRAINING)
    together, same_costs = train_small(Local(workers=workers, mode=mode), TRAINING)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    assert bytes_of(costs) == bytes_of(same_costs)
    assert all(charge.seconds > 0 for charge in same_costs)


def bounded_small(engine, stop):
    """Let everybody train until ``stop`` from the first model; return the charges."""
    here, ledger = build_federation(SMALL), Ledger()
    work = LocalWork(3, 16, bound=Ball(1e6, stop))

    def job(connection):
        clients = scenario_clients(connection, TRAINING, SMALL, ledger)
        clients.train(here.initial, clients.ids, work, round=1, other=here.initial)

    engine.run(SMALL, job)
    return ledger


@pytest.mark.parametrize(
    "engine",
    [
        Local(mode="cohort"),
        Local(workers=3, mode="cohort"),
        Local(workers=3, mode="halves"),
        pytest.param(Ray(), marks=[pytest.mark.slow, pytest.mark.filterwarnings("ignore")]),
    ],
    ids=["cohort", "threads", "halves", "ray"],
)
def test_who_stops_early_is_charged_for_what_it_did_in_every_engine(engine, monkeypatch):
    monkeypatch.setattr(memory_chunks, "CPU_ROWS", 2)
    held = [len(records) for records in build_federation(SMALL).train]
    free = bounded_small(Local(mode="workers"), 1e6)
    assert [charge.samples for charge in free] == [3 * n for n in held]
    costs = bounded_small(Local(mode="workers"), 0.5)
    assert all(charge.samples < whole.samples for charge, whole in zip(costs, free, strict=True))
    assert len({charge.samples for charge in costs}) > 1
    assert bytes_of(bounded_small(engine, 0.5)) == bytes_of(costs)
    there = bounded_small(engine, 0.5)
    if (
        isinstance(engine, Local) and engine.mode == "cohort"
    ):  # in a batch, time is shared out by what was processed
        paces = [charge.seconds / charge.samples for charge in there]
        assert max(paces) == pytest.approx(min(paces))


@pytest.mark.parametrize("mode", ["workers", "cohort", "halves"])
def test_the_number_of_workers_changes_no_bit(mode, monkeypatch):
    monkeypatch.setattr(memory_chunks, "CPU_ROWS", 2)
    one, costs = train_small(Local(workers=1, mode=mode), TRAINING)
    three, same_costs = train_small(Local(workers=3, mode=mode), TRAINING)
    assert torch.equal(one, three)
    assert bytes_of(costs) == bytes_of(same_costs)


@pytest.mark.parametrize("threads", [1, 2])
def test_torch_has_one_thread_while_the_engine_runs_and_its_own_number_afterwards(threads):
    seen, before = [], torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        Local().run(SMALL, lambda connection: seen.append(torch.get_num_threads()))
        assert (seen, torch.get_num_threads()) == ([1], threads)
    finally:
        torch.set_num_threads(before)


def test_an_error_in_the_job_reaches_the_caller_and_ends_the_threads():
    def job(connection):
        raise KeyError("lost")

    before = threading.active_count()
    with pytest.raises(KeyError, match="lost"):
        Local().run(SMALL, job)
    assert threading.active_count() == before


class TestRefusals:
    def test_gpus_and_cores_that_are_not_there(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
        with pytest.raises(Refused, match=r"Ray.num_gpus=0.25 asks for more than the 0 GPUs"):
            Ray(num_gpus=0.25)
        monkeypatch.setattr(ray_engine, "cores", lambda: 2)
        with pytest.raises(Refused, match=r"Ray.num_cpus=3 asks for more than the 2 cores"):
            Ray(num_cpus=3)

    def test_no_workers(self):
        with pytest.raises(Refused, match=r"Local.workers must be a whole number"):
            Local(workers=0)

    def test_a_device_that_is_not_there(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        with pytest.raises(Refused, match=r"engine.device=cuda:1 is not there: torch sees 1 GPUs"):
            Local(device="cuda:1")
        with pytest.raises(Refused, match=r"engine.device=gpu is no device"):
            Local(device="gpu")

    @pytest.mark.parametrize("name", ["meta", "vulkan", "cpu:7"])
    def test_a_device_that_exists_in_name_only(self, name):
        with pytest.raises(Refused, match=rf"engine.device={name} exists in name only"):
            Local(device=name)

    def test_an_unknown_mode(self):
        with pytest.raises(Refused, match=r"Local\.mode=batch does not exist"):
            Local(mode="batch")


SERIES, WORDS, IMAGE = Shape((3, 100)), Shape((40,), torch.int64, (60,)), Shape((3, 32, 32))
SHIPPED = {
    "mlp": (Mlp(), (1, 8, 8), "cohort"),
    "a wide mlp": (Mlp((2048,)), (1, 8, 8), "workers"),
    "tabular": (Tabular(), Shape((5,), torch.float32, (0, 4, 0, 11, 2)), "cohort"),
    "gru of series": (Gru(), SERIES, "cohort"),
    "gru of words": (Gru(), WORDS, "cohort"),
    "lstm of words": (Lstm(), WORDS, "cohort"),
    "transformer of words": (Transformer(), WORDS, "cohort"),
    "transformer of short series": (Transformer(), Shape((3, 20)), "cohort"),
    "transformer of long series": (Transformer(), SERIES, "workers"),
    "cnn": (Cnn(), (1, 8, 8), "workers"),
    "conv1d": (Conv1d(), SERIES, "workers"),
    "lenet5": (LeNet5(), (1, 28, 28), "workers"),
    "mcmahan": (McMahanCnn(), (1, 28, 28), "workers"),
    "groupnorm_cnn": (GroupNormCnn(), IMAGE, "workers"),
}


class TestChoice:
    @pytest.mark.parametrize(("model", "shape", "mode"), SHIPPED.values(), ids=SHIPPED)
    def test_of_the_models_that_ship(self, model, shape, mode):
        network = Network(model, shape, 6)
        before = torch.random.get_rng_state()
        assert choose(network, "cpu")[0] == Local(device="cpu").choice(network)[0] == mode
        assert torch.equal(torch.random.get_rng_state(), before)
        assert choose(network, "cuda")[0] == "cohort"

    @pytest.mark.parametrize(
        ("model", "device", "mode", "why"),
        [
            (Mlp(), "cpu", "cohort", "small dense nets"),
            (Mlp((2048,)), "cpu", "workers", "153,610 each, outgrow"),
            (Cnn(), "cpu", "workers", "convolutions"),
            (Cnn(), "cuda", "cohort", "a GPU"),
        ],
    )
    def test_follows_device_and_model(self, model, device, mode, why):
        found, reason = choose(Network(model, (1, 8, 8), 10), device)
        assert found == mode
        assert why in reason

    @pytest.mark.parametrize("mode", ["auto", "cohort"])
    def test_what_many_clients_cannot_share_is_trained_by_each_and_said_once(self, mode, recwarn):
        scenario = replace(SMALL, model=Recurrent())
        said = Local(mode=mode).describe(scenario)
        assert said.startswith("Clients train on cpu in mode workers (each client by itself")
        assert "many clients cannot share a pass of the model (Batching rule not impl" in said
        train_small(Local(mode=mode), replace(TRAINING, rounds=1), scenario)
        assert not recwarn.list

    def test_is_said_in_a_sentence(self):
        assert Local(workers=3).describe(SMALL) == (
            "Clients train on cpu in mode cohort (many clients as one batch, on up to 3 threads): "
            "small dense nets spend their time on calls, which a batch of clients shares."
        )
        assert Local(mode="workers").describe(SMALL).endswith("as engine.mode says.")


class TestHandshake:
    def nodes(self, answer, clients=3):
        app = ClientApp()

        @app.query()
        def hello(message: Message, context: Context) -> Message:
            metrics = MetricRecord({"partition-id": answer(context.node_config["partition-id"])})
            return Message(RecordDict({"metrics": metrics}), reply_to=message)

        grid = InProcessGrid(app, clients, workers=2)
        try:
            return handshake(grid, clients).nodes
        finally:
            grid.close()

    def test_learns_who_holds_which_partition(self):
        assert list(self.nodes(lambda i: 2 - i)) == [0, 1, 2]
        assert self.nodes(lambda i: i) == {0: 1000, 1: 1001, 2: 1002}
        assert self.nodes(lambda i: 2 - i) == {0: 1002, 1: 1001, 2: 1000}

    def test_refuses_doubles_and_gaps(self):
        with pytest.raises(Refused, match=r"0 to 2, each once; their partition-ids are \[0, 0, 0"):
            self.nodes(lambda i: 0)
        with pytest.raises(Refused, match=r"0 to 2, each once; their partition-ids are \[1, 2, 3"):
            self.nodes(lambda i: i + 1)

    def test_passes_on_a_client_s_error(self):
        def broken(partition):
            raise OSError("no such disk")

        with pytest.raises(ClientFailed, match="no such disk"):
            self.nodes(broken)


def test_a_model_survives_its_message():
    weights = torch.randn(1000)
    record = pack(weights)
    assert torch.equal(unpack(RecordDict({"arrays": record})), weights)
    assert payload(record) == 4000
    assert record["weights"].numpy().ctypes.data == weights.data_ptr()  # nothing was copied


def test_a_tensor_travels_to_other_processes_as_an_ordinary_array():
    weights = torch.randn(1000)
    mine, plain = TensorArray(weights), Array(weights.numpy())
    assert (mine.dtype, mine.shape, mine.stype) == (plain.dtype, plain.shape, plain.stype)
    assert mine.data == plain.data
    assert mine.object_id == plain.object_id
    assert mine.deflate() == plain.deflate()
    there = pickle.loads(pickle.dumps(mine))
    assert type(there) is Array
    assert (there.numpy() == weights.numpy()).all()


def test_differences_are_those_of_each_vector_and_leave_all_of_them_alone():
    matrix, start = torch.randn(5, 7), torch.randn(7)
    before, asked = matrix.clone(), torch.randn(6)
    for vectors in (
        matrix.unbind(),
        matrix[1:3].unbind(),
        matrix[[3, 1]].unbind()[::-1],
        (matrix[0], matrix[2]),
        (matrix[0], torch.randn(7)),
        (matrix[0], matrix[0]),
    ):
        found = differences(vectors, start)
        assert torch.equal(found, torch.stack([vector - start for vector in vectors]))
    assert torch.equal(
        differences(matrix[:, :5].T.unbind(), start[:5]), matrix[:, :5].T - start[:5]
    )
    assert torch.equal(matrix, before)
    with pytest.raises(RuntimeError):
        differences([], asked)


def test_differences_from_rows_of_a_matrix_need_no_copy_of_it(monkeypatch):
    matrix, start = torch.randn(5, 7), torch.randn(7)
    monkeypatch.setattr(torch, "stack", None)
    assert torch.equal(differences(matrix.unbind(), start), matrix - start)


def test_an_unknown_message_becomes_an_error_reply():
    grid = InProcessGrid(build_client_app(SMALL), 4, workers=1)
    try:
        message = Message(RecordDict(), 1000, "train.conquer")
        (reply,) = grid.send_and_receive([message])
    finally:
        grid.close()
    assert reply.has_error()
    assert "conquer" in reply.error.reason
    assert reply.metadata.src_node_id == 1000


def test_federations_of_equal_scenarios_are_equal_and_seeds_matter():
    one, other = build_federation(SMALL), build_federation.__wrapped__(SMALL)
    for a, b in zip((*one.train, *one.heldout), (*other.train, *other.heldout), strict=True):
        assert torch.equal(a.inputs, b.inputs)
        assert torch.equal(a.labels, b.labels)
    assert torch.equal(one.initial, other.initial)
    assert not torch.equal(one.initial, build_federation(replace(SMALL, seed=6)).initial)


def test_triggers_of_several_leavers_are_named_after_clients():
    here = build_federation(replace(SMALL, leavers=(3, 1)))  # in the order in which they leave
    sets = here.evaluation_sets(frozenset({1, 3}), frozenset({0, 2}))
    for client in (1, 3):
        alone = here.evaluation_sets(frozenset({client}), frozenset({0, 2}))
        assert torch.equal(sets[f"triggered/{client}"].inputs, alone["triggered"].inputs)
    assert not torch.equal(sets["triggered/1"].inputs, sets["triggered/3"].inputs)


def test_clients_hold_every_record_once_and_only_the_leaver_is_planted():
    here = build_federation(SMALL)
    held = sum(len(a) + len(b) for a, b in zip(here.train, here.heldout, strict=True))
    assert held + len(here.proxy) == len(here.dataset.train)
    assert len(here.proxy) == round(0.1 * len(here.dataset.train))
    for client in (0, 2, 3):
        assert torch.equal(here.train[client].inputs, here.clean[client].inputs)
    planted = here.train[1]
    assert len(here.clean[1]) < len(planted)
    sets = here.evaluation_sets(frozenset({1}), frozenset({0, 2, 3}))
    assert torch.equal(sets["forget"].inputs, planted.inputs)
    assert len(sets["forget_clean"]) == len(here.clean[1])
    assert (sets["triggered"].labels == 9).all()
    assert len(sets["triggered"]) == (here.dataset.test.labels != 9).sum()
    assert [name for name in sets if name.startswith("retained/")] == [
        "retained/0",
        "retained/2",
        "retained/3",
    ]


def test_a_scenario_names_only_clients_that_exist():
    with pytest.raises(Refused, match="names client 4, but the federation has clients 0 to 3"):
        replace(SMALL, leavers=(4,))
