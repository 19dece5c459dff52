"""`fedunlearn explain` answers for every word that the configuration and the tables use."""

import sys

import pytest

from fedunlearn.checks import Refused
from fedunlearn.results import CARDS
from fedunlearn.simulations import explain, settings
from fedunlearn.simulations.hyperparameters import keys

KEYS = {one.path: one for one in reversed(settings.known_settings())}

CHOICES = [c for choices in settings.known_groups().values() for c in choices.values()]


@pytest.mark.parametrize("path", KEYS)
def test_every_key_is_explained_by_its_sentence(path):
    lines = explain.explained(path)
    assert lines[0].partition("=")[0] == path
    assert KEYS[path].sentence[1:30] in "\n".join(lines)


@pytest.mark.parametrize("choice", CHOICES, ids=lambda c: f"{c.group}={c.name}")
def test_every_choice_is_explained_and_says_what_it_is(choice):
    lines = explain.explained(f"{choice.group}={choice.name}")
    assert lines[0].startswith(f"{choice.group}={choice.name}")
    assert choice.sentence
    assert str(choice.file) in "\n".join(lines)


@pytest.mark.parametrize("name", CARDS)
def test_every_metric_and_its_gap_are_explained(name):
    assert CARDS[name].meaning in "\n".join(explain.explained(name))
    assert "less the retrained model's value" in "\n".join(explain.explained(f"{name}_gap"))


def test_the_comments_that_are_read_are_what_the_classes_say():
    read = {(s.group, s.choice, s.path): s for s in settings.known_settings()}
    compared = 0
    for choice in CHOICES:
        if choice.group in settings.OVERLAYS:
            continue
        for key in keys(choice.file.read_text()):
            setting = read[choice.group, choice.name, f"{choice.group}.{key.path}"]
            assert setting.sentence == key.of.comment
            assert setting.value == key.value
            compared += 1
    assert compared > 150


def test_a_part_of_a_key_names_all_that_end_with_it():
    lines = explain.explained("lr")
    named = {line.partition("=")[0] for line in lines if not line.startswith(" ")}
    assert named == set(settings.ending_in("lr")) >= {"training.work.optimizer.lr"}


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        (
            "federazer",
            "neither a key nor a choice nor a metric; did you mean federaser?",
        ),
        ("training.rouds", "did you mean training.rounds?"),
        ("qqqqqqqq", "qqqqqqqq is neither a key nor a choice nor a metric."),
    ],
)
def test_an_unknown_word_is_refused(word, sentence):
    with pytest.raises(Refused) as refusal:
        explain.explained(word)
    assert sentence in str(refusal.value)


def test_the_command_prints_its_usage(monkeypatch, capsys):
    for arguments, code in (([], 2), (["--help"], 0)):
        monkeypatch.setattr(sys, "argv", ["fedunlearn explain", *arguments])
        with pytest.raises(SystemExit) as left:
            explain.main()
        assert left.value.code == code
        assert capsys.readouterr().out == explain.USAGE


def test_a_group_of_one_s_own_is_explained(monkeypatch, tmp_path):
    (tmp_path / "conf/strategy").mkdir(parents=True)
    (tmp_path / "conf/strategy/mine.yaml").write_text(
        "# Forgets by magic.\n_target_: mine.Mine\nspell: 3    # how often it is said\n"
    )
    monkeypatch.chdir(tmp_path)
    text = "\n".join(explain.explained("mine"))
    assert "Forgets by magic." in text
    assert "how often it is said" in text
