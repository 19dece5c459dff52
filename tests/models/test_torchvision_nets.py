"""torchvision's nets by name: built without a download, with GroupNorm, or refused."""

import pytest
import torch
from torch import nn

from fedunlearn.checks import Refused
from fedunlearn.models import Network, ResNet18, TorchvisionNet
from fedunlearn.models.torchvision_names import UNFIT, names

NAMES = ["resnet34", "mobilenet_v3_small", "shufflenet_v2_x0_5", "mnasnet0_5", "regnet_x_400mf"]


@pytest.mark.parametrize("name", NAMES)
def test_they_see_small_images_of_any_depth_one_at_a_time(name):
    network = Network(TorchvisionNet(name), (1, 32, 32), 7)
    images = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    weights = network.initial(1)
    logits = network(weights, images)
    assert logits.shape == (3, 7)
    alone = torch.cat([network(weights, image[None]) for image in images])
    torch.testing.assert_close(logits, alone, rtol=1e-4, atol=1e-5)
    assert not any(part.buffer for part in network.layout.parts)


def test_resnet18_by_name_is_the_one_that_ships():
    named, ships = TorchvisionNet("resnet18"), ResNet18()
    for shape in ((3, 32, 32), (3, 64, 64), (1, 28, 28)):
        one, other = Network(named, shape, 10), Network(ships, shape, 10)
        assert one.layout == other.layout
    images = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(one(one.initial(0), images), other(one.initial(0), images))


def test_a_stem_of_its_own_halves_twice_and_a_small_one_not_at_all():
    for stem, side in (("own", 1), ("small", 4)):
        net = TorchvisionNet("resnet18", stem=stem)((3, 32, 32), 10)
        assert (
            net.layer4(
                net.layer3(
                    net.layer2(
                        net.layer1(
                            net.maxpool(net.relu(net.bn1(net.conv1(torch.zeros(1, 3, 32, 32)))))
                        )
                    )
                )
            ).shape[-1]
            == side
        )


def test_groups_divide_every_width_and_the_change_is_said_once(caplog):
    with caplog.at_level("INFO", "fedunlearn"):
        nets = [TorchvisionNet("mobilenet_v2", groups=16)((3, 32, 32), 10) for _ in range(2)]
    norms = [layer for layer in nets[0].modules() if isinstance(layer, nn.GroupNorm)]
    assert {norm.num_channels % norm.num_groups for norm in norms} == {0}
    assert f"All {len(norms)} BatchNorm layers of mobilenet_v2 became GroupNorm" in caplog.text
    assert len(caplog.records) <= 1


@pytest.mark.parametrize("name", UNFIT)
def test_nets_that_fit_no_federation_say_why(name):
    with pytest.raises(Refused, match=f"model.name={name} cannot be trained here: it "):
        TorchvisionNet(name)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("resnet35", r"model.name=resnet35 is none of the \d+ classifiers .* did you mean resnet"),
        ("fcn_resnet50", "is none of the"),
        ("raft_small", "is none of the"),
        ("zzz", "it has resnet18, mobilenet_v2, …"),
    ],
)
def test_other_names_are_refused_with_those_nearby(name, sentence):
    with pytest.raises(Refused, match=sentence):
        TorchvisionNet(name)


def test_names_are_classifiers_alone():
    assert {"resnet18", "vit_b_16", "convnext_tiny"} <= set(names())
    assert not any("rcnn" in name or "quantized" in name for name in names())
