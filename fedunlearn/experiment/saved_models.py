"""The models that a finished run left behind, read back from its folder."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load

from fedunlearn import files
from fedunlearn.checks import Refused
from fedunlearn.models import Layout, Vector
from fedunlearn.results import (
    Case,
    listed_checksums,
    read_manifest,
    require_checksum,
    require_finished,
)


def saved_model(folder: Path, layout: Layout, case: Case) -> Vector:
    """Return the model [d] with which a run in ``folder`` ended a request, in host memory.

    Request 0 of strategy ``shared`` is the model before the first one. Raises `Refused` where the
    file is missing, is not the one whose SHA-256 the run's manifest lists, or holds another model.
    """
    path = folder / case.model_file
    manifest = read_manifest(folder)
    require_finished(folder, manifest)
    wanted = listed_checksums(folder, manifest).get(case.model_file)
    if wanted is not None:
        require_checksum(path, wanted)
    try:
        return layout.flatten(load(path.read_bytes()))
    except (OSError, SafetensorError, Refused) as error:
        why = files.reason(error)
        raise Refused(f"{path} cannot be read ({why}); the run is not whole.") from error
