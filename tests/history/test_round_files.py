import errno
import gc
import math
import os
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fedunlearn import sealed_files
from fedunlearn.checks import Refused
from fedunlearn.files import DamagedFile, Disk
from fedunlearn.history import Float32, Needs, TopK
from fedunlearn.history.encodings import Float16, Int8
from fedunlearn.history.round_files import open_round, rewrite_without, write
from tests.support.round_files import CLIENTS, ENCODINGS, D, done, parsed


def named(value):
    return getattr(value, "name", None)


def same_bits(one, other):
    return (
        one.dtype == other.dtype and one.shape == other.shape and bytes_of(one) == bytes_of(other)
    )


def bytes_of(tensor):
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rounds" / "round-000007.safetensors"


@pytest.mark.parametrize("encoding", ENCODINGS, ids=named)
@pytest.mark.parametrize("clients", [CLIENTS, (5,), ()])
@pytest.mark.parametrize("model", [True, False])
def test_a_file_answers_as_the_round_does(path, encoding, clients, model):
    one = done(clients=clients, model=model)
    stored = write(path, one, encoding)
    assert stored == open_round(path)
    decoded = encoding.decode(encoding.encode(one.updates.deltas), D)
    expected = replace(one, updates=replace(one.updates, deltas=decoded))
    for leavers in (set(), {3}, {0, 9, 77}, set(CLIENTS)):
        kept, wanted = stored.without(leavers), expected.without(leavers)
        assert kept.clients == kept.updates.clients == wanted.updates.clients
        assert same_bits(kept.updates.deltas, wanted.updates.deltas)
        assert same_bits(kept.updates.examples, wanted.updates.examples)
        assert kept.examples == tuple(wanted.updates.examples.tolist())
        assert torch.equal(kept.share(leavers), torch.zeros(D))
        torch.testing.assert_close(stored.share(leavers), expected.share(leavers))
        assert kept.number == 7
        assert kept.cohort_examples == one.cohort_examples
        assert kept.nbytes == encoding.nbytes(len(kept.clients), D) + 4 * D * model
        if model:
            assert same_bits(kept.before, one.broadcast)
            assert same_bits(kept.broadcast, one.broadcast)
        else:
            assert kept.broadcast is None
            with pytest.raises(LookupError, match="Round 7 keeps no broadcast model"):
                kept.before  # noqa: B018


def test_float32_returns_bit_by_bit(path):
    one = done()
    one.updates.deltas[0, :6] = torch.tensor([-0.0, 1e-45, math.nan, math.inf, -math.inf, 3.4e38])
    one.updates.deltas[1, :2] = torch.tensor([0x7FC00001, -1], dtype=torch.int32).view(
        torch.float32
    )
    one.broadcast[:2] = torch.tensor([math.nan, -0.0])
    write(path, one, Float32())
    assert same_bits(open_round(path).updates.deltas, one.updates.deltas)
    assert same_bits(open_round(path).before, one.broadcast)


@pytest.mark.parametrize("needs", [Needs(updates=True), Needs(models=True)])
@pytest.mark.parametrize("early", [True, False])
def test_what_needs_does_not_name_is_absent_or_hidden(path, needs, early):
    one = done()
    if early:
        one = replace(
            one,
            updates=one.updates if needs.updates else one.updates.hollow,
            broadcast=one.broadcast if needs.models else None,
        )
    write(path, one, Float32())
    stored = open_round(path).reduced(needs)
    assert (stored.has_updates, stored.has_model) == (needs.updates, needs.models)
    assert (stored.broadcast is not None) == needs.models
    assert stored.nbytes == 4 * D * (4 if needs.updates else 1)
    assert stored.clients == stored.updates.clients == CLIENTS
    assert stored.updates.deltas.shape == (4, D if needs.updates else 0)
    assert stored.updates.examples.dtype == torch.int64
    assert stored.reduced(Needs(updates=True, models=True)) == stored


def test_nothing_is_held_and_hiding_reads_nothing(path, monkeypatch):
    stored = write(path, done(), Float32())
    assert not any(isinstance(getattr(stored, f.name), torch.Tensor) for f in fields(stored))
    asked = []
    for name in ("read", "read_rows"):
        real = getattr(sealed_files, name)
        spy = lambda *rest, real=real: asked.append(rest) or real(*rest)  # noqa: E731
        monkeypatch.setattr(sealed_files, name, spy)
    kept = stored.without({3}).only({0, 3, 4}).reduced(Needs(updates=True, models=True))
    assert (kept.clients, kept.rows, kept.nbytes) == ((0, 4), (0, 2), 4 * D * 3)
    assert asked == []
    assert kept.updates.deltas is not kept.updates.deltas
    assert len(asked) == 2
    assert kept.before is not None
    assert len(asked) == 3


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's list of maps")
def test_float32_is_mapped_let_go_and_cannot_be_written_through(path):
    def mapped():
        return str(path) in Path("/proc/self/maps").read_text()

    stored = write(path, done(), Float32())
    before = path.read_bytes()
    gc.collect()
    assert not mapped()
    deltas = stored.updates.deltas
    assert mapped()
    deltas.zero_()
    assert path.read_bytes() == before
    assert stored.updates.deltas.abs().sum() > 0
    del deltas
    gc.collect()
    assert not mapped()


@pytest.mark.parametrize("encoding", ENCODINGS, ids=named)
def test_any_reader_of_safetensors_can_read_it(path, encoding):
    one = done()
    write(path, one, encoding)
    tensors = load_file(path)
    assert tensors.pop("clients").tolist() == list(CLIENTS)
    assert torch.equal(tensors.pop("examples"), one.updates.examples)
    assert torch.equal(tensors.pop("broadcast"), one.broadcast)
    encoded = encoding.encode(one.updates.deltas)
    assert tensors.keys() == {f"updates.{name}" for name in encoded}
    assert all(torch.equal(tensors[f"updates.{name}"], encoded[name]) for name in encoded)
    header, start = parsed(path.read_bytes())
    metadata = header.pop("__metadata__")
    assert len(metadata.pop("checksum")) == 64
    assert metadata == {
        "version": "1",
        "encoding": encoding.name,
        "number": "7",
        "cohort_examples": str(one.cohort_examples),
        "d": str(D),
    }
    widths = {"I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I8": 1}
    for part in header.values():
        assert (start + part["data_offsets"][0]) % widths[part["dtype"]] == 0


def test_updates_that_an_encoding_cannot_hold_are_refused_by_the_client(path):
    one = done()
    one.updates.deltas[2, 0] = 1e6
    with pytest.raises(Refused, match=r"Round 7: the updates of clients \[4\] cannot be stored as"):
        write(path, one, Float16())
    assert not path.parent.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        replace(done(), number=0),
        replace(done(), cohort_examples=3),
        replace(done(), broadcast=torch.ones(D + 1)),
        replace(done(), broadcast=torch.ones(D).double()),
        done(clients=(3, 0)),
        done(clients=(3, 3)),
        done(clients=(-1, 3)),
        replace(done(), updates=replace(done().updates, examples=torch.tensor([1, 2, 3]))),
        replace(done(), updates=replace(done().updates, examples=torch.tensor([1, 2, 3, -4]))),
        replace(done(), updates=replace(done().updates, examples=torch.ones(4))),
        replace(done(), updates=replace(done().updates, deltas=torch.ones(3, D))),
        replace(done(), updates=replace(done().updates, deltas=torch.empty(0, 0))),
    ],
)
def test_what_is_no_round_is_not_written(path, wrong):
    write(path, done(), Float32())
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"clients|model|updates|whose"):
        write(path, wrong, Float32())
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_full_disk_leaves_what_was_there(path, call):
    write(path, done(), Float32())
    before, calls = path.read_bytes(), []

    def fsync(handle):
        calls.append(handle)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(handle)

    with pytest.raises(Refused, match=r"round-000007.*No space left on device"):
        write(path, done(number=8), Float32(), Disk(sync=fsync))
    assert os.listdir(path.parent) == [path.name]
    after = path.read_bytes()
    assert (after == before) == (call < 3)
    assert open_round(path).number == (7 if call < 3 else 8)


def test_a_file_appears_only_when_the_disk_has_all_of_it(path):
    events = []

    def fsync(handle):
        target = os.readlink(f"/proc/self/fd/{handle}")
        events.append((Path(target).name, Path(target).is_file() and Path(target).read_bytes()))
        os.fsync(handle)

    def rename(partial, target):
        events.append("rename")
        partial.replace(target)

    write(path, done(), Float32(), Disk(fsync, rename))
    partial = ".round-000007.safetensors.partial"
    first, second, renamed, folder = events
    assert first[0] == partial
    assert second == (partial, path.read_bytes())
    assert renamed == "rename"
    assert folder[0] == "rounds"


def windows(row):
    """Byte strings of which the stored row consists, long enough not to occur by chance."""
    content = bytes_of(row)
    return [content[start : start + 8] for start in range(0, len(content) - 7, 8)]


def found(folder, row):
    content = b"".join(file.read_bytes() for file in folder.iterdir())
    return sum(window in content for window in windows(row))


@pytest.mark.parametrize("encoding", ENCODINGS, ids=named)
def test_a_purge_leaves_no_byte_of_the_leaver_and_every_bit_of_the_others(path, encoding):
    one = done(d=800)
    stored = write(path, one, encoding)
    parts = [p for n, p in encoding.encode(one.updates.deltas).items() if n not in ("indices",)]
    payload = next(part for part in parts if part.ndim == 2)
    assert all(found(path.parent, payload[row]) == len(windows(payload[row])) for row in range(4))
    kept = rewrite_without(stored, {3, 55})
    assert found(path.parent, payload[1]) == 0
    assert all(found(path.parent, payload[row]) == len(windows(payload[row])) for row in (0, 2, 3))
    assert os.listdir(path.parent) == [path.name]
    assert kept == open_round(path)
    assert (kept.clients, kept.examples, kept.rows) == ((0, 4, 9), (10, 14, 19), (0, 1, 2))
    decoded = encoding.decode(encoding.encode(one.updates.deltas), 800)
    assert same_bits(kept.updates.deltas, decoded[[0, 2, 3]])
    assert same_bits(kept.before, one.broadcast)
    assert (kept.number, kept.cohort_examples) == (7, one.cohort_examples)
    with pytest.raises(DamagedFile, match="changed since it was opened"):
        stored.updates  # noqa: B018
    again = rewrite_without(kept, {0})
    assert same_bits(again.updates.deltas, decoded[[2, 3]])


def test_a_purge_keeps_what_a_view_hides_and_the_view(path):
    stored = write(path, done(), Int8())
    view = stored.without({0}).reduced(Needs(updates=True))
    purged = rewrite_without(view, {3})
    assert (purged.clients, purged.rows) == ((4, 9), (1, 2))
    assert purged.broadcast is None
    assert open_round(path).clients == (0, 4, 9)
    assert same_bits(open_round(path).before, done().broadcast)
    whole = Int8().decode(Int8().encode(done().updates.deltas), D)
    assert same_bits(purged.updates.deltas, whole[[2, 3]])
    hidden = rewrite_without(purged.reduced(Needs(models=True)), {4})
    assert (hidden.clients, hidden.nbytes) == ((9,), 0)
    assert open_round(path).clients == (0, 9)


def test_a_purge_of_all_leaves_the_model(path):
    purged = rewrite_without(write(path, done(), TopK(0.5)), set(CLIENTS))
    assert purged == open_round(path)
    assert purged.updates.deltas.shape == (0, D)
    assert purged.nbytes == 4 * D
    assert same_bits(purged.before, done().broadcast)


def test_a_purge_of_nobody_writes_nothing(path):
    stored = write(path, done(), Float32())
    before = path.stat()
    assert rewrite_without(stored, {1, 2}) == stored
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_purge_does_not_launder_damage(path):
    stored = write(path, done(), Float32())
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match="checksum"):
        rewrite_without(stored, {3})
    assert path.read_bytes() == content


def test_a_purge_that_fails_keeps_the_file(path):
    stored = write(path, done(), Float32())
    before = path.read_bytes()

    def refuse(partial, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(Refused, match="No space left"):
        rewrite_without(stored, {3}, Disk(rename=refuse))
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]
    assert stored.updates.clients == CLIENTS
