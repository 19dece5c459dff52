"""The models that a finished run left behind, read back from its folder."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from fedunlearn.checks import Refused
from fedunlearn.models import Layout, Vector
from fedunlearn.results import Case


def saved_model(folder: Path, layout: Layout, case: Case) -> Vector:
    """Return the model [d] with which a run in ``folder`` ended a request, in host memory.

    Request 0 of strategy ``shared`` is the model before the first one. Raises `Refused` where the
    file is missing or damaged.
    """
    path = folder / case.model_file
    try:
        return layout.flatten(load_file(path))
    except (OSError, SafetensorError) as error:
        raise Refused(f"{path} cannot be read ({error}); the run is not whole.") from error
