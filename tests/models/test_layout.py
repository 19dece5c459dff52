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
    tied = Mixed()
    tied.again = tied.first
    with pytest.raises(Refused, match=r"shares one tensor between first.weight and again.weight"):
        Layout.of(tied)
    with pytest.raises(Refused, match="float64"):
        Layout.of(Mixed().double())


def test_frozen_parameters_and_integers_are_constants_that_only_saved_models_hold():
    module = Mixed()
    module.first.bias.requires_grad_(False)
    module.register_buffer("count", torch.tensor([7]))
    module.register_buffer("wide", torch.ones(2, dtype=torch.float64))
    layout = Layout.of(module)
    assert [part.name for part in layout.parts] == ["first.weight", "last.weight", "scale"]
    assert set(layout.constants) == {"first.bias", "count", "wide"}
    assert layout == Layout(layout.parts)
    vector = layout.flatten(module.state_dict()) + 1
    saved = layout.saved(vector)
    other = Mixed()
    other.register_buffer("count", torch.tensor([0]))
    other.register_buffer("wide", torch.zeros(2, dtype=torch.float64))
    other.load_state_dict(saved)
    assert torch.equal(other.first.bias, module.first.bias)
    assert torch.equal(other.first.weight, module.first.weight + 1)
    assert other.count == 7


def test_named_tensors_are_laid_out_in_their_order_as_parameters():
    state = Mixed().state_dict()
    layout = Layout.of_tensors(state)
    assert [part.name for part in layout.parts] == list(state)
    assert layout.parameters == slice(0, layout.size)
    torch.testing.assert_close(layout.named(layout.flatten(state)), dict(state))


def test_named_tensors_that_a_vector_cannot_carry_are_refused():
    with pytest.raises(Refused, match=r"wave is torch.complex64"):
        Layout.of_tensors({"wave": torch.zeros(1, dtype=torch.complex64)})
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        with pytest.raises(Refused, match=rf"block.0.{name} is a running statistic.*GroupNorm"):
            Layout.of_tensors({f"block.0.{name}": torch.zeros(1)})


def test_named_integers_are_constants():
    layout = Layout.of_tensors({"count": torch.tensor([3]), "wide": torch.ones(2).double()})
    assert [part.name for part in layout.parts] == ["wide"]
    assert layout.constants == {"count": torch.tensor([3])}


def test_flatten_refuses_other_models():
    layout = Layout.of(Mixed())
    state = Mixed().state_dict()
    with pytest.raises(Refused, match=r"last.weight has shape \(1, 3\); expected \(1, 2\)"):
        layout.flatten({**state, "last.weight": torch.zeros(1, 3)})
    del state["scale"]
    with pytest.raises(Refused, match="scale is missing"):
        layout.flatten(state)
