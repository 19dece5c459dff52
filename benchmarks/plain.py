"""The loop that a researcher would write in plain PyTorch, and the ceiling of any such loop."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.workloads import BATCH, CLASSES, MOMENTUM, RATE, SEED, Workload
from fedunlearn.data import Records, build_federation

State = dict[str, Tensor]


def loop(turns: Iterable[int], workload: Workload, threads: int, device: str = "cpu") -> None:
    """Train one client after another with ``threads`` torch threads."""
    torch.set_num_threads(threads)
    net, clients = prepare(workload, device)
    initial = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    for rounds in turns:
        weights = initial
        for _ in range(rounds):
            weights = one_round(net, weights, clients)


def ceiling(turns: Iterable[int], workload: Workload) -> None:
    """Run forward and backward over all clients' batches, and nothing else, on one core."""
    torch.set_num_threads(1)
    net, clients = prepare(workload)
    batches = [
        batch
        for held in clients
        for batch in zip(held.inputs.split(BATCH), held.labels.split(BATCH), strict=True)
    ]
    for rounds in turns:
        for _ in range(rounds):
            for images, labels in batches:
                net.zero_grad()
                cross_entropy(net(images), labels).backward()


def prepare(workload: Workload, device: str = "cpu") -> tuple[nn.Module, list[Records]]:
    """Return a fresh net and every client's records, in memory on ``device``."""
    torch.manual_seed(SEED)
    net = workload.model(workload.shape, CLASSES).to(device)
    held = build_federation(workload.scenario).train
    return net, [Records(r.inputs.to(device), r.labels.to(device)) for r in held]


def one_round(net: nn.Module, weights: State, clients: Sequence[Records]) -> State:
    """Train every client from ``weights``; return the mean, weighted by records (FedAvg)."""
    everybody = sum(len(held) for held in clients)
    total = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    for held in clients:
        net.load_state_dict(weights)
        one_epoch(net, held)
        for name, tensor in net.state_dict().items():
            total[name].add_(tensor, alpha=len(held) / everybody)
    return total


def one_epoch(net: nn.Module, held: Records) -> None:
    """Train ``net`` on one client's records, in batches by number, in random order."""
    optimizer = torch.optim.SGD(net.parameters(), RATE, MOMENTUM)
    for rows in torch.randperm(len(held), device=held.labels.device).split(BATCH):
        optimizer.zero_grad()
        cross_entropy(net(held.inputs[rows]), held.labels[rows]).backward()
        optimizer.step()
