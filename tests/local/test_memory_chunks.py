import pytest
import torch

from fedunlearn.data import Records, Shards
from fedunlearn.local import Adam, ChunkedTrainer, CohortWork, LocalWork
from fedunlearn.local import memory_chunks as pieces_module
from fedunlearn.local.memory_chunks import budget, fitting_clients, in_pieces, step_bytes
from fedunlearn.models import Cnn, Mlp, Network

WORK = LocalWork(epochs=2, batch_size=16)
SIZES = (40, 3, 17, 60, 16, 33, 21)


pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture
def shards():
    generator = torch.Generator().manual_seed(0)
    return Shards.of(
        [
            Records(
                torch.rand(n, 1, 8, 8, generator=generator),
                torch.randint(0, 10, (n,), generator=generator),
            )
            for n in SIZES
        ]
    )


def trained(shards, most=None, starts=None, clients=range(7), workers=1):
    network = Network(Mlp((16,)), (1, 8, 8), 10)
    pieces = ChunkedTrainer(network, shards, workers, {} if most is None else {repr(WORK): most})
    starts = network.initial(1) if starts is None else starts
    seeds = [(5, client) for client in clients]
    return pieces.train(CohortWork(starts, list(clients), WORK, 1, seeds)).weights, pieces


@pytest.mark.parametrize("most", [1, 2, 3, 6])
def test_pieces_give_what_one_batch_gives(shards, most):
    whole, kept = trained(shards)
    assert kept.most[repr(WORK)] >= 7
    cut, kept = trained(shards, most)
    assert kept.most[repr(WORK)] == most
    torch.testing.assert_close(cut, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_threads_change_no_bit(shards, most):
    one, _ = trained(shards, most)
    three, _ = trained(shards, most, workers=3)
    assert torch.equal(one, three)


def test_rows_are_in_the_order_of_the_clients(shards):
    whole, _ = trained(shards)
    mixed = [3, 0, 6, 1]
    some, _ = trained(shards, 2, clients=mixed)
    torch.testing.assert_close(some, whole[mixed], rtol=1e-5, atol=1e-6)


def test_each_row_starts_from_its_own_model(shards):
    network = Network(Mlp((16,)), (1, 8, 8), 10)
    starts = torch.stack([network.initial(seed) for seed in range(7)])
    cut, _ = trained(shards, 3, starts)
    for row in range(7):
        alone, _ = trained(shards, starts=starts[row], clients=[row])
        torch.testing.assert_close(cut[row], alone[0], rtol=1e-5, atol=1e-6)


class TestRunningOutOfMemory:
    def device(self, room):
        """A device on which ``room`` rows fit; returns its run and what it has done."""
        done, tried = [], []

        def run(rows):
            tried.append(len(rows))
            if len(rows) > room:
                raise torch.OutOfMemoryError
            done.extend(rows)

        return run, done, tried

    def test_halves_until_it_fits_and_repeats_nothing(self, caplog):
        run, done, tried = self.device(room=3)
        assert in_pieces(run, list(range(20)), 20) == 2
        assert done == list(range(20))
        assert tried == [20, 10, 5, *[2] * 10]
        assert "20 clients at once do not fit into memory; trying 10." in caplog.text

    def test_goes_on_from_where_it_was(self):
        done, failed = [], []

        def run(rows):
            if len(done) == 4 and not failed:
                failed.append(rows)
                raise torch.OutOfMemoryError
            done.extend(rows)

        assert in_pieces(run, list("abcdefghij"), 4) == 1
        assert "".join(done) == "abcdefghij"

    def test_gives_up_where_one_does_not_fit(self):
        run, done, tried = self.device(room=0)
        with pytest.raises(torch.OutOfMemoryError):
            in_pieces(run, list(range(4)), 4)
        assert (done, tried) == ([], [4, 2, 1])

    def test_pieces_are_of_equal_size(self):
        run, _, tried = self.device(room=100)
        assert in_pieces(run, list(range(20)), 12) == 12
        assert tried == [10, 10]
        assert in_pieces(run, [], 12) == 12

    def test_training_recovers_and_remembers(self, shards, monkeypatch):
        real, whole = pieces_module.train_cohort, trained(shards)[0]

        def small(network, starts, held, clients, *rest):
            if len(clients) > 3:
                raise torch.OutOfMemoryError
            return real(network, starts, held, clients, *rest)

        monkeypatch.setattr(pieces_module, "train_cohort", small)
        cut, pieces = trained(shards)
        assert pieces.most[repr(WORK)] == 3
        torch.testing.assert_close(cut, whole, rtol=1e-5, atol=1e-6)


class TestEstimate:
    def test_grows_with_the_batch_and_the_net(self, shards):
        small, large = (Network(Mlp((width,)), (1, 8, 8), 10) for width in (16, 256))
        start = small.initial(0)
        assert step_bytes(small, start, WORK, shards) >= pieces_module.VECTORS * start.nbytes
        four_times = LocalWork(batch_size=4 * WORK.batch_size)
        more = step_bytes(small, start, four_times, shards)
        assert more > step_bytes(small, start, WORK, shards)
        assert step_bytes(large, large.initial(0), WORK, shards) > more

    def test_fewer_clients_fit_where_a_step_keeps_more(self):
        assert fitting_clients(Network(Mlp((16,)), (1, 8, 8), 10)) == pieces_module.CPU_ROWS
        network = Network(Cnn(), (1, 8, 8), 10)
        fitting = [fitting_clients(network, records) for records in (32, 320, 32_000)]
        assert fitting == sorted(fitting, reverse=True)
        assert fitting[0] > fitting[1] > fitting[2] == 1

    def test_counts_what_the_backward_pass_keeps(self, shards):
        """A convolution keeps its input and, before pooling and ReLU, its large outputs."""
        network, work = Network(Cnn(), (1, 8, 8), 10), LocalWork(batch_size=60, optimizer=Adam())
        found = step_bytes(network, network.initial(0), work, shards)
        outputs = 60 * 16 * 8 * 8 * 4
        vectors = pieces_module.VECTORS * network.initial(0).nbytes
        assert found - vectors > 2 * outputs

    def test_a_piece_takes_a_share_of_what_is_free_on_a_gpu(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 9999))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 500)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 300)
        assert budget(torch.device("cuda")) == int(pieces_module.GPU_SHARE * 1200)
        assert budget(torch.device("cpu")) == pieces_module.CPU_BUDGET
