"""Ray: what it refuses, how it fails, and that it leaves nothing behind.

The slow tests start Ray. In the others a stand-in for Flower's simulation plays the two apps in
this process, and says what Ray says when something breaks.
"""

import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from flwr.app import Context, Error, Message, RecordDict

from fedunlearn.checks import Refused
from fedunlearn.flower import InProcessGrid, Local, Ray, build_client_app, kinds_in
from fedunlearn.flower.engines import ray as ray_engine
from fedunlearn.flower.in_process_grid import FIRST_NODE
from fedunlearn.unlearning import ClientFailed, Training
from tests.support.world import WORK, HalfSquare, World

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray leaves files of its own open

ROUNDS = 3


@dataclass(frozen=True)
class Deadly:
    """The world's loss, which ends the process that computes it for one client."""

    client: int

    def __call__(self, network, weights, images, labels, sent):
        if (labels == self.client).any():
            os._exit(1)
        return HalfSquare()(network, weights, images, labels, sent)


def training(objective, **changes):
    return Training(rounds=ROUNDS, work=replace(WORK, objective=objective), **changes)


def trained(engine, world, after=lambda: None):
    """Train the world under an engine; call ``after`` each round; return its last weights."""
    models = [world.start.history.initial]

    def job(connection):
        for _, weights in world.clients(connection).rounds(models[0], 1, ROUNDS):
            models.append(weights)
            after()

    engine.run(world.scenario, job, kinds_in(world.training))
    assert len(models) == ROUNDS + 1
    return models[-1]


def descendants(pid):
    """Return what runs below a process, by process id."""
    listed = subprocess.run(
        ["ps", "-ewwo", "ppid=,pid=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    below, found = [str(pid)], {}
    while below:
        parent = below.pop()
        children = {child: name for above, child, name in rows if above == parent}
        found |= {child: name for child, name in children.items() if not name.startswith("ps ")}
        below += children
    return found


def eventually(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


@contextmanager
def nothing_left():
    """Hold that a block leaves no process, no thread that keeps this one open, no variable."""
    threads, path = set(threading.enumerate()), os.environ.get("PYTHONPATH", "")
    children = descendants(os.getpid()).keys()
    yield
    assert not [thread for thread in threading.enumerate() if "server_th" in thread.name]
    assert eventually(lambda: all(t.daemon for t in set(threading.enumerate()) - threads))
    assert eventually(lambda: descendants(os.getpid()).keys() <= children)
    assert os.environ["PYTHONPATH"] == path


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def cluster():
    """A Ray cluster with one core and no GPU, run by somebody else; its address and process."""
    port = free_port()
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    command += ["--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=1", "--num-gpus=0"]
    command += ["--include-dashboard=false", f"--ray-client-server-port={free_port()}"]
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [*command, f"--temp-dir={folder}", "--disable-usage-stats"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            assert eventually(Path(folder, "ray_current_cluster").exists, seconds=60)  # last of all
            yield f"127.0.0.1:{port}", process
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.slow
def test_it_joins_a_cluster_gives_the_same_weights_and_lets_the_cluster_live(cluster, monkeypatch):
    address, process = cluster
    world = World(training=training(HalfSquare()))
    engine = Ray(address=address)
    with nothing_left():
        there = trained(engine, world)
    torch.testing.assert_close(there, trained(Local(), world), rtol=1e-5, atol=1e-5)
    assert eventually(lambda: "ClientAppActor" not in str(descendants(process.pid)))
    assert process.poll() is None
    with pytest.raises(Refused, match=r"engine\.num_cpus=2 .* cluster at .* 1 CPU and 0 GPU\."):
        Ray(num_cpus=2, address=address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(Refused, match=r"engine\.num_gpus=0\.5 ask"):
        Ray(num_gpus=0.5, address="auto")


@pytest.mark.slow
def test_a_dead_worker_ends_the_run_though_failures_are_tolerated():
    world = World(training=training(Deadly(2), tolerated_failures=4))
    with nothing_left(), pytest.raises(ClientFailed, match=r"^Client 2 failed, .* has died"):
        trained(Ray(), world)


@pytest.mark.slow
def test_an_interrupted_run_ends():
    def interrupt():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    with nothing_left(), pytest.raises(KeyboardInterrupt):
        trained(Ray(), World(training=training(HalfSquare())), after=interrupt)


class Spoiled(InProcessGrid):
    """Answers train messages as ``flower`` says: late, or with errors in place of replies."""

    def push_messages(self, messages):
        self.sent = list(messages)
        return super().push_messages(self.sent)

    def pull_messages(self, message_ids):
        if self.sent[0].metadata.message_type != "train":
            return super().pull_messages(message_ids)
        if self.flower.silent:
            self.flower.waiting.set()
            return []
        return [self.spoiled(reply) for reply in super().pull_messages(message_ids)]

    def spoiled(self, reply):
        client = reply.metadata.src_node_id - FIRST_NODE
        if client not in self.flower.errors:
            return reply
        code, reason = self.flower.errors[client]
        (sent,) = (m for m in self.sent if m.metadata.dst_node_id == reply.metadata.src_node_id)
        error = Message(Error(code, reason), reply_to=sent)
        error.metadata.created_at = 1e9 - client  # the higher the client, the earlier it failed
        return error


class Flower:
    """Stands in for Flower's simulation, on threads as there."""

    def __init__(self):
        self.errors, self.silent, self.crash, self.config = {}, False, None, None
        self.waiting = threading.Event()

    def run_simulation(self, server_app, build_client_app, num_supernodes, backend_config):
        self.config = backend_config
        os.environ["PYTHONPATH"] = "changed"
        context = Context(1, 1, {}, RecordDict(), {})
        grid, raised = Spoiled(build_client_app, num_supernodes, workers=1), []
        grid.flower = self

        def server_th():
            try:
                server_app(grid, context)
            except Exception as error:
                raised.append(error)

        thread = threading.Thread(target=server_th)
        thread.start()
        if self.crash is not None:
            self.waiting.wait()
            grid.close()
            raise self.crash
        thread.join()
        grid.close()
        if raised:
            raise raised[0]


@pytest.fixture
def flower(monkeypatch):
    stand_in = Flower()
    monkeypatch.setattr("flwr.simulation.run_simulation", stand_in.run_simulation)
    yield stand_in
    gc.freeze()  # Ray was not there: of what has been made nothing is to be looked through


DIED = (
    "<class 'ray.exceptions.ActorDiedError'>:<'The actor died unexpectedly before finishing this "
    "task.\n\tclass_name: ClientAppActor\n\tpid: 26638\nThe actor is dead because its worker "
    "process has died. Worker exit type: SYSTEM_ERROR.'>"
)
RAISED = (
    "<class 'ray.exceptions.RayTaskError(ClientAppException)'>:<'\x1b[36mray::ClientAppActor.run()"
    '\x1b[39m (pid=2, repr=<Actor>)\n       ^^^^^^\n  File "app.py", line 71, in train\n'
    "    weights = train()\n              ^^^^^^^\nKeyError: 'cause'\n\n"
    "The above exception was the direct cause of the following exception:\n\n"
    "OSError: odd batch\n\n"
    "The above exception was the direct cause of the following exception:\n\n"
    "\x1b[36mray::ClientAppActor.run()\x1b[39m (pid=2)\n       ^^^^^^\n"
    "flwr.clientapp.client_app.ClientAppException: \nMessage: odd batch'>"
)


class TestFailures:
    world = World(training=training(HalfSquare()))
    tolerant = replace(world, training=training(HalfSquare(), tolerated_failures=4))

    def test_the_stand_in_trains_as_this_process_does(self, flower):
        with nothing_left():
            there = trained(Ray(), self.world)
        torch.testing.assert_close(there, trained(Local(), self.world))
        assert flower.config["client_resources"] == {"num_cpus": 1, "num_gpus": 0}

    def test_a_dead_worker_is_no_tolerated_failure_and_names_whom_it_took_first(self, flower):
        flower.errors = {1: (0, DIED), 2: (0, DIED), 3: (2, RAISED)}
        with nothing_left(), pytest.raises(ClientFailed) as caught:
            trained(Ray(), self.tolerant)
        assert str(caught.value) == (
            "Client 2 failed, and with it the run: Ray has no answer from the process in which it "
            "worked. The actor is dead because its worker process has died. Worker exit type: "
            "SYSTEM_ERROR."
        )

    def test_a_client_s_own_error_is_read_without_ray_s(self, flower):
        flower.errors = {3: (2, RAISED)}
        with nothing_left(), pytest.raises(ClientFailed) as caught:
            trained(Ray(), self.world)
        assert str(caught.value) == (
            'Client 3 failed: Traceback:\n  File "app.py", line 71, in train\n'
            "    weights = train()\n              ^^^^^^^\nKeyError: 'cause'\n\n"
            "The above exception was the direct cause of the following exception:\n\n"
            "OSError: odd batch"
        )

    def test_a_client_s_own_error_may_be_tolerated(self, flower):
        flower.errors = {3: (2, RAISED)}
        formula = self.world.formula({0, 1, 2}, ROUNDS)
        torch.testing.assert_close(trained(Ray(), self.tolerant), formula)

    def test_an_error_of_another_form_is_passed_on(self, flower):
        flower.errors = {3: (2, "no more disk")}
        with pytest.raises(ClientFailed, match=r"^Client 3 failed: no more disk$"):
            trained(Ray(), self.world)

    @pytest.mark.parametrize("crash", [RuntimeError("crashed"), KeyboardInterrupt()])
    def test_a_broken_simulation_leaves_no_thread_waiting(self, flower, crash):
        flower.silent, flower.crash = True, crash
        with nothing_left(), pytest.raises(type(crash)) as caught:
            trained(Ray(), self.world)
        assert caught.value is crash

    def test_a_time_limit_is_kept(self, flower):
        replies = []

        def job(connection):
            flower.silent = True
            message = Message(RecordDict(), connection.nodes[0], "train")
            replies.append(connection.grid.send_and_receive([message], timeout=0.15))

        Ray().run(self.world.scenario, job)
        assert replies == [[]]


class TestRefusals:
    @pytest.fixture
    def machines(self, monkeypatch):
        """A cluster of two machines, joined from one with a single core and no GPU."""
        machines = [{"CPU": 4.0}, {"CPU": 1.0, "GPU": 2.0}, {}]
        monkeypatch.setattr(ray_engine, "_cluster", lambda address: ("10.0.0.1:1", machines))
        monkeypatch.setattr(ray_engine, "cores", lambda: 1)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)

    @pytest.mark.parametrize("wanted", [(4, 0), (1, 2), (1, 0.5)])
    def test_a_cluster_s_resources_count_and_not_this_machine_s(self, machines, flower, wanted):
        cpus, gpus = wanted
        with pytest.raises(Refused, match=r"asks for more than"):
            Ray(cpus + 1, gpus)
        Ray(cpus, gpus, "head:1").run(World().scenario, lambda connection: None)
        assert flower.config["init_args"]["address"] == "10.0.0.1:1"
        assert "num_cpus" not in flower.config["init_args"]

    @pytest.mark.parametrize("wanted", [(5, 0), (2, 1), (1, 3)])
    def test_one_machine_of_the_cluster_must_fit_a_client(self, machines, wanted):
        with pytest.raises(
            Refused, match=r"more than any machine .* has: 1 CPU and 2 GPU, 4 CPU and 0"
        ):
            Ray(*wanted, "head:1")

    def test_this_machine_is_not_lent_to_clusters_that_run_here(self, flower, monkeypatch):
        monkeypatch.setattr(ray_engine, "cores", lambda: 3)
        monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:1")
        trained(Ray(3), World(training=training(HalfSquare())))
        assert flower.config["init_args"]["address"] == "local"
        assert flower.config["init_args"]["num_cpus"] == 3

    @pytest.mark.parametrize(
        "address", ["", "6379", "local", "127.0.0.1:x", "127.0.0.1:99999", "ray://127.0.0.1:1"]
    )
    def test_an_address_that_is_none(self, address):
        with pytest.raises(Refused, match=rf"^engine\.address={address}: no Ray cluster"):
            Ray(address=address)

    def test_an_address_that_is_no_text(self):
        with pytest.raises(Refused, match=r"address must be text or null, not 6379"):
            Ray(address=6379)

    def test_a_cluster_that_is_not_there(self):
        started = time.monotonic()
        with pytest.raises(Refused, match=r"no Ray cluster can be joined there.*refused"):
            Ray(address=f"127.0.0.1:{free_port()}")
        assert time.monotonic() - started < 20

    @pytest.mark.parametrize("address", [None, "127.0.0.1:1"])
    def test_a_process_that_uses_ray_already(self, address, flower, monkeypatch):
        monkeypatch.setattr("ray.is_initialized", lambda: True)
        with pytest.raises(Refused, match=r"Call ray\.shutdown\(\) first"):
            Ray(address=address).run(World().scenario, lambda connection: None)
        assert flower.config is None

    def test_a_share_of_more_than_one_gpu(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
        assert Ray(num_gpus=2).resources["num_gpus"] == 2
        with pytest.raises(Refused, match=r"Ray\.num_gpus=1\.5"):
            Ray(num_gpus=1.5)


def test_it_says_where_clients_train():
    assert Ray().describe(World().scenario) == (
        "Clients train in Ray's processes on this machine, each with num_cpus=1 and num_gpus=0."
    )


@pytest.mark.parametrize("gpus", [0, 0.5])
def test_clients_and_server_work_on_gpus_only_if_asked(gpus, flower, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    devices = []
    monkeypatch.setattr(
        ray_engine,
        "build_client_app",
        lambda scenario, device, kinds: devices.append(device) or build_client_app(scenario, "cpu"),
    )
    engine = Ray(num_gpus=gpus)
    engine.run(World().scenario, lambda connection: None)
    assert [engine.device] == devices == ["cuda" if gpus else "cpu"]


@pytest.mark.parametrize(
    ("asked", "reserved"),
    [(0, 0), (0.4, 1 / 2), (0.3, 1 / 3), (0.7, 1), (1, 1), (0.1, 0.1), (1 / 93, 1 / 93)],
)
def test_flower_starts_no_worker_that_no_gpu_can_hold(asked, reserved, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert Ray(num_gpus=asked).resources == {"num_cpus": 1, "num_gpus": reserved}
    if asked:
        assert int(2 / reserved) <= 2 * int(1 / asked + 1e-9)
