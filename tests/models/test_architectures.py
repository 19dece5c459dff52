"""The nets of the FedAvg paper and with GroupNorm: sizes, and that images do not see each other."""

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.models import GroupNormCnn, McMahanCnn, Network


@pytest.mark.parametrize(
    ("build", "shape", "size"),
    [
        (McMahanCnn(), (1, 28, 28), 1_663_370),
        (GroupNormCnn(), (3, 32, 32), 19_546),
        (GroupNormCnn((8,), 4), (1, 8, 8), 9 * 8 + 2 * 8 + (8 * 16 + 1) * 10),
    ],
)
def test_sizes(build, shape, size):
    assert Network(build, shape, 10).layout.size == size


@pytest.mark.parametrize("build", [McMahanCnn(), GroupNormCnn()])
def test_an_image_s_logits_do_not_depend_on_the_images_beside_it(build):
    network = Network(build, (3, 32, 32), 10)
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    weights = network.initial(1)
    together = network(weights, images)
    alone = torch.cat([network(weights, image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert together.std(dim=0).min() > 0


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: GroupNormCnn((16, 12), 8), "12 is no multiple"),
        (lambda: GroupNormCnn((0,)), r"GroupNormCnn\.channels\[0\]"),
        (lambda: GroupNormCnn((16,), 0), r"GroupNormCnn\.groups"),
        (lambda: Network(GroupNormCnn((8,) * 4), (1, 8, 8), 10), "4 blocks, each of which halves"),
    ],
)
def test_misfits_are_refused(make, sentence):
    with pytest.raises(Refused, match=sentence):
        make()
