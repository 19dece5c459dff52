import hashlib
import json
import random
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hydra.utils import instantiate
from torch import nn

from fedunlearn import files
from fedunlearn.checks import Refused
from fedunlearn.experiment.run_folder import RunFolder
from fedunlearn.models import Layout, model_hash
from fedunlearn.results import Case, manifest_text, read_manifest, run_files
from fedunlearn.results.certificates import (
    Audited,
    Purged,
    Served,
    Thresholds,
    config_hash,
    draft,
    hyperparameters,
    sign,
    verify,
)
from fedunlearn.results.certificates import certificate as certificate_module
from fedunlearn.results.certificates.certificate import FIRST
from fedunlearn.results.certificates.chain import issue
from fedunlearn.results.certificates.encoding import decode, digest, encode, plain
from fedunlearn.results.certificates.text import LISTED, text
from fedunlearn.results.certificates.thresholds import Judged, conclusion, gap_columns, judged
from fedunlearn.simulations import __main__ as command
from strategies.federaser import FedEraser
from strategies.sifu import Sifu
from tests.support.killed import WAVES

ROOT = Path(__file__).parents[2]
LAYOUT = Layout.of(nn.Linear(3, 2))
CONFIG = {
    "seed": 0,
    "model": {"_target_": "mine", "widths": [1, 2.5]},
    "é": None,
    "by": {3: "x", "a": 1},
}
THRESHOLDS = Thresholds({"forget_accuracy_gap": 0.05, "attack_success_rate_gap": 0.05})
AUDIT = Audited((), files=12, objects=3)
PURGED = (
    Purged("history/seed0/training/round-000001.safetensors", (0,), 1040, "rewritten"),
    Purged("history/seed0/training/round-000003.safetensors", (0,), 2080, "deleted"),
)
STRATEGIES = {
    "federaser": {"_target_": "strategies.federaser.FedEraser", "interval": 2, "effort": 0.5},
    "retrain": {"_target_": "strategies.retrain.Retrain"},
}
RETRAINED = {0: 0.8, 1: 0.9}
"""The retrained model's accuracy on the leavers' records, by seed."""


def row(seed=0, strategy="federaser", request=1, **others):
    retrained = RETRAINED[seed]
    accuracy = retrained + 0.02 * (strategy != "retrain")
    return {
        "seed": seed,
        "strategy": strategy,
        "request": request,
        "clients": "0" if request == 1 else "3+11",
        "probe": "took",
        "test_accuracy": 0.9,
        "forget_accuracy": accuracy,
        "attack_success_rate": 0.1,
        "test_accuracy_gap": 0.0,
        "forget_accuracy_gap": accuracy - retrained,
        "bytes_down": 10,
        "bytes_up": 8,
        "client_epochs": 2.5,
        "samples": 25,
        "rounds": 2,
        "seconds": 0.25,
        "store_bytes": 4096,
        "scope": "everything",
        **others,
    }


def weights(seed, strategy, request):
    generator = torch.Generator().manual_seed(seed * 100 + request * 10 + len(strategy))
    return torch.randn(LAYOUT.size, generator=generator)


def served(case, purged=PURGED, audit=AUDIT, assumptions=()):
    seed, name, request = case["seed"], case["strategy"], case["request"]
    before = ("shared", 0) if request == 1 else (name, 99)
    return Served(
        round=12 * request,
        hyperparameters=STRATEGIES[name],
        model_before=model_hash(LAYOUT, weights(seed, *before)),
        model_after=model_hash(LAYOUT, weights(seed, name, request)),
        purged=purged,
        audit=audit,
        assumptions=assumptions,
    )


def drafted(case, summary, thresholds=THRESHOLDS, **others):
    return draft(
        case,
        summary,
        served(case, **others),
        thresholds=thresholds,
        config_sha256=config_hash(CONFIG),
        commit="c0ffee",
    )


def cases(seeds=(0, 1), requests=(1, 2)):
    return [
        row(seed, strategy, request)
        for seed in seeds
        for strategy in ("retrain", "federaser")
        for request in requests
    ]


def written(path, rows):
    with RunFolder(path) as folder:
        folder.summary(rows)
        for case in rows:
            served = Case(case["seed"], case["strategy"], case["request"])
            for each in (served, Case(served.seed, "shared", 0)):
                folder.model(each, LAYOUT, weights(each.seed, each.strategy, each.request))
        folder.manifest({"status": "finished", "config": CONFIG, "files": folder.checksums})
    return path


def drafts(rows):
    return [drafted(case, rows) for case in rows]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    rows = cases()
    folder = written(tmp_path_factory.mktemp("run"), rows)
    issue(folder, drafts(rows))
    return folder


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def contents(run):
    return {path.name: path.read_bytes() for path in (run / "certificates").iterdir()}


def names(run):
    return [made.name for made in verify(run).certificates]


class TestChain:
    def test_each_certificate_names_the_file_before_it(self, finished):
        found = contents(finished)
        previous = FIRST
        for seed in (0, 1):
            for strategy in ("federaser", "retrain"):
                for request in (1, 2):
                    content = found[f"seed{seed}-{strategy}-request{request}.json"]
                    assert json.loads(content)["previous"] == previous
                    previous = hashlib.sha256(content).hexdigest()
        assert verify(finished).head == previous
        assert len(found) == 2 * len(verify(finished).certificates) == 16

    def test_what_is_read_is_what_was_drafted(self, finished):
        made = {c.name: c for c in verify(finished).certificates}
        for wanted in drafts(cases()):
            found = made[wanted.name]
            linked = replace(wanted, previous=found.previous, issued=found.issued)
            assert encode(linked) == encode(found)
            assert found.served == linked.served
            assert found.clients == ((0,) if found.request == 1 else (3, 11))

    def test_any_changed_byte_is_found_and_its_file_named(self, run):
        chance = random.Random(5)
        paths = sorted((run / "certificates").iterdir())
        for path in paths * 12:
            content = path.read_bytes()
            place, change = chance.randrange(len(content)), chance.randrange(1, 256)
            damaged = bytearray(content)
            damaged[place] ^= change
            path.write_bytes(damaged)
            with pytest.raises(Refused, match=path.stem):
                verify(run)
            path.write_bytes(content)
        verify(run)

    @pytest.mark.parametrize("change", [b"", b" ", b"\n"])
    def test_added_and_cut_bytes_are_found(self, run, change):
        for path in sorted((run / "certificates").iterdir()):
            content = path.read_bytes()
            path.write_bytes(content + change if change else content[:-1])
            with pytest.raises(Refused, match=path.stem):
                verify(run)
            path.write_bytes(content)

    def test_the_digits_of_the_last_certificate_count(self, run):
        # no other certificate names this one: only its readable text does
        path = run / "certificates" / f"{names(run)[-1]}.json"
        content = path.read_bytes()
        digits = [place for place, byte in enumerate(content) if chr(byte).isdigit()]
        assert len(digits) > 200
        for place in digits[::3]:
            other = b"1" if content[place : place + 1] != b"1" else b"2"
            path.write_bytes(content[:place] + other + content[place + 1 :])
            with pytest.raises(Refused, match=path.stem):
                verify(run)

    def test_a_removed_certificate_is_missed_unless_it_is_the_last(self, run, tmp_path):
        order = names(run)
        for name, follower in zip(order, [*order[1:], None], strict=True):
            copy = shutil.copytree(run, tmp_path / name)
            (copy / "certificates" / f"{name}.json").unlink()
            with pytest.raises(Refused, match=rf"{name}.md stands alone: {name}.json is missing"):
                verify(copy)
            (copy / "certificates" / f"{name}.md").unlink()
            if follower is None:
                assert verify(copy).head != verify(run).head
            else:
                with pytest.raises(Refused, match=rf"before \S*{follower}.json is missing"):
                    verify(copy)

    def test_a_missing_text_is_missed(self, run):
        (run / "certificates" / "seed0-retrain-request1.md").unlink()
        with pytest.raises(Refused, match=r"seed0-retrain-request1.md cannot be read"):
            verify(run)

    def test_exchanged_certificates_are_found(self, run):
        first, second = (run / "certificates" / name for name in names(run)[2:4])
        for ending in (".json", ".md"):
            one, other = first.with_suffix(ending), second.with_suffix(ending)
            kept = one.read_bytes()
            one.write_bytes(other.read_bytes())
            other.write_bytes(kept)
        with pytest.raises(Refused, match="was renamed or copied"):
            verify(run)

    def test_a_certificate_rewritten_with_its_text_breaks_the_next_link(self, run):
        chain = verify(run)
        for made, follower in zip(chain.certificates, chain.certificates[1:], strict=False):
            path = run / "certificates" / f"{made.name}.json"
            better = replace(made, costs={**made.costs, "seconds": 0.125})
            for file, content in ((path, encode(better)), (path.with_suffix(".md"), text(better))):
                file.write_bytes(content if isinstance(content, bytes) else content.encode())
            with pytest.raises(Refused, match=rf"before \S*{follower.name}.json"):
                verify(run)
            path.write_bytes(encode(made))
            path.with_suffix(".md").write_text(text(made))
        assert verify(run) == chain

    def test_two_certificates_in_one_place_of_the_chain_are_found(self, run):
        last = verify(run).certificates[-1]
        other = replace(last, request=7)
        path = run / "certificates" / f"{other.name}.json"
        path.write_bytes(encode(other))
        path.with_suffix(".md").write_text(text(other))
        with pytest.raises(Refused, match=f"{last.name}.json and .*{other.name}.json both claim"):
            verify(run)

    def test_a_chain_written_anew_has_another_head(self, run):
        head = verify(run).head
        shutil.rmtree(run / "certificates")
        issue(run, [replace(made, commit=None) for made in drafts(cases())])
        assert verify(run).head != head

    def test_the_manifest_s_head_tells_of_the_last_certificates(self, run):
        path = run / "manifest.json"
        noted = {**read_manifest(run), "certificates_head": verify(run).head}
        path.write_text(manifest_text(noted))
        assert verify(run).head == noted["certificates_head"]
        last = run / "certificates" / f"{names(run)[-1]}.json"
        for file in (last, last.with_suffix(".md")):
            file.unlink()
        with pytest.raises(Refused, match="the last ones are missing or were replaced"):
            verify(run)
        shutil.rmtree(run / "certificates")
        issue(run, [replace(made, commit=None) for made in drafts(cases())])
        with pytest.raises(Refused, match="the last ones are missing or were replaced"):
            verify(run)

    def test_a_stray_file_is_refused_and_what_a_kill_left_is_not_read(self, run):
        head = verify(run).head
        (run / "certificates" / ".seed0-retrain-request1.json.partial").write_bytes(b"{")
        assert verify(run).head == head
        (run / "certificates" / "notes.txt").write_bytes(b"")
        with pytest.raises(Refused, match=r"notes.txt is no certificate"):
            verify(run)

    def test_a_run_without_certificates_is_refused(self, tmp_path):
        with pytest.raises(Refused, match="holds no certificates"):
            verify(written(tmp_path, cases()))


class TestWhatIsCertified:
    def test_the_hash_of_a_model_is_that_of_its_file(self, run):
        for made in verify(run).certificates:
            for file, wanted in made.models.items():
                assert hashlib.sha256((run / file).read_bytes()).hexdigest() == wanted
        listed = {file for made in verify(run).certificates for file in made.models}
        assert listed == {f"models/{path.name}" for path in (run / "models").iterdir()}

    def test_every_bit_of_a_model_counts(self):
        base = weights(0, "shared", 0)
        hashes = {model_hash(LAYOUT, base)}
        for place in range(LAYOUT.size):
            moved = base.clone()
            moved[place] = torch.nextafter(base[place], torch.tensor(9.0))
            hashes.add(model_hash(LAYOUT, moved))
        assert len(hashes) == 1 + LAYOUT.size

    def test_a_swapped_model_is_found(self, run):
        for file in sorted((run / "models").iterdir()):
            content = file.read_bytes()
            other = next(p for p in (run / "models").iterdir() if p != file)
            file.write_bytes(other.read_bytes())
            with pytest.raises(Refused, match=f"{file.name} is not the model that certificates/"):
                verify(run)
            file.unlink()
            with pytest.raises(Refused, match=f"{file.name} cannot be read: No such file"):
                verify(run)
            file.write_bytes(content)
        verify(run)

    def test_a_model_that_was_purged_may_be_gone_but_not_changed(self, tmp_path):
        rows = cases()
        run = written(tmp_path, rows)
        gone = "models/seed0-shared-request0.safetensors"
        purged = (Purged(gone, (0,), 1, "deleted"),)
        made = [drafted(case, rows, purged=purged) for case in rows]
        issue(run, made)
        verify(run)
        (run / gone).write_bytes(b"other")
        with pytest.raises(Refused, match=r"shared-request0.safetensors is not the model"):
            verify(run)
        (run / gone).unlink()
        verify(run)

    def test_a_rewritten_model_may_not_be_gone(self, tmp_path):
        rows = cases()
        run = written(tmp_path, rows)
        gone = "models/seed0-shared-request0.safetensors"
        purged = (Purged(gone, (0,), 1, "rewritten"),)
        issue(run, [drafted(case, rows, purged=purged) for case in rows])
        (run / gone).unlink()
        with pytest.raises(Refused, match=r"shared-request0.safetensors cannot be read"):
            verify(run)

    def test_another_configuration_is_found(self, run):
        manifest = run / "manifest.json"
        found = json.loads(manifest.read_text())
        assert config_hash(found["config"]) == config_hash(CONFIG)
        other = {**found, "config": {**CONFIG, "seed": 1}}
        manifest.write_text(json.dumps(other))
        with pytest.raises(Refused, match=r"manifest.json is not as the run wrote it"):
            verify(run)
        manifest.write_text(json.dumps({**other, "sha256": None}))
        with pytest.raises(Refused, match=r"manifest.json is not as the run wrote it"):
            verify(run)
        del other["sha256"]
        manifest.write_text(json.dumps(other))
        with pytest.raises(Refused, match=r"manifest.json holds another configuration"):
            verify(run)
        for broken, sentence in {
            "{": "cannot be read as a run's manifest",
            "[]": "is not the manifest of a run",
            "{}": "is not the manifest of a run",
            '{"status": "finished"}': "holds no configuration",
            "[" * 100_000: "cannot be read as a run's manifest .it nests too deeply",
        }.items():
            manifest.write_text(broken)
            with pytest.raises(Refused, match=rf"manifest.json {sentence}"):
                verify(run)

    def test_the_order_of_a_configuration_does_not_matter(self):
        assert config_hash(dict(reversed(CONFIG.items()))) == config_hash(CONFIG)
        assert config_hash({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()


class TestIssuing:
    def test_a_finished_chain_stays_as_it_is(self, run, monkeypatch):
        before = contents(run)
        monkeypatch.setattr(certificate_module, "__version__", "9.9.9")
        later = [replace(made, issued="2099-01-01T00:00:00Z") for made in drafts(cases())]
        paths = issue(run, reversed(later))
        assert contents(run) == before
        assert {path.name for path in paths} == set(before)

    @pytest.mark.parametrize("written_files", range(17))
    def test_issuing_goes_on_after_a_crash_at_any_file(self, run, tmp_path, written_files):
        rows = cases()
        fresh = written(tmp_path / "fresh", rows)
        count = []

        def crashing(path, content):
            if len(count) == written_files:
                raise KeyboardInterrupt
            count.append(path)
            return files.write(path, content)

        if written_files == 16:
            issue(fresh, drafts(rows), crashing)
        else:
            with pytest.raises(KeyboardInterrupt):
                issue(fresh, drafts(rows), crashing)
        done = contents(fresh) if written_files else {}
        assert len(done) == written_files
        certified = {name for name in done if name.endswith(".json")}
        later = [replace(made, issued="2099-01-01T00:00:00Z") for made in drafts(rows)]
        issue(fresh, later)
        after = contents(fresh)
        for name in certified:
            assert after[name] == done[name]
            assert after[name.replace(".json", ".md")] == done[name.replace(".json", ".md")]
        assert names(fresh) == names(run)

    def test_later_requests_join_the_chain(self, tmp_path):
        rows = cases()
        run = written(tmp_path, rows)
        issue(run, [made for made in drafts(rows) if made.seed == 1])
        first = verify(run)
        issue(run, drafts(rows))
        whole = verify(run)
        assert whole.certificates[: len(first.certificates)] == first.certificates
        assert whole.certificates[len(first.certificates)].previous == first.head
        assert len(whole.certificates) == len(rows)

    @pytest.mark.parametrize(
        "change",
        [
            lambda made: replace(made, config_sha256="1" * 64),
            lambda made: replace(made, clients=(1,)),
            lambda made: replace(made, served=replace(made.served, round=1)),
            lambda made: replace(made, served=replace(made.served, model_after="1" * 64)),
            lambda made: replace(made, served=replace(made.served, model_before="1" * 64)),
        ],
    )
    def test_certificates_of_another_run_are_not_taken_over(self, run, change):
        before = contents(run)
        with pytest.raises(Refused, match=r"request1.json was issued for another"):
            issue(run, [change(made) for made in drafts(cases()) if made.request == 1])
        assert contents(run) == before

    def test_a_broken_chain_is_not_continued(self, run):
        path = run / "certificates" / "seed0-retrain-request1.json"
        path.write_bytes(path.read_bytes().replace(b"0.25", b"0.26"))
        with pytest.raises(Refused, match="seed0-retrain-request1"):
            issue(run, drafts(cases()))


class TestThresholds:
    @pytest.mark.parametrize(
        ("value", "retrained", "verdict"),
        [
            (0.85, 0.8, "within"),
            (0.55, 0.5, "within"),  # 0.050000000000000044 in floating point
            (0.5, 0.55, "within"),
            (0.550001, 0.5, "exceeded"),
            (0.449999, 0.5, "exceeded"),
            (0.5, 0.5, "within"),
            (None, 0.5, "exceeded"),
            (0.5, None, "exceeded"),
            (None, None, "not judged"),
        ],
    )
    def test_equal_is_within_and_no_number_is_not(self, value, retrained, verdict):
        metric = Judged("forget_accuracy", value, retrained, None, 1, 0.05)
        assert metric.verdict == verdict
        assert replace(metric, threshold=None).verdict == "not judged"
        assert replace(metric, conclusive=False).verdict == "not judged"

    @pytest.mark.parametrize(
        ("largest", "sentence"),
        [
            ({"forget_acuracy_gap": 0.1}, r"forget_acuracy_gap does not exist; did you mean forg"),
            ({"forget_accuracy": 0.1}, r"did you mean forget_accuracy_gap\?"),
            ({"weight_distance_gap": 0.1}, r"weight_distance_gap does not exist"),
            ({1: 0.1}, r"Thresholds.largest.1 does not exist"),
            ({"test_loss_gap": 0}, r"largest.test_loss_gap must be a number above 0, not 0"),
            ({"test_loss_gap": -0.1}, r"must be a number above 0, not -0.1"),
            ({"test_loss_gap": float("nan")}, r"must be a number above 0, not nan"),
            ({"test_loss_gap": float("inf")}, r"must be a number above 0, not inf"),
            ({"test_loss_gap": "much"}, r"must be a number above 0, not 'much'"),
            ({"test_loss_gap": True}, r"must be a number above 0, not True"),
            ([0.1], r"Thresholds.largest must map names to values"),
        ],
    )
    def test_what_no_threshold_can_be_is_refused(self, largest, sentence):
        with pytest.raises(Refused, match=sentence):
            Thresholds(largest)

    def test_the_configured_choices(self):
        default, none = (
            instantiate(
                yaml.safe_load((ROOT / f"conf/certificate/{name}.yaml").read_text()),
                _convert_="all",  # as a command does
            )
            for name in ("default", "none")
        )
        assert default == Thresholds(
            {
                "forget_accuracy_gap": 0.05,
                "test_accuracy_gap": 0.02,
                "attack_success_rate_gap": 0.05,
                "membership_auc_gap": 0.05,
            }
        )
        assert none == Thresholds()

    def test_whatever_has_a_gap_can_have_a_threshold(self):
        assert {"forget_loss_gap", "membership_auc_gap", "retained_accuracy_worst_gap"} < set(
            gap_columns()
        )
        assert Thresholds(dict.fromkeys(gap_columns(), 1)).largest == dict.fromkeys(
            gap_columns(), 1.0
        )


class TestJudging:
    def metrics(self, case, rows, thresholds=THRESHOLDS):
        return {metric.metric: metric for metric in judged(case, rows, thresholds)}

    def test_a_metric_stands_next_to_retraining_and_its_spread_over_seeds(self):
        rows = [*cases(), row(0, "retrain", 3, forget_accuracy=0.1)]
        metric = self.metrics(rows[2], rows)["forget_accuracy"]
        assert rows[2]["strategy"] == "federaser"
        assert (metric.value, metric.retrained) == (0.8200000000000001, 0.8)
        assert metric.gap == rows[2]["forget_accuracy_gap"]
        assert metric.spread == statistics.stdev(RETRAINED.values())
        assert (metric.seeds, metric.threshold, metric.verdict) == (2, 0.05, "within")

    def test_one_seed_has_no_spread(self):
        rows = cases(seeds=(0,))
        metrics = self.metrics(rows[0], rows)
        assert {m.spread for m in metrics.values()} == {None}
        assert {m.seeds for m in metrics.values()} == {1}

    def test_what_was_not_measured_is_named_and_not_judged(self):
        rows = cases()
        for case in rows:
            del case["attack_success_rate"]
        metric = self.metrics(rows[2], rows)["attack_success_rate"]
        assert (metric.value, metric.gap, metric.seeds) == (None, None, 0)
        assert metric.verdict == "not judged"
        found = conclusion(judged(rows[2], rows, THRESHOLDS), ())
        assert found[0] is True
        assert found[1].endswith("but attack_success_rate_gap could not be judged")

    def test_a_probe_that_did_not_take_tells_nothing(self):
        rows = [{**case, "probe": "did not take", "test_accuracy": 0.5} for case in cases()]
        rows[2]["attack_success_rate"] = 0.9
        thresholds = Thresholds({"attack_success_rate_gap": 0.05})
        assert self.metrics(rows[2], rows)["attack_success_rate"].verdict == "not judged"
        assert conclusion(judged(rows[2], rows, thresholds), ())[0] is None
        rows[2]["probe"] = "took"
        assert self.metrics(rows[2], rows)["attack_success_rate"].verdict == "exceeded"

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_a_model_that_diverged_has_not_forgotten(self, value):
        rows = cases()
        rows[2]["forget_accuracy"] = value
        assert self.metrics(rows[2], rows)["forget_accuracy"].value is None
        assert conclusion(judged(rows[2], rows, THRESHOLDS), ()) == (
            False,
            "exceeds the configured thresholds of forget_accuracy_gap",
        )

    def test_a_summary_without_the_reference_is_an_error(self):
        rows = [case for case in cases() if case["strategy"] != "retrain"]
        with pytest.raises(ValueError, match="no row of retrain for seed 0"):
            judged(rows[0], rows, THRESHOLDS)

    def test_the_summary_s_file_says_the_same(self, finished):
        read = run_files.load(finished).summary.to_dict("records")
        for again, case in zip(read, cases(), strict=True):
            made = drafted(case, cases())
            assert encode(replace(drafted(again, read), issued=made.issued)) == encode(made)


class TestVerdict:
    def conclusion(self, findings=(), **gaps):
        largest = {f"{name}_gap": 0.05 for name in gaps}
        return conclusion(
            [Judged(n, 0.5 + gap, 0.5, None, 1, largest[f"{n}_gap"]) for n, gap in gaps.items()],
            findings,
        )

    def test_it_is_a_sentence_and_a_word_for_programs(self):
        assert self.conclusion() == (None, "no thresholds configured")
        near = {"forget_accuracy": 0.01, "test_accuracy": -0.01}
        assert self.conclusion(**near) == (True, "forgotten within the configured thresholds")
        assert self.conclusion(**near | {"test_loss": 0.1, "test_accuracy": -0.2}) == (
            False,
            "exceeds the configured thresholds of test_accuracy_gap, test_loss_gap",
        )

    def test_a_failed_audit_makes_it_fail(self):
        for gaps in ({}, {"forget_accuracy": 0.01}):
            done, sentence = self.conclusion(("The cache holds client 0.",), **gaps)
            assert done is False
            assert sentence == "the audit found what is left of the leavers (1 finding)"
        done, sentence = self.conclusion(("a", "b"), test_loss=1.0)
        assert done is False
        assert "(2 findings); exceeds the configured thresholds of test_loss_gap" in sentence


class TestJson:
    def test_it_holds_nothing_of_the_leavers_but_their_numbers(self):
        made = drafted(row(), [row(), row(strategy="retrain")])
        leaves = {}

        def walk(value, path):
            if isinstance(value, dict):
                for name, part in value.items():
                    walk(part, (*path, name))
            elif isinstance(value, list):
                for part in value:
                    walk(part, path)
            else:
                leaves.setdefault(".".join(path), []).append(value)

        walk(json.loads(encode(made)), ())
        assert leaves.pop("hyperparameters._target_") == ["strategies.federaser.FedEraser"]
        hashes = ["config", "model_before", "model_after"]
        texts = {
            *(
                "strategy",
                "issued",
                "answer",
                "reason",
                "fedunlearn",
                "commit",
                "verdict",
                "previous",
            ),
            *(f"{name}_sha256" for name in hashes),
            *("metrics.metric", "metrics.verdict", "purged.files.action", "purged.files.file"),
        }
        assert {name for name, values in leaves.items() if isinstance(values[0], str)} == texts
        # every number there is: a new one must be shown here to tell nothing of anybody's records
        assert leaves.keys() - texts == {
            *("version", "seed", "request", "round", "forgotten", "clients"),
            *(f"costs.{name}" for name in run_files.COST_COLUMNS),
            *(f"metrics.{n}" for n in ("value", "retrained", "spread", "seeds", "gap")),
            *("metrics.threshold", "metrics.conclusive"),
            *("purged.files.clients", "purged.files.bytes"),
            *("purged.rewritten", "purged.deleted", "purged.bytes"),
            *("audit.files", "audit.objects", "audit.blank"),
            *("hyperparameters.interval", "hyperparameters.effort"),
        }
        assert leaves["clients"] == [0]
        assert leaves["purged.files.clients"] == [0, 0]
        assert (leaves["purged.rewritten"], leaves["purged.deleted"]) == ([1], [1])
        assert leaves["purged.bytes"] == [1040 + 2080]

    def test_it_has_one_form(self):
        made = drafted(row(), [row(), row(strategy="retrain")])
        content = encode(made)
        assert content == encode(decode(content))
        assert hashlib.sha256(content).hexdigest() == digest(made)
        found = json.loads(content)
        assert content.decode() == json.dumps(found, indent=2, sort_keys=True) + "\n"
        for other in (
            json.dumps(found),
            json.dumps(found, indent=2),
            content.decode().replace("{", '{\n  "seed": 0,', 1),
        ):
            if other.encode() != content:
                with pytest.raises(ValueError, match="not as fedunlearn wrote it"):
                    decode(other.encode())

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"version": 1}, "version 1; this version of fedunlearn reads 2"),
            ({"records": 3}, "it does not have the fields"),
            ({"verdict": None}, "its verdict is a NoneType"),
            ({"verdict": "forgotten"}, "not as fedunlearn wrote it"),
            ({"forgotten": False}, "not as fedunlearn wrote it"),
            ({"seed": True}, "its seed is a bool"),
            ({"seed": 0.0}, "its seed is a float"),
            ({"clients": 0}, "its clients is no list"),
            ({"clients": ["0"]}, "a part of its clients is a str"),
            ({"clients": [3, 0]}, "are not ascending"),
            ({"clients": [0, 0]}, "are not ascending"),
            ({"issued": "yesterday"}, "does not match"),
            ({"issued": "2025-1-1T00:00:00Z"}, "is no time"),
            ({"previous": "0" * 63}, "is no SHA-256"),
            ({"previous": "A" * 64}, "is no SHA-256"),
            ({"config_sha256": "0" * 65}, "is no SHA-256"),
            ({"model_after_sha256": ""}, "is no SHA-256"),
            ({"costs": {}}, "its costs does not have the fields"),
            (
                {"audit": {"findings": [], "files": 0, "objects": 0, "blank": 0}},
                "audit searched nothing",
            ),
            ({"hyperparameters": []}, "its hyperparameters is a list"),
        ],
    )
    def test_other_json_is_refused(self, change, reason):
        made = drafted(row(), [row(), row(strategy="retrain")])
        found = {**json.loads(encode(made)), **change}
        with pytest.raises(ValueError, match=reason):
            decode(json.dumps(found, indent=2, sort_keys=True).encode() + b"\n")

    @pytest.mark.parametrize("place", ["/etc/passwd", "../other", "models/../../x"])
    def test_a_purged_file_lies_in_the_run(self, place):
        with pytest.raises(ValueError, match="does not lie in the run's folder"):
            Purged(place, (0,), 1, "deleted")
        with pytest.raises(ValueError, match="neither deleted nor rewritten"):
            Purged("history/a", (0,), 1, "hidden")

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff", b"[" * 100_000])
    def test_what_is_no_certificate_at_all_is_refused(self, content):
        with pytest.raises(ValueError, match=r".+"):
            decode(content)

    def test_values_become_what_json_can_say(self):
        @dataclass(frozen=True)
        class Inner:
            rate: float

        nothing = float("nan")
        found = plain({"a": (1, True, None), 2: nothing, "c": Inner(float("inf")), "d": Inner})
        target = {"_target_": f"{__name__}.{Inner.__qualname__}"}
        assert found == {
            "a": [1, True, None],
            "2": None,
            "c": {**target, "rate": "inf"},
            "d": target,
        }
        assert plain(found) == found

    def test_hyperparameters_are_those_of_the_strategy_s_yaml(self):
        path = ROOT / "conf/strategy/federaser.yaml"
        assert hyperparameters(FedEraser()) == yaml.safe_load(path.read_text())


class TestText:
    def test_it_says_who_when_what_and_how_far(self):
        rows = cases()
        made = drafted(rows[3], rows)
        shown = text(made)
        assert shown.startswith("# Deletion certificate: clients 3 and 11\n")
        assert "Request 2 of seed 0, after training round 24, was served by federaser." in shown
        assert f"Issued {made.issued}." in shown
        assert f"**Verdict: {made.verdict}.**" in shown
        assert (
            "| forget_accuracy | 0.8200 | 0.8000 ± 0.0707 (2 seeds) | +0.0200 | 0.0500 |" in shown
        )
        assert "round-000003.safetensors | 0 | 2,080 | deleted |" in shown
        assert "3,120 bytes in 2 files." in shown
        assert (
            "Searched 12 files and all that 3 objects in memory lead to: nothing of them is left."
            in shown
        )
        assert "- interval: `2`" in shown
        for fingerprint in (made.model_before, made.model_after, made.config_sha256, digest(made)):
            assert fingerprint in shown

    def test_tables_hold_whatever_is_in_them(self):
        rows = cases()
        purged = tuple(Purged(f"history/a|b\n{n}", (0,), 1, "deleted") for n in range(LISTED + 5))
        audit = Audited(("The cache | keyed on client 0\nis there.",), 1, 0, blank=2)
        shown = text(drafted(rows[3], rows, purged=purged, audit=audit))
        assert shown.count("| deleted |") == LISTED
        assert "25 bytes in 25 files, 5 of them not listed here." in shown
        assert "- The cache \\| keyed on client 0 is there.\n" in shown
        assert "this is left of the leavers." in shown
        assert "Not looked for: 2 updates, too short" in shown
        for table in shown.split("\n\n"):
            if table.startswith("|"):
                cells = [line.replace("\\|", "").count("|") for line in table.splitlines()]
                assert len(set(cells)) == 1

    def test_it_lists_what_a_promise_assumes_and_says_nothing_where_there_is_none(self):
        rows, assumptions = cases(), Sifu(decay=1.25).assumptions
        made = drafted(rows[3], rows, assumptions=assumptions)
        shown = text(decode(encode(made)))
        assert "## What the promise of federaser assumes" in shown
        assert all(f"- {each}\n" in shown for each in assumptions)
        assert "at most 1.25 times as far apart (decay)" in shown
        assert "assumes" not in text(drafted(rows[3], rows))

    def test_that_nothing_was_purged_is_said(self):
        rows = cases()
        assert "No file was rewritten or deleted." in text(drafted(rows[3], rows, purged=()))

    def test_the_page_shows_a_real_one(self):
        page = (ROOT / "docs/certificates.md").read_text()
        example = page.partition("```markdown\n")[2].partition("```")[0].splitlines()
        assert len(example) > 20
        real = iter(text(EXAMPLE).splitlines())
        assert [line for line in example if line != "…" and line not in real] == []


def test_a_part_of_the_records_is_named_and_who_stays():
    rows = cases()
    whole = drafted(rows[3], rows)
    made = drafted({**rows[3], "scope": "labels=7"}, rows)
    assert decode(encode(made)) == made
    assert '"scope": "labels=7"' in encode(made).decode()
    assert '"scope"' not in encode(whole).decode()
    assert encode(drafted({**rows[3], "scope": "everything"}, rows)) == encode(
        replace(whole, issued=made.issued)
    )
    title = text(made).splitlines()[0]
    assert title == f"# Deletion certificate: label 7 of {whole.wish.who}"
    assert "those who asked stay in training" in text(made)
    assert "stay in training" not in text(whole)


EXAMPLE = replace(
    draft(
        {**row(), "bytes_down": 4936480, "bytes_up": 4936480, "client_epochs": 48.0},
        [row(), row(strategy="retrain"), row(1, "retrain")],
        replace(
            served(row()), **{f"model_{at}": config_hash({at: 1}) for at in ("before", "after")}
        ),
        thresholds=Thresholds({"forget_accuracy_gap": 0.05, "test_accuracy_gap": 0.02}),
        config_sha256=config_hash(CONFIG),
        commit="9dab49a",
    ),
    issued="2025-11-21T15:16:00Z",
    fedunlearn="0.1.0",
)


@pytest.mark.parametrize("answer", ["remembers", "damaged", "broken", "as retrained", "undecided"])
def test_no_threshold_says_forgotten_where_the_run_tells_models_apart(answer):
    rows = cases()
    made = replace(drafted(rows[3], rows), answer=answer, reason="It lies far away.")
    told = answer in ("remembers", "damaged", "broken")
    assert made.forgotten is (False if told else drafted(rows[3], rows).forgotten)
    assert ("the run's answer is that the strategy" in made.verdict) == told
    assert f"The run's answer: {answer}. It lies far away." in text(made)
    assert decode(encode(made)) == made


def pem(folder, name, key):
    path = folder / name
    if hasattr(key, "private_bytes"):
        form = (PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(key.private_bytes(Encoding.PEM, *form))
    else:
        path.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


@pytest.fixture
def keys(tmp_path):
    """Files with a private key and its public one."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    return pem(tmp_path, "private.pem", key), pem(tmp_path, "public.pem", key.public_key())


def signed(run, key):
    issued = [path for path in (run / "certificates").iterdir() if path.name[:6] != "signed"]
    sign(run, key, issued, json.loads((run / "manifest.json").read_text())["files"])
    return run


def rewritten(run):
    """Let somebody who can write to the folder issue another chain."""
    shutil.rmtree(run / "certificates")
    issue(run, [replace(made, commit="other") for made in drafts(cases())])


CHANGED = "does not list the files of this run as they are"


class TestSignature:
    def test_it_covers_certificates_tables_and_models(self, run, keys):
        private, public = keys
        assert not verify(run).signed
        signed(run, private)
        assert verify(run).signed
        assert verify(run, public) == verify(run)
        lines = (run / "certificates" / "signed.sha256").read_text().splitlines()
        listed = {name: checksum for checksum, name in (line.split("  ") for line in lines)}
        every = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
        own = {"manifest.json", "certificates/signed.sha256", "certificates/signed.sig"}
        assert listed == {name: files.sha256(run / name) for name in every - own}

    def test_it_is_the_same_each_time(self, run, keys):
        place = run / "certificates" / "signed.sig"
        one, other = (signed(run, keys[0]) and place.read_bytes() for _ in range(2))
        assert one == other

    def test_a_chain_rewritten_as_a_whole_is_found_with_the_key_alone(self, run, keys, tmp_path):
        private, public = keys
        signed(run, private)
        rewritten(run)
        assert not verify(run).signed  # nobody can tell without the key
        with pytest.raises(Refused, match=r"is not signed: .*signed.sha256 is missing"):
            verify(run, public)
        signed(run, pem(tmp_path, "another.pem", Ed25519PrivateKey.generate()))
        assert verify(run).signed
        with pytest.raises(Refused, match=r"was not made with the private key of .*public.pem"):
            verify(run, public)

    def test_an_old_signature_holds_for_nothing_else(self, run, keys):
        private, public = keys
        signed(run, private)
        place = run / "certificates"
        kept = {name: (place / name).read_bytes() for name in ("signed.sha256", "signed.sig")}
        rewritten(run)
        for name, content in kept.items():
            (place / name).write_bytes(content)
        for key in (None, public):
            with pytest.raises(Refused, match=CHANGED):
                verify(run, key)

    def test_the_last_certificates_cannot_be_dropped(self, run, keys):
        private, public = keys
        signed(run, private)
        last = verify(run).certificates[-1].name
        for end in (".json", ".md"):
            (run / "certificates" / f"{last}{end}").unlink()
        with pytest.raises(Refused, match=CHANGED):
            verify(run, public)

    def test_a_table_rewritten_with_its_checksum_is_found(self, run, keys):
        private, public = keys
        signed(run, private)
        (run / "metrics.csv").write_text("seed\n")
        manifest = json.loads((run / "manifest.json").read_text())
        manifest["files"]["metrics.csv"] = files.sha256(run / "metrics.csv")
        del manifest["sha256"]
        (run / "manifest.json").write_text(manifest_text(manifest))
        with pytest.raises(Refused, match=CHANGED):
            verify(run, public)

    @pytest.mark.parametrize("name", ["signed.sha256", "signed.sig"])
    @pytest.mark.parametrize("change", [b"", b"x", None])
    def test_a_damaged_signature_is_a_sentence(self, run, keys, name, change):
        private, public = keys
        path = signed(run, private) / "certificates" / name
        if change is None:
            path.unlink()
        else:
            path.write_bytes(change)
        with pytest.raises(Refused, match=r"signed\.(sig|sha256)"):
            verify(run, public)

    def test_keys_that_are_none_are_refused(self, run, keys, tmp_path):
        private, public = keys
        (tmp_path / "damaged.pem").write_bytes(private.read_bytes()[:60])
        (tmp_path / "damaged_public.pem").write_bytes(public.read_bytes()[:60])
        locked = Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
        (tmp_path / "locked.pem").write_bytes(locked)
        for key, sentence in {
            Path("nowhere.pem"): r"^signing_key=nowhere.pem cannot be read: .*openssl genpkey",
            tmp_path / ("far" * 70): r"^signing_key=.{59}… cannot be read",
            public: r"^signing_key=.{,60} holds a public key; a private one signs",
            tmp_path / "damaged.pem": r"^signing_key=.{,60} is no key in PEM format, or is damaged",
            tmp_path / "locked.pem": r"locked by a password.*openssl pkey",
            pem(tmp_path, "curve.pem", ec.generate_private_key(ec.SECP256R1())): "another kind",
        }.items():
            with pytest.raises(Refused, match=sentence):
                sign(run, key, [], {})
        for key, sentence in {
            private: "holds a private key, which belongs to whoever signs",
            tmp_path / "nowhere.pem": "cannot be read",
            tmp_path / "damaged_public.pem": "is no key in PEM format",
            tmp_path: "cannot be read",
        }.items():
            with pytest.raises(Refused, match=sentence):
                verify(run, key)

    def test_a_key_that_is_none_ends_a_run_before_it_trains(self, keys):
        assert replace(WAVES, signing_key=keys[0])
        with pytest.raises(Refused, match="holds a public key"):
            replace(WAVES, signing_key=keys[1])

    @pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
    def test_openssl_makes_the_keys_and_checks_the_signature(self, run, tmp_path):
        private, public = tmp_path / "private.pem", tmp_path / "public.pem"
        place = run / "certificates"

        def openssl(command):
            subprocess.run(["openssl", *command.split()], check=True, capture_output=True)

        openssl(f"genpkey -algorithm ed25519 -out {private}")
        openssl(f"pkey -in {private} -pubout -out {public}")
        signed(run, private)
        assert verify(run, public).signed
        openssl(
            f"pkeyutl -verify -pubin -inkey {public} -rawin -in {place / 'signed.sha256'} "
            f"-sigfile {place / 'signed.sig'}"
        )


class TestCommand:
    def run(self, monkeypatch, *arguments):
        monkeypatch.setattr(sys, "argv", ["fedunlearn", "verify", *map(str, arguments)])
        command.main()

    def test_it_lists_certificates_and_prints_the_head(self, finished, monkeypatch, capsys):
        self.run(monkeypatch, finished)
        shown = capsys.readouterr().out
        assert f"8 certificates, chain whole, head {verify(finished).head}\n" in shown
        assert "clients 3 and 11" in shown
        assert shown.count("forgotten within the configured thresholds") == 8

    def test_it_finds_the_runs_of_a_multirun(self, finished, tmp_path, monkeypatch, capsys):
        for name in ("0", "1"):
            shutil.copytree(finished, tmp_path / name)
        self.run(monkeypatch, tmp_path)
        assert capsys.readouterr().out.count("chain whole") == 2

    def test_it_says_who_signed(self, run, keys, monkeypatch, capsys):
        private, public = keys
        self.run(monkeypatch, run)
        assert "Not signed: whoever can write" in capsys.readouterr().out
        signed(run, private)
        self.run(monkeypatch, run)
        assert "Signed, by whom is not checked" in capsys.readouterr().out
        self.run(monkeypatch, run, "--key", public)
        assert f"Signed with the private key of {public}." in capsys.readouterr().out

    def test_what_is_wrong_is_a_sentence(self, run, monkeypatch, capsys):
        path = run / "models" / "seed1-retrain-request2.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(SystemExit) as left:
            self.run(monkeypatch, run)
        assert left.value.code == 2
        said = capsys.readouterr()
        assert "chain whole" not in said.out
        assert f"{path} is not the model that certificates/seed1-retrain-request2.json" in said.err

    def test_it_is_named_in_the_usage(self):
        assert "\n  verify " in command.usage()
