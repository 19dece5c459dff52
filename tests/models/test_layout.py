import pytest
import torch
from torch import nn

from fedunlearn.checks import Refused
from fedunlearn.models import Layout


class Mixed(nn.Module):
    """A float buffer between two layers: it must end up behind all parameters."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 2)
        self.register_buffer("scale", torch.full((2,), 5.0))
        self.last = nn.Linear(2, 1, bias=False)


def test_flatten_and_named_are_inverse_and_views():
    module = Mixed()
    layout = Layout.of(module)
    vector = layout.flatten(module.state_dict())
    assert vector.shape == (layout.size,) == (3 * 2 + 2 + 2 + 2,)
    named = layout.named(vector)
    assert set(named) == set(module.state_dict())
    for name, tensor in module.state_dict().items():
        assert torch.equal(named[name], tensor)
        assert named[name].untyped_storage().data_ptr() == vector.untyped_storage().data_ptr()
    module.load_state_dict(named)


def test_a_matrix_of_models_is_named_row_by_row():
    layout = Layout.of(Mixed())
    matrix = torch.arange(3.0 * layout.size).view(3, -1)
    named = layout.named(matrix)
    assert named["first.weight"].shape == (3, 2, 3)
    for row in range(3):
        assert torch.equal(named["scale"][row], layout.named(matrix[row])["scale"])


def test_parameters_come_first_and_buffers_are_marked():
    layout = Layout.of(Mixed())
    assert [part.name for part in layout.parts if part.buffer] == ["scale"]
    assert layout.parameters == slice(0, 10)
    assert [s.stop - s.start for s in layout.tensors] == [6, 2, 2]
    assert layout.parts[-1].name == "scale"


def test_what_a_vector_cannot_carry_is_refused():
    integers = Mixed()
    integers.register_buffer("count", torch.zeros(1, dtype=torch.int64))
    with pytest.raises(Refused, match=r"count is torch.int64"):
        Layout.of(integers)
    tied = Mixed()
    tied.again = tied.first
    with pytest.raises(Refused, match=r"shares one tensor between first.weight and again.weight"):
        Layout.of(tied)
    with pytest.raises(Refused, match="float64"):
        Layout.of(Mixed().double())


def test_named_tensors_are_laid_out_in_their_order_as_parameters():
    state = Mixed().state_dict()
    layout = Layout.of_tensors(state)
    assert [part.name for part in layout.parts] == list(state)
    assert layout.parameters == slice(0, layout.size)
    torch.testing.assert_close(layout.named(layout.flatten(state)), dict(state))


def test_named_tensors_that_a_vector_cannot_carry_are_refused():
    with pytest.raises(Refused, match=r"count is torch.int64"):
        Layout.of_tensors({"count": torch.zeros(1, dtype=torch.int64)})
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        with pytest.raises(Refused, match=rf"block.0.{name} is a running statistic.*GroupNorm"):
            Layout.of_tensors({f"block.0.{name}": torch.zeros(1)})


def test_flatten_refuses_other_models():
    layout = Layout.of(Mixed())
    state = Mixed().state_dict()
    with pytest.raises(Refused, match=r"last.weight has shape \(1, 3\); expected \(1, 2\)"):
        layout.flatten({**state, "last.weight": torch.zeros(1, 3)})
    del state["scale"]
    with pytest.raises(Refused, match="scale is missing"):
        layout.flatten(state)
