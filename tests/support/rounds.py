"""Rounds to be recorded."""

import torch

from fedunlearn.history import (
    Round,
    Updates,
)

D = 11


def done(number, clients=(0, 2, 5)):
    drawn = torch.Generator().manual_seed(number)
    examples = torch.tensor([1 + client for client in clients], dtype=torch.int64)
    sent = Updates(clients, torch.randn(len(clients), D, generator=drawn), examples)
    return Round(number, sent, 20, torch.randn(D, generator=drawn))
