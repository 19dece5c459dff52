from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedunlearn.checks import Refused
from fedunlearn.history import Float32, TopK, Unencodable, encodings
from fedunlearn.history.encodings import BFloat16, Float16, Int8, check, of, relative_error, select

LOSSY = [BFloat16(), Float16(), Int8(), TopK(0.1), TopK(1.0)]
ALL = [Float32(), *LOSSY]
INF, NAN = float("inf"), float("nan")


def updates(k=5, d=301, spread=4, seed=0):
    """Rows whose sizes span ``2 spread`` decades, as those of layers and clients do."""
    drawn = torch.Generator().manual_seed(seed)
    sizes = 10 ** (spread * (2 * torch.rand(k, 1, generator=drawn) - 1))
    return torch.randn(k, d, generator=drawn) * sizes


def through(encoding, deltas):
    return encoding.decode(encoding.encode(deltas), deltas.shape[1])


def named(encoding):
    return getattr(encoding, "name", None)


@pytest.mark.parametrize("encoding", ALL, ids=named)
@pytest.mark.parametrize("k", [0, 1, 5])
@pytest.mark.parametrize("d", [1, 7, 301])
def test_what_is_stored_has_a_row_a_client_and_the_bytes_of_the_formula(encoding, k, d):
    deltas = updates(k, d)
    stored = encoding.encode(deltas)
    assert all(len(tensor) == k for tensor in stored.values())
    assert sum(tensor.nbytes for tensor in stored.values()) == encoding.nbytes(k, d)
    check(encoding, stored, k, d)
    decoded = encoding.decode(stored, d)
    assert decoded.shape == (k, d)
    assert decoded.dtype == torch.float32


def test_bytes_in_numbers():
    sizes = {encoding.name: encoding.nbytes(10, 62_006) for encoding in ALL}
    assert sizes == {
        "float32": 2_480_240,
        "bfloat16": 1_240_120,
        "float16": 1_240_120,
        "int8": 620_100,
        "topk-0.1": 10 * 8 * 6_201,
        "topk-1.0": 10 * 8 * 62_006,
    }


@pytest.mark.parametrize("encoding", ALL, ids=named)
@pytest.mark.parametrize("rows", [[], [2], [0, 3, 4], [0, 1, 2, 3, 4]])
def test_choosing_rows_commutes_with_encoding(encoding, rows):
    deltas = updates()
    chosen = select(encoding.encode(deltas), rows)
    again = encoding.encode(deltas[rows])
    assert chosen.keys() == again.keys()
    assert all(torch.equal(chosen[name], again[name]) for name in chosen)
    assert torch.equal(encoding.decode(chosen, 301), through(encoding, deltas)[rows])


@pytest.mark.parametrize("encoding", ALL, ids=named)
def test_rows_of_zeros_stay_zero_and_do_not_touch_the_others(encoding):
    deltas = updates()
    before = through(encoding, deltas)
    deltas[[1, 3]] = 0.0
    decoded = through(encoding, deltas)
    assert torch.equal(decoded[[1, 3]], torch.zeros(2, 301))
    assert torch.equal(decoded[[0, 2, 4]], before[[0, 2, 4]])
    assert decoded[[0, 2, 4]].abs().min(dim=0).values.max() > 0


@pytest.mark.parametrize("encoding", ALL, ids=named)
def test_encoding_what_was_decoded_loses_nothing_more(encoding):
    once = through(encoding, updates())
    assert torch.allclose(through(encoding, once), once, rtol=3e-7, atol=0)


@pytest.mark.parametrize("encoding", LOSSY, ids=named)
def test_encoding_leaves_the_updates_as_they_are(encoding):
    deltas = updates()
    kept = deltas.clone()
    through(encoding, deltas)
    assert torch.equal(deltas, kept)


def test_float32_keeps_every_bit_without_a_copy():
    deltas = torch.tensor([[0.0, -0.0, 1e-45, NAN, INF, -INF, 3.4e38]])
    bits = torch.tensor([[0x7FC00001, -1, 0x7F800001]], dtype=torch.int32).view(torch.float32)
    for matrix in (deltas, bits):
        decoded = through(Float32(), matrix)
        assert torch.equal(decoded.view(torch.int32), matrix.view(torch.int32))
        assert decoded.data_ptr() == matrix.data_ptr()


@pytest.mark.parametrize(("encoding", "bits"), [(BFloat16(), 8), (Float16(), 11)], ids=named)
def test_half_floats_are_within_their_rounding_of_each_coordinate(encoding, bits):
    deltas = updates(8, 5000).clamp(-65504, 65504)
    normal = deltas.abs() >= 2**-14
    off = ((through(encoding, deltas).double() - deltas) / deltas.double()).abs()
    assert normal.sum() > 10_000
    assert 0.9 * 2**-bits < off[normal].max() <= 2**-bits


def test_float16_has_an_absolute_error_below_its_normal_range():
    deltas = updates(4, 5000) % 2**-14
    off = (through(Float16(), deltas).double() - deltas).abs()
    assert 0.9 * 2**-25 < off.max() <= 2**-25
    assert relative_error(Float16(), torch.full((1, 3), 2.0**-26)) == 1.0


@given(st.integers(0, 10**6), st.sampled_from([1e-44, 1e-38, 1e-20, 1.0, 1e30, 3e38]))
@settings(max_examples=60, deadline=None)
def test_int8_is_within_half_a_step(seed, size):
    drawn = torch.Generator().manual_seed(seed)
    deltas = (2 * torch.rand(3, 50, generator=drawn) - 1) * size
    stored = Int8().encode(deltas)
    step = stored["scales"].double()[:, None]
    off = (Int8().decode(stored, 50).double() - deltas.double()).abs()
    assert (off <= step * (0.5 + 127 * 2**-23)).all()
    peaks = deltas.abs().amax(dim=1).double()
    assert torch.allclose(step[:, 0], (peaks / 127).clamp_min(2**-126), rtol=1e-6, atol=0)


def test_int8_uses_its_whole_range_on_both_sides():
    stored = Int8().encode(torch.tensor([[-2.54, 2.54, 0.02, 0.0099], [0.0, 3.0, -1.5, 0.0]]))
    assert stored["codes"].tolist() == [[-127, 127, 1, 0], [0, 127, -64, 0]]
    assert torch.allclose(stored["scales"], torch.tensor([0.02, 3 / 127]))


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 1.0])
def test_top_k_keeps_exactly_the_largest_and_no_choice_is_nearer(share):
    deltas = updates(6, 401)
    decoded = through(TopK(share), deltas)
    kept = TopK(share).count(401)
    chosen = decoded != 0
    assert (chosen.sum(dim=1) == kept).all()
    assert torch.equal(decoded[chosen], deltas[chosen])
    ascending = deltas.abs().sort(dim=1).values.double()
    least = ascending[:, : 401 - kept].square().sum(dim=1)
    off = (decoded.double() - deltas.double()).square().sum(dim=1)
    torch.testing.assert_close(off, least, rtol=1e-12, atol=0)
    whole = ascending.square().sum()
    assert relative_error(TopK(share), deltas) == pytest.approx(float(least.sum() / whole) ** 0.5)


def test_top_k_of_equal_values_still_keeps_as_many():
    stored = TopK(0.3).encode(torch.ones(3, 10))
    check(TopK(0.3), stored, 3, 10)
    assert (TopK(0.3).decode(stored, 10).sum(dim=1) == 3).all()


@pytest.mark.parametrize(
    ("share", "d", "kept"), [(0.07, 100, 7), (0.1, 30, 3), (0.1, 31, 4), (1e-9, 5, 1), (1, 9, 9)]
)
def test_top_k_rounds_its_share_up_as_it_is_written(share, d, kept):
    assert TopK(share).count(d) == kept
    assert TopK(share).nbytes(3, d) == 24 * kept
    assert kept >= Fraction(str(share)) * d


@pytest.mark.parametrize("encoding", LOSSY, ids=named)
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_only_float32_takes_what_is_not_finite(encoding, bad):
    deltas = updates()
    deltas[1, 7] = deltas[4, 300] = bad
    with pytest.raises(Unencodable, match=rf"Rows \[1, 4\].*{encoding.name}.*finite") as refusal:
        encoding.encode(deltas)
    assert refusal.value.rows == (1, 4)


@pytest.mark.parametrize(
    ("encoding", "fits", "beyond"),
    [(Float16(), 65504.0, 65505.0), (BFloat16(), 3.3895e38, 3.4e38)],
    ids=named,
)
@pytest.mark.parametrize("sign", [1, -1])
def test_an_overflow_is_refused_and_not_clipped(encoding, fits, beyond, sign):
    assert through(encoding, torch.tensor([[sign * fits]])).isfinite().all()
    with pytest.raises(Unencodable, match=r"Rows \[1\]"):
        encoding.encode(torch.tensor([[0.0], [sign * beyond]]))


@pytest.mark.parametrize("encoding", ALL, ids=named)
@pytest.mark.parametrize(
    "wrong", [torch.ones(3), torch.ones(2, 3).double(), torch.ones(2, 0), torch.ones(1, 2, 3)]
)
def test_what_are_no_updates_is_refused(encoding, wrong):
    with pytest.raises(ValueError, match=r"\[k, d\] float32, not"):
        encoding.encode(wrong)


def test_relative_errors_are_ordered_as_the_bytes_are():
    deltas = updates(4, 3000, spread=0)
    errors = [relative_error(encoding, deltas) for encoding in (Float32(), *LOSSY)]
    exact, brain, half, int8, tenth, everything = errors
    assert exact == everything == 0.0
    assert 0 < half < 2**-11 < brain < 2**-8 < int8 < 0.02 < 0.5 < tenth < 0.9
    assert relative_error(Int8(), torch.zeros(2, 3)) == 0.0
    assert relative_error(TopK(0.5), torch.tensor([[3e38, 0.0], [0.0, 4.0]])) == 0.0
    assert relative_error(TopK(0.5), torch.tensor([[4e30, 3e30]])) == pytest.approx(0.6)


@pytest.mark.parametrize("encoding", [*ALL, TopK(1e-5), TopK(1)], ids=named)
def test_a_name_leads_back_to_the_encoding(encoding):
    assert of(encoding.name) == encoding
    assert type(of(encoding.name)) is type(encoding)


@pytest.mark.parametrize("name", ["flot32", "", "topk", "topk-", "topk-nan", "topk-0", "topk-1.5"])
def test_a_name_that_nothing_has_is_refused(name):
    with pytest.raises(Refused, match=r"float32|no encoding"):
        of(name)


@pytest.mark.parametrize("share", [0, -0.1, 1.01, NAN, True, "0.1"])
def test_a_share_is_above_zero_and_at_most_one(share):
    with pytest.raises(Refused, match="share must be a number"):
        TopK(share)


def spoilt(encoding, **parts):
    return {**encoding.encode(updates(3, 40)), **parts}


@pytest.mark.parametrize(
    ("encoding", "stored", "reason"),
    [
        (Float32(), {}, "not stored as float32"),
        (Float32(), spoilt(Float32(), more=torch.ones(3)), "not stored as float32"),
        (Float32(), {"values": torch.ones(3, 39)}, "not stored as float32"),
        (Float32(), {"values": torch.ones(2, 40)}, "not stored as float32"),
        (Float32(), {"values": torch.ones(3, 40).half()}, "not stored as float32"),
        (Float16(), {"values": torch.ones(3, 40).bfloat16()}, "not stored as float16"),
        (Int8(), spoilt(Int8(), scales=torch.ones(3, 1)), "not stored as int8"),
        (Int8(), spoilt(Int8(), scales=torch.tensor([1, 0, 1.0])), "not a positive"),
        (Int8(), spoilt(Int8(), scales=torch.tensor([1, -1, 1.0])), "not a positive"),
        (Int8(), spoilt(Int8(), scales=torch.tensor([1, NAN, 1.0])), "not a positive"),
        (Int8(), spoilt(Int8(), scales=torch.tensor([1, INF, 1.0])), "not a positive"),
    ],
)
def test_what_is_not_stored_so_is_named(encoding, stored, reason):
    with pytest.raises(ValueError, match=reason):
        check(encoding, stored, 3, 40)


@pytest.mark.parametrize("places", [[0, 1, 2, 40], [-1, 1, 2, 3], [0, 2, 2, 3], [3, 2, 1, 0]])
def test_places_lie_in_the_update_and_are_different(places):
    good = TopK(0.1).encode(updates(2, 40))
    check(TopK(0.1), good, 2, 40)
    good["indices"][1] = torch.tensor(places, dtype=torch.int32)
    with pytest.raises(ValueError, match="places that an update does not have"):
        check(TopK(0.1), good, 2, 40)
    with pytest.raises(ValueError, match=r"not stored as topk-0\.2"):
        check(TopK(0.2), good, 2, 40)


def test_no_encoding_is_missing_from_these_tests():
    assert set(encodings.SIMPLE.values()) | {TopK(0.1)} == {*ALL} - {TopK(1.0)}
