"""A comparison with the default evaluators, killed at every stage of every seed, ends the same."""

import numpy as np
import pytest

from benchmarks import kills
from benchmarks.killed_runs import Kill

STAGES = {"training", "references", "strategies", "measuring", "checkpoints", "purge and audit"}
ENDING = {"answers", "certificates", "opening and closing", "the command"}


@pytest.mark.slow
def test_a_kill_at_every_stage_of_every_seed_changes_no_byte(tmp_path):
    folder = tmp_path / "case"
    whole = kills.undisturbed("two seeds", folder)
    by_place = {}
    for number, event, place in whole.places:
        by_place.setdefault(place, []).append((number, event))
    wanted = {(seed, stage) for seed in (0, 1) for stage in STAGES}
    assert by_place.keys() >= wanted | {(None, stage) for stage in ENDING}
    rng, met = np.random.default_rng(2026), set()
    for place, events in by_place.items():
        # threads write as they come, so that an event may have another number
        for number, event in rng.permutation(events)[:3].tolist():
            met |= set(kills.disturbed(kills.Plan("two seeds", number, [Kill(event)]), folder))
            assert kills.differing(kills.contents(folder), whole.files) == []
            if place in met:
                break
    assert met >= wanted
