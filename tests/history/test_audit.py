import base64
import collections
import copy
import functools
import io
import json
import mmap
import types
from array import array
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from fedunlearn.history import (
    History,
    InMemory,
    OnDisk,
    Round,
    Updates,
    encodings,
    opened,
    purged,
    to_purge,
)
from fedunlearn.history.audit import audit, files_of, taken
from fedunlearn.history.audit import files as files_module
from fedunlearn.history.audit import search as auditing
from fedunlearn.history.audit.files import search_files
from fedunlearn.history.audit.patterns import SHORTEST, Patterns
from fedunlearn.history.audit.windows import BITS, windows
from fedunlearn.history.audit.writings import transposed
from fedunlearn.models import Layout
from fedunlearn.unlearning import FedAdam, FedAvg, FedAvgM, FedYogi
from tests.support.slow import slowly

D = 900
LEAVER = 2
ENCODINGS = ["float32", "bfloat16", "float16", "int8", "topk-0.1"]


def federation(seed=0, clients=(0, 1, 2, 3), rounds=5, record=None, models=True):
    """Random rounds with a region that nobody moves, as dead pixels give."""
    drawn = torch.Generator().manual_seed(seed)
    initial = weights = torch.randn(D, generator=drawn) / 10
    layout = Layout.of_tensors({"v": torch.zeros(60), "w": torch.zeros(20, 42)})
    history = History(
        layout, initial, initial, record=record or History(layout, initial, initial).record
    )
    for number in range(1, rounds + 1):
        common = torch.randn(D, generator=drawn) / 100
        deltas = common + torch.randn(len(clients), D, generator=drawn) / 100
        deltas[:, 300:500] = 0
        sent = Updates(clients, deltas, torch.full((len(clients),), 10))
        done = Round(number, sent, 10 * len(clients), weights if models else None)
        weights = weights + deltas.mean(0)
        history = replace(history, final=weights, rounds=(*history.rounds, history.record(done)))
    return history


def records(seed=0, n=40):
    return (
        torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed)).mul(16).round() / 16
    )


TAKEN = {}
"""Fingerprints by encoding: they take long next to what is tested."""


class Purged:
    """A history that a leaver was purged from, in a run's folder, with its fingerprints."""

    def __init__(self, folder, name=None):
        self.folder, self.stored = folder, folder / "history/seed0/training"
        folder.mkdir(exist_ok=True, parents=True)
        store = OnDisk(encoding=name) if name else InMemory()
        with opened(store, self.stored, 1) as record:
            before = federation(record=record)
            files_of(before.rounds)
        self.memory = federation()
        self.old_files = {path: path.read_bytes() for path in sorted(files_of(before.rounds))}
        if name not in TAKEN:
            TAKEN[name] = taken(before, {LEAVER}, {LEAVER: records()})
        self.fingerprints = TAKEN[name]
        after = before.without({LEAVER})
        self.history = purged(after, to_purge(after, {LEAVER}, folder))
        (folder / "metrics.csv").write_text("round,loss\n1,0.25\n2,0.125\n")
        (folder / "empty").touch()

    def delta(self, number=3):
        kept = self.memory.rounds[number - 1]
        return kept.updates.deltas[kept.clients.index(LEAVER)]

    def audit(self, more=(), **named):
        roots = {"history": self.history, **dict(more)}
        return audit(self.folder, self.fingerprints, files_of(self.history.rounds), roots, **named)


@pytest.fixture
def run(tmp_path):
    return Purged(tmp_path / "run")


@pytest.fixture
def on_disk(tmp_path):
    return Purged(tmp_path / "run", "float32")


def content(tensor):
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def only(result):
    assert not result.clean
    (finding,) = result.findings
    return finding


def channels(result):
    return {finding.channel for finding in result.findings}


@pytest.mark.parametrize("name", [None, *ENCODINGS, "topk-0.5"])
def test_after_a_purge_nothing_is_found_and_before_it_all_is(tmp_path, name):
    run = Purged(tmp_path / "run", name)
    clean = run.audit()
    assert clean.findings == ()
    assert clean.clean
    assert clean.blank == ()
    assert clean.objects > 5
    files = [path for path in run.folder.rglob("*") if path.is_file()]
    assert (clean.files, clean.bytes) == (len(files), sum(path.stat().st_size for path in files))
    assert clean.files == (7 if name else 2)

    for path, old in run.old_files.items():
        path.write_bytes(old)
    stale = run.audit({"before": run.memory} if name is None else {})
    places = {finding.where: finding for finding in stale.findings}
    if name is None:
        assert set(places) == {f"before.rounds[{n}].updates.deltas" for n in range(5)}
    else:
        assert set(places) == {str(path) for path in run.old_files}
        assert len(stale.findings) == 10  # each by its bytes and by its list of clients
        assert channels(stale) == {"stored update"}
        path = min(run.old_files)
        assert any(
            f.what.startswith(f"{path} still holds the update of client 2 from round 1 (")
            and name in f.what
            for f in stale.findings
        )
        assert any(f.what == f"{path} still lists client 2." for f in stale.findings)


def test_the_audit_does_not_take_others_for_the_leaver(tmp_path):
    """1,000 updates of others, written in every encoding: a false alarm shows here."""
    run = Purged(tmp_path / "run")
    for seed in range(1, 51):
        history = federation(seed, clients=(0, 1, 2, 3))
        parts = [
            content(part)
            for kept in history.rounds
            for name in ENCODINGS
            for part in encodings.of(name).encode(kept.updates.deltas).values()
        ]
        (run.folder / f"{seed}.bin").write_bytes(b"".join(parts))
    own = run.memory.without({LEAVER})
    with (run.folder / "own.bin").open("wb") as stream:
        for kept in own.rounds:
            for name in ENCODINGS:
                parts = encodings.of(name).encode(kept.updates.deltas)
                stream.writelines(content(part) for part in parts.values())
            stream.write(content(kept.before))
            stream.write(content(kept.updates.deltas + kept.before))
    (run.folder / "others.bin").write_bytes(content(records(seed=1, n=500)))
    result = run.audit()
    assert result.findings == ()
    assert result.bytes > 9e6


FORMS = {
    **dict.fromkeys(ENCODINGS),
    "float64": lambda delta: delta.double().numpy().tobytes(),
    "text": lambda delta: json.dumps(delta.tolist()).encode(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("before", [0, 1, 5, 4096])
def test_an_update_in_a_log_is_found_in_every_form(run, form, before):
    made = FORMS[form]
    if made is None:
        parts = encodings.of(form).encode(run.delta()[None])
        leaks = [content(part) for name, part in parts.items() if name != "scales"]
    else:
        leaks = [made(run.delta())]
    for leak in leaks:
        path = run.folder / "figures" / ".train.log"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * before + leak)
        finding = only(run.audit())
        assert (finding.channel, finding.where) == ("other file", str(path))
        assert finding.what.startswith(f"{path} still holds the update of client 2 from round 3 (")
        assert form in finding.what


@pytest.mark.parametrize(
    "text",
    [
        lambda values: ",".join(map(repr, values.tolist())),
        lambda values: "\n".join(map(repr, values.tolist())),
        lambda values: json.dumps({"update": values.tolist()}),
        lambda values: ",".join(map(str, values.numpy())),
    ],
)
def test_an_update_as_text_is_found(run, text):
    (run.folder / "metrics.csv").write_text(f"update\n{text(run.delta())}\n")
    finding = only(run.audit())
    assert finding.what.endswith("still holds the update of client 2 from round 3 (text).")


def test_a_part_of_an_update_is_enough(run):
    for quarter in (0, 3):  # the others reach into what nobody moves
        part = content(run.delta())[quarter * D : (quarter + 1) * D + 64]
        (run.folder / "part.bin").write_bytes(part)
        assert only(run.audit()).channel == "other file"


def test_a_local_model_is_found_and_the_models_of_the_server_are_not(run):
    path = run.folder / "models.bin"
    path.write_bytes(b"".join(content(kept.before) for kept in run.memory.rounds))
    assert run.audit().clean
    path.write_bytes(content(run.memory.rounds[3].before + run.delta(4)))
    finding = only(run.audit())
    assert finding.channel == "local model"
    assert finding.what == f"{path} still holds the local model of client 2 from round 4 (float32)."


def test_a_model_that_only_the_leaver_trained_is_the_servers(tmp_path):
    history = federation(clients=(LEAVER,))
    fingerprints = taken(history, {LEAVER})
    kinds = {mark.kind for marks in fingerprints.windows.values() for mark in marks}
    assert kinds == {"update"}
    models = [history.final, *(kept.before for kept in history.rounds)]
    roots = {"history": history.without({LEAVER}), "models": models}
    assert audit(tmp_path, fingerprints, {}, roots, expected=models).clean


def test_windows_of_a_local_model_are_of_what_was_trained():
    """``w + (t - w)`` is rounded wherever t is far from w: there it is not what the client had."""
    drawn = torch.Generator().manual_seed(3)
    broadcast = torch.randn(D, generator=drawn)
    trained = torch.randn(D, generator=drawn)
    near = broadcast[600:700] * (1 + torch.rand(100, generator=drawn) / 4)
    trained[600:700] = near
    delta = trained - broadcast
    assert ((broadcast + delta) != trained).sum() > 50
    sent = Updates((LEAVER,), delta[None], torch.tensor([1]))
    history = History(federation().layout, broadcast, broadcast, (Round(1, sent, 1, broadcast),))
    fingerprints = taken(history, {LEAVER})
    local = [
        window
        for window, marks in fingerprints.windows.items()
        if {(mark.kind, mark.form) for mark in marks} == {("local model", "float32")}
    ]
    assert local
    assert all(window in content(near) for window in local)


def test_a_forgotten_partial_file_is_named_whatever_it_holds(on_disk):
    path = on_disk.stored / ".round-000002.safetensors.partial"
    path.write_bytes(b"half")
    finding = only(on_disk.audit())
    assert (finding.channel, finding.where) == ("partial file", str(path))
    path.write_bytes(list(on_disk.old_files.values())[1][:-700])
    findings = on_disk.audit().findings
    assert [finding.channel for finding in findings] == ["partial file"] * 2
    assert "the update of client 2 from round 2" in findings[0].what


def test_an_orphaned_round_is_named(on_disk):
    """Also one that holds nothing of the leaver: nobody knows why it is there."""
    old = on_disk.stored.parent / "fedaccum" / "round-000003.safetensors"
    old.parent.mkdir()
    old.write_bytes(list(on_disk.old_files.values())[2])
    result = on_disk.audit()
    assert {(f.channel, f.where) for f in result.findings} == {("orphaned round", str(old))}
    assert len(result.findings) == 3
    (kept,) = (path for path in files_of(on_disk.history.rounds) if path.name == old.name)
    old.write_bytes(kept.read_bytes())
    finding = only(on_disk.audit())
    assert finding.what == f"{old} is no round of the present history: delete it."
    assert on_disk.audit(rounds=on_disk.stored).clean  # another seed's, say
    assert only(
        audit(
            on_disk.folder,
            on_disk.fingerprints,
            {old: frozenset(), **files_of(on_disk.history.rounds[:4])},
            {},
        )
    ).where.endswith("training/round-000005.safetensors")


def test_a_stale_copy_in_a_cache_is_named(on_disk, tmp_path):
    cache = tmp_path / "cache"
    (cache / "deep").mkdir(parents=True)
    stale = cache / "deep" / "round-000001.safetensors"
    stale.write_bytes(min(on_disk.old_files.items())[1])
    assert on_disk.audit().clean
    findings = on_disk.audit(caches=[cache]).findings
    assert {(f.channel, f.where) for f in findings} == {("cache entry", str(stale))}
    assert len(findings) == 2
    (on_disk.folder / "link").symlink_to(cache)
    (cache / "back").symlink_to(on_disk.folder)
    linked = on_disk.audit()
    assert channels(linked) == {"other file"}
    assert linked.files == 8  # each once, though links go round in a circle


def test_raw_records_are_found_in_any_writing(run):
    for form, leak in {
        "float32": content(records()[7]),
        "uint8": (records()[7] * 255).round().to(torch.uint8).numpy().tobytes(),
        "text": ",".join(map(str, records()[7].flatten().tolist())).encode(),
        "float64": records()[7].double().numpy().tobytes(),
    }.items():
        path = run.folder / "clients.csv"
        path.write_bytes(b"client,record\n2," + leak + b"\n")
        finding = only(run.audit())
        assert (finding.channel, finding.where) == ("raw records", str(path))
        assert finding.what == f"{path} still holds record 7 of client 2 ({form})."


DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def swapped(raw, width):
    return np.frombuffer(raw, f"u{width}").byteswap().tobytes()


WRITINGS = {
    "as it is": lambda raw, width: raw,
    "bytes swapped": swapped,
    "hexadecimal": lambda raw, width: raw.hex().encode(),
    "capitals": lambda raw, width: raw.hex().upper().encode(),
    **{
        f"base64 {before}": lambda raw, width, before=before: base64.b64encode(b"x" * before + raw)
        for before in range(3)
    },
    "base64 for addresses": lambda raw, width: base64.urlsafe_b64encode(b"x" + raw),
    "base64 in lines": lambda raw, width: base64.encodebytes(raw),
}


@pytest.mark.parametrize("dtype", [*DTYPES, "int8", "transposed", "transposed float64"])
@pytest.mark.parametrize("way", WRITINGS)
@pytest.mark.parametrize("before", [1, *slowly(0, 3)])
def test_an_update_in_any_writing_is_found(run, dtype, way, before):
    if dtype == "int8":
        number = encodings.of("int8").encode(run.delta()[None])["codes"]
    elif dtype.startswith("transposed"):
        turned = run.delta()[60:].view(20, 42).T
        number = turned.double() if dtype.endswith("64") else turned
    else:
        number = run.delta().to(DTYPES[dtype])
    leak = WRITINGS[way](content(number), number.element_size())
    path = run.folder / "train.log"
    path.write_bytes(b"x" * before + leak + b"\n")
    finding = only(run.audit())
    assert (finding.channel, finding.where) == ("other file", str(path))
    assert "the update of client 2 from round 3 (" in finding.what
    held = run.memory.rounds[2].updates  # and nothing of anybody else's is taken for it
    other = held.deltas[held.clients.index(1)]
    path.write_bytes(WRITINGS[way](content(other), 4))
    assert run.audit().clean


@pytest.mark.parametrize("dtype", [*DTYPES, "uint8"])
@pytest.mark.parametrize("way", WRITINGS)
@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 2, 0)])
def test_records_in_any_writing_are_found(pictures, tmp_path, dtype, way, order):
    fingerprints, images = pictures
    picture = images[7].permute(order)
    if dtype == "uint8":
        number = (picture * 255).round().to(torch.uint8)
    else:
        number = picture.to(DTYPES[dtype])
    leak = WRITINGS[way](content(number), number.element_size())
    (tmp_path / "picture").write_bytes(b"x" + leak)
    finding = only(audit(tmp_path, fingerprints, {}, {}))
    assert finding.channel == "raw records"
    assert "record 7 of client 2 (" in finding.what


@pytest.fixture(scope="module")
def pictures():
    """Fingerprints of coloured pictures, and these."""
    drawn = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (20, 3, 12, 12), generator=drawn) / 255
    return taken(federation(), {LEAVER}, {LEAVER: images}), images


def test_shuffled_rows_are_found(run):
    """Also those of a matrix, where a window lies within one of its rows."""
    path = run.folder / "shuffled"
    path.write_bytes(content(records()[torch.randperm(40)]))
    assert "40 records" in only(run.audit()).what
    held = run.memory.rounds[2].updates.deltas
    path.write_bytes(content(held[torch.tensor([3, 2, 0, 1])]))
    assert "the update of client 2 from round 3" in only(run.audit()).what


def test_a_transposed_model_of_the_server_is_everybodys(run):
    kept = run.memory.rounds[3]
    path = run.folder / "model"
    path.write_bytes(content(kept.before[60:].view(20, 42).T))
    assert run.audit().clean
    path.write_bytes(content((kept.before + run.delta(4))[60:].view(20, 42).T))
    assert only(run.audit()).channel == "local model"


def test_kernels_of_convolutions_are_found_with_their_channels_last():
    layout = Layout.of_tensors({"bias": torch.zeros(8), "kernel": torch.zeros(8, 3, 5, 5)})
    rows = torch.randn(2, layout.size)
    kernels = rows[:, 8:].view(2, 8, 3, 5, 5)
    wanted = [kernel.contiguous(memory_format=torch.channels_last) for kernel in kernels]
    wanted = torch.stack([each.permute(0, 2, 3, 1).flatten() for each in wanted])
    assert torch.equal(transposed(layout, rows), wanted)


def test_statistics_of_a_client_are_found(tmp_path):
    drawn = torch.Generator().manual_seed(5)
    sums = {client: torch.randn(9, 12, generator=drawn).double() / 3 for client in range(4)}
    before = replace(federation(), statistics=sums)
    fingerprints = taken(before, {LEAVER})
    after = before.without({LEAVER})
    assert audit(tmp_path, fingerprints, {}, {"after": after}).clean
    finding = only(audit(tmp_path, fingerprints, {}, {"after": after, "old": sums}))
    assert finding.channel == "server state"
    assert finding.what == "old[2] still holds the statistics of client 2 (float64)."
    (tmp_path / "state.safetensors").write_bytes(content(sums[2]))
    assert only(audit(tmp_path, fingerprints, {}, {"after": after})).channel == "other file"


def test_each_record_is_recognised(run):
    marked = {
        mark.number
        for marks in run.fingerprints.windows.values()
        for mark in marks
        if mark.kind == "raw records"
    }
    assert marked == set(range(40))


@pytest.mark.parametrize("longest", [False, True])
def test_a_window_is_found_wherever_blocks_end(run, tmp_path, monkeypatch, longest):
    """Only one window, so that no other stands in for it."""
    choose = max if longest else min
    window = choose(run.fingerprints.windows, key=len)
    monkeypatch.setattr(files_module, "BLOCK", 512)
    folder = tmp_path / "long"
    folder.mkdir()
    reach = 512 + run.fingerprints.longest
    for before in range(0, 2 * reach, len(window) // 2 + 3):
        (folder / "a").write_bytes(b"\1" * before + window + bytes(2 * reach))
        files, nbytes, found = search_files(folder, run.fingerprints, {})
        assert (files, nbytes) == (1, before + len(window) + 2 * reach)
        assert len(found) == 1
    (folder / "a").write_bytes(bytes(2 * reach) + window[:-1])
    assert search_files(folder, run.fingerprints, {})[2] == ()


def test_an_unreadable_round_is_named(on_disk):
    path = min(files_of(on_disk.history.rounds))
    path.write_bytes(path.read_bytes()[:-1])
    finding = only(on_disk.audit())
    assert (finding.channel, finding.where) == ("unreadable", str(path))
    assert "checksum" in finding.what or "cannot be used" in finding.what


class Slotted:
    __slots__ = ("__hidden", "held")

    def __init__(self, held, hidden=None):
        self.held = held
        self.__hidden = hidden


class Attributed:
    pass


@dataclass(frozen=True, slots=True)
class Nested:
    inner: object


def closure(delta):
    def look():
        return delta

    return look


def default(delta):
    def look(kept=delta):
        return kept

    return look


def keyword(delta):
    def look(*, kept=delta):
        return kept

    return look


def generator(delta):
    def work(started):
        held = started.pop().clone()
        yield 1
        yield held

    started = work([delta])
    next(started)
    return started


def delegating(delta):
    def outer():
        yield from generator(delta)

    started = outer()
    next(started)
    return started


def cached(delta):
    @functools.lru_cache
    def model(number):
        return delta.clone()

    model(3)
    return model


def attributed(delta):
    thing = Attributed()
    thing.past = {"last": delta}
    return thing


def view_of_others(delta):
    """Other rows of the storage that holds the leaver's: a purge by slicing."""
    return torch.stack([torch.zeros(D), delta, torch.zeros(D)])[2:]


def numpy_view(delta):
    return np.stack([np.zeros(D, np.float32), delta.numpy()])[:1]


def mapped(delta):
    memory = mmap.mmap(-1, 4 * D)
    memory.write(content(delta))
    return memory


def graded(delta):
    weights = torch.zeros(D, requires_grad=True)
    weights.grad = delta.clone()
    return weights


def net(delta):
    layer = torch.nn.Linear(D, 1, bias=False)
    layer.weight.data = delta[None]
    return layer


def module_of(delta):
    module = types.ModuleType("caches")
    module.LAST = [delta]
    return module


def class_of(delta):
    return type("Kept", (), {"last": delta})()


LEAKS = {
    "list": (lambda u: [0, [u]], "[1][0]"),
    "tuple of slots": (lambda u: (Slotted(u),), "[0].held"),
    "hidden slot": (lambda u: Slotted(1, u), ".__hidden"),
    "dict": (lambda u: {"a": {3: u}}, "['a'][3]"),
    "key": (lambda u: {content(u): 1}, ", key bytes"),
    "set": (lambda u: {content(u)}, ", a member"),
    "deque": (lambda u: collections.deque([1, u]), "[1]"),
    "attribute": (attributed, ".past['last']"),
    "dataclass": (lambda u: Nested(Nested(u)), ".inner.inner"),
    "class": (class_of, None),
    "closure": (closure, ", closed over delta"),
    "default argument": (default, ", default argument 0"),
    "keyword default": (keyword, ", default argument kept"),
    "partial": (lambda u: functools.partial(print, u), None),
    "method": (lambda u: Slotted(u).__init__, ".__self__.held"),
    "lru_cache": (cached, None),
    "generator": (generator, ", local held"),
    "generator in a generator": (delegating, None),
    "storage": (view_of_others, ""),
    "numpy": (lambda u: u.numpy().copy(), ""),
    "numpy view": (numpy_view, ""),
    "fortran order": (lambda u: np.array(np.stack([u.numpy()] * 2).T, order="F"), ""),
    "objects": (lambda u: np.array([u.numpy(), None], dtype=object), "[0]"),
    "bytes": (content, ""),
    "bytearray": (lambda u: bytearray(b"abc" + content(u)), ""),
    "memoryview": (lambda u: memoryview(content(u)), ""),
    "array": (lambda u: array("f", u.tolist()), ""),
    "BytesIO": (lambda u: io.BytesIO(content(u)), ""),
    "mmap": (mapped, ""),
    "list of floats": (lambda u: {"update": u.tolist()}, "['update']"),
    "text": (lambda u: json.dumps(u.tolist()), ""),
    "float64": (lambda u: u.double(), ""),
    "bfloat16": (lambda u: u.bfloat16(), ""),
    "gradient": (graded, ".grad"),
    "sparse": (lambda u: u.to_sparse(), None),
    "parameter": (torch.nn.Parameter, ""),
    "net": (net, "._parameters['weight']"),
    "module": (module_of, ".LAST[0]"),
}


@pytest.mark.parametrize("kind", LEAKS)
def test_an_update_that_is_kept_in_memory_is_found(run, kind):
    make, path = LEAKS[kind]
    # numpy shares the tensor's memory: of its own, lest the leak be something else
    result = run.audit({"leak": make(run.delta().clone())})
    assert channels(result) == {"server state"}
    assert len(result.findings) >= 1
    finding = result.findings[0]
    assert "still holds the update of client 2 from round 3 (" in finding.what
    assert finding.where.startswith("leak")
    if path is not None:
        assert finding.where == f"leak{path}"
    held = run.memory.rounds[2].updates
    other = held.deltas[held.clients.index(1)]
    innocent = run.audit(
        {"leak": make(other.clone())}, expected=[other, other.double(), other.bfloat16()]
    )
    assert not [f for f in innocent.findings if "still holds" in f.what]


def test_other_rows_of_a_known_storage_still_hold_the_leaver(run):
    """A history whose rows are views keeps the whole storage alive; `Updates.without` copies."""
    kept = run.memory.rounds[0]
    rows = [row for row, client in enumerate(kept.clients) if client != LEAVER]
    assert run.audit({"after": run.memory.without({LEAVER})}).clean
    assert rows == [0, 1, 3]
    sliced = replace(kept, updates=Updates((0, 1), kept.updates.deltas[:2], torch.tensor([10, 10])))
    result = run.audit({"after": replace(run.history, rounds=(sliced,))})
    assert only(result).where == "after.rounds[0].updates.deltas"


def momentum_of(delta):
    return FedAvgM(beta=0.5).step(torch.zeros(D), 0.3 * delta, (torch.zeros(D),))[1]


def adam_of(delta):
    optimizer = FedAdam()
    return optimizer.step(torch.zeros(D), 0.3 * delta, optimizer.start(torch.zeros(D)))[1]


@pytest.mark.parametrize(("made", "found"), [(momentum_of, 1), (adam_of, 2)])
def test_a_server_optimizer_that_remembers_is_named(run, made, found):
    """A moment is a mean, which no bytes give away: that there is one is the finding."""
    result = run.audit({"server": {"state": made(run.delta())}})
    assert len(result.findings) == found
    assert channels(result) == {"server state"}
    assert result.findings[0].where == "server['state'][0]"
    assert "may carry what client 2 sent" in result.findings[0].what
    assert run.audit({"server": {"state": made(run.delta())}}, expected=made(run.delta())).clean


@pytest.mark.parametrize("optimizer", [FedAvg(), FedAvgM(), FedAdam(), FedYogi()])
def test_a_fresh_server_optimizer_is_clean(run, optimizer):
    assert run.audit({"state": optimizer.start(run.history.final)}).clean


def test_models_and_updates_of_the_history_are_explained_wherever_they_are(run):
    copies = [run.history.final.clone(), run.history.rounds[1].before, run.history.rounds[1]]
    assert run.audit({"copies": copies, "image": torch.rand(3, 3, D - 1)}).clean
    result = run.audit({"older": run.history.final * 2})
    assert only(result).where == "older"


def test_what_is_beyond_is_not_entered(run):
    clients = {"of the simulator": [run.delta()]}
    assert not run.audit({"here": [clients]}).clean
    assert run.audit({"here": [clients]}, beyond=[clients]).clean


def test_the_search_ends_in_circles_and_keeps_nothing_alive(run):
    circle = [run.history]
    circle.append(circle)
    before = run.audit()
    assert run.audit({"circle": circle}).objects - before.objects <= 2


def test_an_update_that_another_client_sent_too_is_said_to_be_blank():
    history = federation()
    twin = history.rounds[0].updates.deltas.clone()
    twin[1] = twin[2]
    twin[0, 7] = float("nan")
    first = replace(history.rounds[0], updates=replace(history.rounds[0].updates, deltas=twin))
    nothing = torch.zeros(4, D)
    second = replace(history.rounds[1], updates=replace(history.rounds[1].updates, deltas=nothing))
    history = replace(history, rounds=(first, second, *history.rounds[2:]))
    assert taken(history, {LEAVER}).blank == ((2, 1),)
    assert taken(history, {LEAVER, 1}).blank == ()
    assert taken(history, set()).windows == {}
    assert taken(history, {7}).windows == {}


def test_updates_that_are_not_finite_are_fingerprinted_as_float32(tmp_path):
    history = federation()
    deltas = history.rounds[0].updates.deltas.clone()
    deltas[2, 5] = float("nan")
    first = replace(history.rounds[0], updates=replace(history.rounds[0].updates, deltas=deltas))
    fingerprints = taken(replace(history, rounds=(first,)), {LEAVER})
    found = fingerprints.marks_in(np.frombuffer(content(deltas[2]), np.uint8))
    assert {mark.form for mark in found if mark.kind == "update"} == {"float32"}


def test_a_long_row_is_marked_in_few_places_and_where_it_is_not_zero():
    layout = Layout.of_tensors({"w": torch.zeros(200_000)})
    deltas = torch.zeros(2, 200_000)
    deltas[:, 150_001:150_100] = torch.randn(2, 99, generator=torch.Generator().manual_seed(0))
    sent = Updates((0, 2), deltas, torch.tensor([1, 1]))
    history = History(layout, deltas[0] * 0, deltas[0] * 0, (Round(1, sent, 2),))
    fingerprints = taken(history, {LEAVER})
    assert fingerprints.blank == ()
    assert fingerprints.marks_in(np.frombuffer(content(deltas[1]), np.uint8))
    assert not fingerprints.marks_in(np.frombuffer(content(deltas[0]), np.uint8))
    assert fingerprints.longest < 3000
    dense = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    found = [content(dense).index(window) for window in windows(dense, np.random.default_rng(0))]
    assert [place // 200_000 for place in found] == [0, 1, 2, 3]


def test_the_places_of_large_coordinates_inform_by_their_steps():
    rng = np.random.default_rng(0)
    regular = torch.arange(0, 2700, 3, dtype=torch.int32)
    assert list(windows(regular, rng, rising=True)) == []
    drawn = torch.from_numpy(np.sort(rng.choice(9000, 900, replace=False))).int()
    assert len(list(windows(drawn, rng, rising=True))) == 4
    assert list(windows(torch.zeros(900), rng)) == []


def test_fingerprints_are_a_function_of_their_seed_and_hold_little():
    one, same, other = (taken(federation(), {LEAVER}, seed=seed) for seed in (0, 0, 1))
    assert one.windows == same.windows
    assert one.windows != other.windows
    raw = [w for w, marks in one.windows.items() if {m.form for m in marks} == {"float32"}]
    assert raw
    assert max(map(len, raw)) < 4 * D / 10
    assert min(map(len, one.windows)) >= SHORTEST
    assert BITS >= 80


def test_patterns_are_found_at_every_offset_and_nowhere_else():
    rng = np.random.default_rng(0)
    strings = [rng.bytes(length) for length in range(SHORTEST, SHORTEST + 40)]
    patterns = Patterns(strings)
    for offset in range(20):
        for number, string in enumerate(strings):
            text = rng.bytes(offset) + string + rng.bytes(offset % 3)
            assert patterns.occurrences(np.frombuffer(text, np.uint8)) == [(number, offset)]
            assert (
                patterns.occurrences(np.frombuffer(text[: offset + len(string) - 1], np.uint8))
                == []
            )
            assert patterns.occurrences(np.frombuffer(text[offset + 1 :], np.uint8)) == []
            for place in range(0, len(string), 5):
                changed = bytearray(text)
                changed[offset + place] ^= 1
                assert patterns.occurrences(np.frombuffer(changed, np.uint8)) == []
    with pytest.raises(ValueError, match="at least 16 bytes"):
        Patterns([b"short"])
    assert Patterns([]).occurrences(np.zeros(100, np.uint8)) == []


def test_patterns_agree_with_a_plain_search_in_poor_text():
    """Few letters: most words are candidates, and strings overlap and share words."""
    rng = np.random.default_rng(1)
    text = rng.choice(2, 4000, p=[0.9, 0.1]).astype(np.uint8)
    strings = sorted({text[start : start + 17].tobytes() for start in range(0, 3000, 7)})
    expected = [
        (number, start)
        for number, string in enumerate(strings)
        for start in range(len(text) - 16)
        if text[start : start + 17].tobytes() == string
    ]
    assert sorted(Patterns(strings).occurrences(text)) == expected
    assert len(expected) > len(strings)


def test_fingerprints_are_not_found_in_themselves(run):
    assert run.audit({"frame": [run.fingerprints]}).clean
    assert not run.audit({"copy": copy.copy(list(run.fingerprints.windows))}).clean
    assert auditing.Audit(0, 0, 0, (), ()).clean
