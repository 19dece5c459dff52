"""torchvision's nets by name, never with weights of its own: nothing is downloaded."""

import difflib
from functools import cache
from typing import Any

from fedunlearn.checks import Refused

UNFIT = {
    "inception_v3": "it returns two sets of logits in training and wants images of 299x299",
    "googlenet": "it returns three sets of logits in training",
    "maxvit_t": "it wants images of 224x224",
}
"""Names that torchvision has and no federation can use, and why."""


@cache
def names() -> tuple[str, ...]:
    """Return the names of torchvision's classifiers of images that can be had."""
    from torchvision import models

    return tuple(name for name in models.list_models(module=models) if name not in UNFIT)


def require_name(name: str, key: str) -> None:
    """Raise `Refused` unless ``name`` is one of `names`; ``key`` is what was set to it."""
    if name in names():
        return
    if name in UNFIT:
        raise Refused(f"{key}={name} cannot be trained here: {UNFIT[name]}. Set {key}=resnet18.")
    close = difflib.get_close_matches(name, names(), n=3, cutoff=0.5)
    said = f"did you mean {' or '.join(close)}?" if close else "it has resnet18, mobilenet_v2, …"
    raise Refused(
        f"{key}={name} is none of the {len(names())} classifiers of images in torchvision; {said}"
    )


def untrained(name: str, classes: int, size: int) -> Any:
    """Return the net called ``name`` with fresh weights; ``size`` is the height of its images."""
    from torchvision import models

    builder = models.get_model_builder(name)
    options: dict[str, int] = {"num_classes": classes}
    if name.startswith("vit_"):  # it has a table of places
        options["image_size"] = size
    return builder(weights=None, **options)
