"""The models that a finished run left behind, read back from its folder."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from fedunlearn.checks import Refused
from fedunlearn.models import Layout, Vector


def saved_model(folder: Path, layout: Layout, seed: int, strategy: str, request: int) -> Vector:
    """Return the model [d] with which a run in ``folder`` ended a request, in host memory.

    Request 0 of strategy ``shared`` is the model before the first one. Raises `Refused` where the
    file is missing or damaged.
    """
    path = folder / "models" / f"seed{seed}-{strategy}-request{request}.safetensors"
    try:
        return layout.flatten(load_file(path))
    except (OSError, SafetensorError) as error:
        raise Refused(f"{path} cannot be read ({error}); the run is not whole.") from error
