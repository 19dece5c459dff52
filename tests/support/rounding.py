"""Another processor's rounding, for `pytest -p tests.support.rounding`.

Whatever torch is about to sum is changed by up to one unit in its last place, as a function of
its bits, its shape and ROUNDING_SEED alone: who repeats a computation finds the same numbers, and
who computes them in another shape finds others, as between two kernels of a math library. Numbers
of few bits are left alone, since their sums are exact everywhere.
"""

import os
import threading

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

_ATEN = torch.ops.aten
_SUMS = {
    *(_ATEN.mm, _ATEN.addmm, _ATEN.bmm, _ATEN.baddbmm, _ATEN.mv, _ATEN.addmv, _ATEN.dot),
    *(_ATEN.convolution, _ATEN.convolution_backward, _ATEN.avg_pool2d),
    *(_ATEN.native_group_norm, _ATEN.native_group_norm_backward),
    *(_ATEN._softmax, _ATEN._softmax_backward_data, _ATEN.logsumexp),
    *(_ATEN._log_softmax, _ATEN._log_softmax_backward_data),
    *(_ATEN.sum, _ATEN.mean, _ATEN.var, _ATEN.std, _ATEN.cumsum, _ATEN.linalg_vector_norm),
}
_SEED = int(os.environ.get("ROUNDING_SEED", "1"))
_LOW_BITS = {torch.float32: (torch.int32, 0xFFF), torch.float64: (torch.int64, 0xFFFFFFF)}


def shaken(value: object) -> object:
    """Return a tensor of floats with errors of its last place, and anything else as it is."""
    if not isinstance(value, torch.Tensor) or value.dtype not in _LOW_BITS or value.numel() < 2:
        return value
    whole, low = _LOW_BITS[value.dtype]
    bits = value.contiguous().view(whole)
    mixed = (bits ^ (bits >> 29)).to(torch.int32) ^ (hash((_SEED, *value.shape)) & 0x3FFFFFFF)
    mixed = mixed * 0x2C1B3C6D
    mixed = (mixed ^ (mixed >> 15)) * 0x297A2D39
    error = ((mixed >> 12) & 0xFFF).to(value.dtype) / 2048 - 1
    other = value * (1 + error * torch.finfo(value.dtype).eps)
    return torch.where(bits & low == 0, value, other)


class OtherRounding(TorchDispatchMode):
    """Shake the operands of all sums of the calling thread, of forward and backward passes."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in _SUMS:
            args = tuple(shaken(value) for value in args)
        return func(*args, **(kwargs or {}))


_run = threading.Thread.run


def _run_shaken(thread):
    with OtherRounding():
        _run(thread)


def pytest_configure():
    """Shake in the threads that tests start as well."""
    threading.Thread.run = _run_shaken


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol():
    """Shake while a test and its fixtures run."""
    with OtherRounding():
        return (yield)
