"""All random streams apart: by their words, by the code that draws, and in a run as it goes."""

import ast
import io
import sys
from collections import defaultdict
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fedunlearn import randomness
from fedunlearn.data import Blended, Digits, Dirichlet, build_federation
from fedunlearn.evaluators import Forgetting, Utility
from fedunlearn.experiment import Evaluation, Experiment, run
from fedunlearn.local import LocalWork
from fedunlearn.models import Mlp
from fedunlearn.randomness import Stream, drawn_seed, entropy, rng
from fedunlearn.unlearning import Plain, Request, Training
from strategies.fedrecovery import FedRecovery
from strategies.retrain import Retrain
from strategies.sifu import Sifu
from strategies.subtraction import Subtraction

ROOT = Path(__file__).parents[1]
MAKERS = {"default_rng", "SeedSequence", "RandomState", "Generator", "seed", "get_state"}

numbers = st.integers(0, 2**70)
draws = st.tuples(numbers, st.sampled_from(list(Stream)), st.lists(numbers, max_size=5))


@given(draws, draws)
def test_other_arguments_make_other_words(one, other):
    (a, stream_a, more_a), (b, stream_b, more_b) = one, other
    same = (a, stream_a, more_a) == (b, stream_b, more_b)
    assert (entropy(a, stream_a, *more_a) == entropy(b, stream_b, *more_b)) is same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (entropy(3, Stream.PARTITION), entropy(3, Stream.PARTITION, 0)),
        (entropy(3, Stream.SERVER, 1), entropy(3, Stream.SERVER, 1, 0)),
        (entropy(2**32, Stream.CLIENT), entropy(0, Stream.CLIENT, 1)),
        (entropy(0, Stream.CLIENT, 2**32), entropy(0, Stream.CLIENT, 0, 1)),
    ],
)
def test_numpy_fills_short_seeds_with_zeros_and_ours_do_not_meet_for_it(one, other):
    assert np.random.default_rng([3, 4]).random() == np.random.default_rng([3, 4, 0]).random()
    assert np.random.default_rng(one).random() != np.random.default_rng(other).random()


def test_every_pair_of_streams_draws_apart():
    first = {
        (seed, stream, more): rng(seed, stream, *more).random()
        for seed, stream, more in product(
            range(3), Stream, [(), (0,), (1,), (0, 0), (1, 0), (0, 1)]
        )
    }
    assert len(set(first.values())) == len(first)


def test_a_generator_is_a_function_of_its_arguments():
    assert (
        rng(1, Stream.COHORT, 2).random(3).tolist() == rng(1, Stream.COHORT, 2).random(3).tolist()
    )
    seeds = [drawn_seed(1, Stream.REFERENCE, number) for number in range(100)]
    assert seeds == [drawn_seed(1, Stream.REFERENCE, number) for number in range(100)]
    assert len(set(seeds)) == 100
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_numbers_below_zero_are_refused():
    with pytest.raises(ValueError, match="from 0"):
        entropy(-1, Stream.CLIENT)


def drawing(source):
    """Calls that make numpy's random numbers or its global ones."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Attribute)
        and ast.unparse(node.func.value) in ("np.random", "numpy.random")
        and node.func.attr != "get_state"  # which makes none
        and node.func.attr in MAKERS | {name for name in dir(np.random) if name.islower()}
    ]


def test_only_this_file_makes_generators():
    files = [
        f
        for room in ("fedunlearn", "strategies", "simulations")
        for f in (ROOT / room).rglob("*.py")
    ]
    found = {file.relative_to(ROOT).as_posix(): drawing(file.read_text()) for file in files}
    assert len(found) > 150
    assert {file for file, lines in found.items() if lines} == {"fedunlearn/randomness.py"}
    assert drawing("import numpy as np\nnp.random.default_rng(0)\nnp.random.permutation(3)") == [
        2,
        3,
    ]


@pytest.mark.slow
def test_in_a_run_no_two_places_of_the_code_draw_the_same_numbers(tmp_path, monkeypatch):
    callers, real = defaultdict(set), np.random.default_rng

    def spy(words):
        frame = sys._getframe(1)
        while Path(frame.f_code.co_filename) == Path(randomness.__file__):
            frame = frame.f_back
        callers[words].add(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")
        return real(words)

    monkeypatch.setattr(np.random, "default_rng", spy)
    build_federation.cache_clear()
    noisy = Experiment(
        dataset=Digits(),
        partition=Dirichlet(clients=4),
        planting=Blended(),
        model=Mlp((8,)),
        training=Training(rounds=4, cohort=0.5, work=LocalWork(epochs=1)),
        # client 0 is the default leaver: its number must not fall in with a missing one
        requests=(Request(frozenset({0}), 2), Request(frozenset({1}), 4)),
        strategies={"sifu": Sifu(), "fedrecovery": FedRecovery(), "subtraction": Subtraction()},
        reference=Retrain(),
        references=2,
        recovery=Plain(rounds=1),
        evaluation=Evaluation((Utility(), Forgetting())),
    )
    run(noisy, (0, 1), tmp_path, {}, Console(file=io.StringIO()))
    streams = {Stream(words[0]) for words in callers}
    assert streams >= {
        *(Stream.CLIENT, Stream.COHORT, Stream.SERVER, Stream.SERVER_DATA, Stream.RESERVE),
        *(Stream.PARTITION, Stream.HELDOUT, Stream.PLANTING, Stream.TRIGGER),
    }
    for words, places in callers.items():
        meant = {Stream.CLIENT: 2}.get(words[0], 1)  # one by one, and as a cohort
        assert len(places) <= meant, (Stream(words[0]), words, places)
