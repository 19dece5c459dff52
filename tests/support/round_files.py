"""Rounds to be written to files, and files taken apart."""

import json

import torch

from fedunlearn.history import Float32, Round, TopK, Updates
from fedunlearn.history.encodings import BFloat16, Float16, Int8

ENCODINGS = [Float32(), BFloat16(), Float16(), Int8(), TopK(0.25)]


CLIENTS = (0, 3, 4, 9)


D = 37


def done(number=7, clients=CLIENTS, d=D, model=True):
    drawn = torch.Generator().manual_seed(number)
    examples = torch.tensor([10 + client for client in clients], dtype=torch.int64)
    sent = Updates(clients, torch.randn(len(clients), d, generator=drawn), examples)
    weights = torch.randn(d, generator=drawn) if model else None
    return Round(number, sent, int(examples.sum()) + 5, weights)


def parsed(content):
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), 8 + length
