"""How far the model is from one that was retrained without the leavers."""

from dataclasses import dataclass

from fedunlearn.evaluators import comparison
from fedunlearn.evaluators.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Distance:
    """Distances to the retrained model, in weights and in what both say.

    ``weight_distance`` and ``weight_cosine`` are seen from the model before training,
    ``normalised_distance = |w - w_r| / |w_o - w_r|`` from the model w_o before the request, where
    it is known: 1 is where nothing happened. Activation distance, divergence and agreement are
    taken on the leavers' records (``forget_*``) and on test records (``test_*``) separately, since
    a model may be close on the second and still remember the first. Distances and divergences are
    better when lower, cosine and agreement when higher. None of them reaches its best value for a
    retrained model of another seed: compare with that floor.
    """

    def __call__(self, model: Snapshot, retrained: Snapshot | None) -> dict[str, float]:
        """Return the distances, or nothing where there is no retrained model."""
        if retrained is None:
            return {}
        way = (model.weights, retrained.weights, model.initial)
        values = {
            "weight_distance": comparison.weight_distance(*way),
            "weight_cosine": comparison.weight_cosine(*way),
        }
        if model.original is not None:
            way = (model.weights, retrained.weights, model.original.weights)
            values["normalised_distance"] = comparison.weight_distance(*way)
        for compare in (
            comparison.activation_distance,
            comparison.divergence,
            comparison.agreement,
        ):
            for name in ("forget", "test"):
                if model.sets.get(name):
                    value = compare(model.logits(name), retrained.logits(name))
                    values[f"{name}_{compare.__name__}"] = value
        return values
