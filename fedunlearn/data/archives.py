"""How torchvision keeps its data sets on disk."""

from dataclasses import dataclass
from pathlib import Path

DIGITS = tuple("0123456789")

_FASHION = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)

_CIFAR10 = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


@dataclass(frozen=True, slots=True)
class Archive:
    """How torchvision keeps one data set on disk."""

    reader: str
    """The class in ``torchvision.datasets``."""
    files: tuple[str, ...]
    """What must be there, relative to torchvision's root."""
    classes: tuple[str, ...] | None
    """The name of each label; None where only the files tell."""

    def missing(self, root: Path) -> list[Path]:
        """Return which files are not under ``root``."""
        return [root / file for file in self.files if not (root / file).exists()]


def _idx(name: str) -> tuple[str, ...]:
    return tuple(
        f"{name}/raw/{part}-{kind}-ubyte"
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    )


ARCHIVES = {
    "mnist": Archive("MNIST", _idx("MNIST"), DIGITS),
    "fashion_mnist": Archive(
        "FashionMNIST",
        _idx("FashionMNIST"),
        _FASHION,
    ),
    "cifar10": Archive(
        "CIFAR10",
        tuple(
            f"cifar-10-batches-py/{file}"
            for file in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
        ),
        _CIFAR10,
    ),
    "cifar100": Archive(
        "CIFAR100", tuple(f"cifar-100-python/{file}" for file in ("train", "test", "meta")), None
    ),
}
