import io
import json
import os
import pickle
import random
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

from fedunlearn import sealed_files
from fedunlearn.files import DamagedFile
from fedunlearn.history import Float32
from fedunlearn.history.encodings import Int8
from fedunlearn.history.round_files import open_round, write
from tests.support.round_files import CLIENTS, ENCODINGS, D, done, parsed


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rounds" / "round-000007.safetensors"


def resealed(header, body):
    """Put a file together as one would who knows the format and wants to deceive."""
    header = {**header, "__metadata__": {"checksum": "0" * 64, **header["__metadata__"]}}
    header["__metadata__"]["checksum"] = "0" * 64
    text = json.dumps(header, separators=(",", ":")).encode()
    content = bytearray(len(text).to_bytes(8, "little") + text + body)
    content[sealed_files._DIGITS] = sealed_files._sha256([content])
    return bytes(content)


def refused(path, content):
    path.write_bytes(content)
    with pytest.raises(DamagedFile) as damage:
        open_round(path)
    message = str(damage.value)
    assert message.startswith(f"{path} cannot be used: ")
    assert message.endswith(". Delete it and train again, or bring back an intact copy.")


def flip(rng, content):
    damaged = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return damaged


def truncate(rng, content):
    return content[: rng.randrange(len(content))]


def extend(rng, content):
    return content + rng.randbytes(rng.randint(1, 9))


def lose_a_block(rng, content):
    start = rng.randrange(len(content))
    end = min(len(content), start + rng.randint(1, 64))
    return content[:start] + rng.choice([bytes(end - start), b""]) + content[end:]


def swap_blocks(rng, content):
    size = rng.randint(1, 32)
    one, other = sorted(rng.sample(range(0, len(content) - size, size), 2))
    middle, last = content[one + size : other], content[other + size :]
    return content[:one] + content[other:][:size] + middle + content[one:][:size] + last


def edit_length(rng, content):
    length = rng.choice([0, 1, 8, 200, 2**16, 10**8, 2**32, 2**62, 2**64 - 1, rng.getrandbits(64)])
    return length.to_bytes(8, "little") + content[8:]


def edit_number(rng, content):
    """Change one digit in the header: of a version, a shape, an offset, the round, the sum…"""
    start = parsed(content)[1]
    places = [place for place in range(8, start) if content[place : place + 1].isdigit()]
    damaged = bytearray(content)
    damaged[rng.choice(places)] = rng.choice(b"0123456789")
    return damaged


def edit_header(rng, content):
    header, start = parsed(content)
    metadata = header["__metadata__"]
    name = rng.choice([*metadata, "more"])
    metadata[name] = rng.choice(["", "2", "0", "-1", "1e9", "float16", "int8", "topk-0.5", "é"])
    text = json.dumps(header, separators=(",", ":")).encode()
    return len(text).to_bytes(8, "little") + text + content[start:]


def other_type(rng, content):
    return rng.choice(OTHERS)


def others():
    archive, array, saved = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("round", "7")
    np.save(array, np.arange(9))
    torch.save({"a": torch.ones(3)}, saved)
    nested = b'{"__metadata__":{"checksum":"' + b"0" * 64 + b'","a":' + b"[" * 60_000
    return [
        *(archive.getvalue(), array.getvalue(), saved.getvalue(), pickle.dumps([1, 2])),
        save({"a": torch.ones(3)}),
        save({"a": torch.ones(3)}, metadata={"checksum": "0" * 64, "version": "1"}),
        struct.pack("<Q", len(nested)) + nested,
        *(b"", b"{}", bytes(7), bytes(8), bytes(4096), b"\x89PNG\r\n", "Größe".encode()),
        *(struct.pack("<Q", 2) + b"{}", b"seed,strategy\n0,none\n" * 9),
    ]


OTHERS = others()
DAMAGES = [
    *(flip, truncate, extend, lose_a_block, swap_blocks),
    *(edit_length, edit_number, edit_header, other_type),
]


def damage_files(path, count, seed):
    """Try ``count`` damages of every kind in turn on files of every encoding."""
    rng = random.Random(seed)
    originals = []
    for encoding in ENCODINGS:
        write(path, done(model=rng.random() < 0.5), encoding)
        originals.append(path.read_bytes())
    tried = 0
    while tried < count:
        original = rng.choice(originals)
        damaged = DAMAGES[tried % len(DAMAGES)](rng, original)
        if damaged != original:
            refused(path, damaged)
            tried += 1
    for original in originals:
        path.write_bytes(original)
        assert open_round(path).clients == CLIENTS


def test_every_damage_is_refused_by_name(path):
    damage_files(path, 450, seed=1)


@pytest.mark.slow
def test_ten_thousand_damages_are_refused_by_name(path):
    damage_files(path, 10_000, seed=2)


def test_every_single_bit_counts(path):
    write(path, done(clients=(4,), d=3), Int8())
    original = path.read_bytes()
    for place in range(len(original)):
        damaged = bytearray(original)
        damaged[place] ^= 1 << (place % 8)
        refused(path, damaged)


def test_every_length_is_too_short(path):
    write(path, done(clients=(4,), d=3), Int8())
    original = path.read_bytes()
    for length in range(len(original)):
        refused(path, original[:length])


ODD = [0, 1, -1, 2, 3, 4, 5, 36, 38, 2**31, 2**31 - 1, 2**32, 2**62, 2**63, 2**64 - 1, 2**64, 1.5]


def deceive(rng, content):
    """Change what a file says of itself, with a checksum that fits."""
    header, start = parsed(content)
    body = bytearray(content[start:])
    for _ in range(rng.choice([1, 1, 2, 3])):
        names = [name for name in header if name != "__metadata__"]
        part = rng.choice(names)
        about = header[part]
        kind = rng.randrange(8)
        if kind == 0:
            shape = about["shape"]
            shape[rng.randrange(len(shape)) if shape else 0 :] = [rng.choice(ODD)]
        elif kind == 1:
            about["shape"] = rng.choice([[], [0], [2**62, 0], [0, 2**63 - 1], [1] * 9, [4, D, 1]])
        elif kind == 2:
            about["data_offsets"][rng.randrange(2)] = rng.choice(ODD)
        elif kind == 3:
            about["dtype"] = rng.choice(["F64", "I8", "F32", "BOOL", "C64", "F8_E4M3", "F4", "??"])
        elif kind == 4:
            header[rng.choice(["updates.more", "more", "broadcast", "clients"])] = header.pop(part)
        elif kind == 5:
            del header[part]
        elif kind == 6 and body:
            body[rng.randrange(len(body))] = rng.choice([0, 1, 127, 128, 255])
        else:
            metadata = header["__metadata__"]
            name = rng.choice([name for name in metadata if name != "checksum"] or ["version"])
            metadata[name] = rng.choice([*map(str, ODD), "", "topk-1e-12", "int8", "float32", 7])
        if len(header) == 1:
            break
    return resealed(header, bytes(body))


def deceive_files(path, count, seed):
    rng = random.Random(seed)
    loaded, originals = 0, []
    for encoding in ENCODINGS:
        write(path, done(), encoding)
        originals.append(path.read_bytes())
    for original in rng.choices(originals, k=count):
        path.write_bytes(deceive(rng, original))
        try:
            stored = open_round(path)
        except DamagedFile as damage:
            assert str(path) in str(damage)  # noqa: PT017
            continue
        loaded += 1
        sent = stored.updates
        assert sent.deltas.shape == ((len(sent.clients), stored.d) if sent.clients else (0, 0))
        assert sorted(set(sent.clients)) == list(sent.clients)
        assert stored.broadcast is None or stored.before.shape == (stored.d,)
        assert stored.number >= 1
        assert sum(stored.examples) <= stored.cohort_examples
    assert 0 < loaded < count / 2


def test_a_forged_file_is_refused_or_is_a_round(path):
    deceive_files(path, 400, seed=3)


@pytest.mark.slow
def test_ten_thousand_forged_files_are_refused_or_are_rounds(path):
    deceive_files(path, 10_000, seed=4)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"version": "2"}, r"its format is not 1"),
        ({"encoding": "flot32"}, r"did you mean float32"),
        ({"encoding": "bfloat16"}, r"not stored as bfloat16"),
        ({"number": "0"}, r"not those of a round"),
        ({"number": "-7"}, r"lacks the numbers"),
        ({"number": "\u0667"}, r"lacks the numbers"),
        ({"number": "9" * 5000}, r"lacks the numbers"),
        ({"cohort_examples": "55"}, r"not those of a round"),
        ({"d": "36"}, r"its model is not 36 numbers"),
        ({"more": "1"}, r"lacks the numbers"),
    ],
)
def test_a_forged_number_is_refused(path, metadata, reason):
    write(path, done(), Float32())
    header, start = parsed(path.read_bytes())
    body = path.read_bytes()[start:]
    path.write_bytes(resealed(header, body))
    assert open_round(path).number == 7
    header["__metadata__"] |= metadata
    path.write_bytes(resealed(header, body))
    with pytest.raises(DamagedFile, match=reason):
        open_round(path)


@pytest.mark.parametrize("name", ["values", "more", "broadcast.values", "Updates.values"])
def test_a_tensor_under_another_name_is_refused(path, name):
    write(path, done(), Float32())
    header, start = parsed(path.read_bytes())
    body = path.read_bytes()[start:]
    header[name] = header.pop("updates.values")
    path.write_bytes(resealed(header, body))
    with pytest.raises(DamagedFile, match="tensors that a round does not have"):
        open_round(path)


@pytest.mark.parametrize("length", [2**16 + 1, 10**8, 2**32, 2**62, 2**64 - 1])
def test_a_header_that_claims_much_costs_nothing(path, length):
    write(path, done(), Float32())
    content = length.to_bytes(8, "little") + path.read_bytes()[8:]
    path.write_bytes(content)
    os.truncate(path, 2**34)
    tracemalloc.start()
    try:
        with pytest.raises(DamagedFile, match="no file of a history"):
            open_round(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_what_is_no_file_is_refused_at_once(path):
    path.mkdir(parents=True)
    link, pipe = path.parent / "link", path.parent / "pipe"
    link.symlink_to("/dev/zero")
    os.mkfifo(pipe)
    for odd in (path, link, pipe, path.parent / "absent"):
        with pytest.raises(DamagedFile, match=f"{odd} cannot be used: there is no such file"):
            open_round(odd)


@pytest.mark.parametrize("how", ["truncate", "overwrite", "replace", "unlink"])
def test_a_file_that_changes_after_it_was_opened_is_not_read(path, how):
    stored = write(path, done(), Float32())
    content = path.read_bytes()
    if how == "truncate":
        os.truncate(path, 400)
    elif how == "overwrite":
        with path.open("r+b") as stream:
            stream.seek(-4, os.SEEK_END)
            stream.write(bytes(4))
        os.utime(path, ns=(0, stored.stamp.modified_ns + 1))
    elif how == "replace":
        other = path.with_name("other")
        other.write_bytes(content)
        os.utime(other, ns=(0, stored.stamp.modified_ns))
        other.replace(path)
    else:
        path.unlink()
    for read in (lambda: stored.updates, lambda: stored.before, lambda: stored.share({0})):
        with pytest.raises(DamagedFile, match=r"round-000007.*(changed|No such file)"):
            read()


def test_a_plain_file_of_tensors_is_no_round(path):
    path.parent.mkdir()
    save_file({"a": torch.ones(3)}, path)
    with pytest.raises(DamagedFile, match="no file of a history"):
        open_round(path)
