"""The fingerprint of a model, as a certificate names it."""

import hashlib

from safetensors.torch import save

from fedunlearn.models.layout import Layout, Vector


def model_hash(layout: Layout, weights: Vector) -> str:
    """Return the SHA-256 of the file that `RunFolder.model` writes for ``weights`` [d].

    It is what ``sha256sum models/….safetensors`` prints: anybody can compare without this code.
    """
    return hashlib.sha256(save(layout.saved(weights))).hexdigest()
