"""What is mistyped is refused at once, with a remedy; help is one screen; stopping is one line."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from fedunlearn.simulations import help_pages
from fedunlearn.simulations.__main__ import COMMANDS, CONFIGURED, main

TINY = ["model=mlp", "training.rounds=2", "training.work.epochs=1", "figures=false", "references=1"]

REFUSED = {
    "withdraw foo": "foo is no KEY=VALUE.",
    "withdraw =3": "=3 names no key. Write KEY=3.",
    "withdraw seed=[1,": "seed=[1, cannot be read",
    "withdraw lr=0.1": "lr does not exist by that name. Write ",
    "withdraw alpha=3": "by that name. Write partition.alpha or ",
    "withdraw partition.alpha=3": "partition=iid has no alpha. Choose partition=dirichlet or",
    "withdraw partition=dirichlet strategy.alpha=1": "Choose strategy=fast_fedul or strategy=",
    "withdraw datset=mnist": "datset does not exist; did you mean dataset?",
    "withdraw dataset=mnsit": "dataset=mnsit does not exist; did you mean mnist?",
    "withdraw dataset=3": "dataset takes the name of one of its choices: cifar10, ",
    "withdraw partition={alpha:3}": "takes the name of one of its choices: dirichlet, iid",
    "withdraw strategy=pga,puf": "A run for each is -m strategy=pga,puf.",
    "withdraw strategies=[pga]": "withdraw does not heed strategies=[pga]. It runs one strategy",
    "withdraw seeds=[0,1]": "withdraw does not heed seeds=[0,1]. Write seed=0, or",
    "compare strategies=none,retrain": "One list is 'strategies=[none,retrain]', with quotes.",
    "compare seed=3": "compare does not heed seed=3. Write 'seeds=[0,1,2]'.",
    "compare seeds=3": "seeds=3 would be one seed, the number 3.",
    "compare minimise=[a]": "compare does not heed minimise=[a].",
    "compare strategy=pga": "runs those that strategies names, and pga is none of them",
    "compare strategy=retrain": "strategy=retrain would change nothing.",
    "compare strategies=[none] strategy.interval=3": "strategy.interval=3 would change nothing.",
    "estimate seeds=5": "seeds=5 would be one seed, the number 5.",
    "doctor seeds=[1]": "doctor does not heed seeds=[1].",
    "withdraw training.rounds=0": "training.rounds must be a whole number of at least 1, not 0.",
    "withdraw partition=dirichlet partition.alpha=-1": "partition.alpha must be a number above 0",
    "withdraw strategy.interval=abc": "strategy.interval must be a whole number of at least 1,",
    "withdraw training.work=3": "training.work must be a part with a _target_ that makes a",
    "withdraw withdrawal.clients=[9]": "withdrawal.clients names [9], but the federation has",
    "withdraw withdrawal.after=99": "withdrawal.after=99 lies outside training",
    "withdraw heldout=2": "heldout must be a number above 0 and at most 0.9, not 2.",
    "withdraw minimise=[loss]": "minimise=loss is no column of summary.csv",
    "withdraw seed=-1": "seed must be a whole number of at least 0, not -1.",
    "compare strategies=[{puf:{eta:x}}]": "strategies.puf(eta=x).eta must be a number above 0",
    "estimate evaluators.every=0": "evaluators.every must be a whole number of at least 1, not 0.",
    "withdraw dataset:mnist": "dataset:mnist is no KEY=VALUE. Write dataset=mnist.",
    "withdraw seed 3": "seed is no KEY=VALUE. Write seed=VALUE.",
    "withdraw --strategy pga": "unrecognized arguments: --strategy. Keys are written KEY=VALUE",
    "withdraw dataset=./photos": "Your own images: dataset=imagefolder dataset.root=FOLDER.",
    "withdraw rounds=5": "Write training.rounds or training.work.schedule.rounds or",
    "withdraw compare seed=[1,": "compare is no KEY=VALUE.",
    "withdraw history=none": "strategy=federaser needs stored updates, but history.updates=false",
    "withdraw strategy=pga withdrawal.cooperates=false": "strategy=pga lets those who leave work",
    "withdraw strategy=subtraction proxy=0": "strategy=subtraction needs unlabelled records on the",
    "withdraw strategy.interval=30": "strategy=federaser keeps one round in 30, but the request",
    "withdraw history.budget=lots": "history.budget must be an amount such as 2GB or 500 MB",
    "withdraw signing_key=no.pem": "no.pem cannot be read: No such file or directory.",
    "withdraw strategy._target_=my.M": "strategy cannot be built: my.M is not found: there is no",
    "withdraw hydra.run.dir=/proc/run": "/proc/run cannot be written: ",
    "withdraw trials=3": "withdraw does not heed trials=3. That is for fedunlearn tune.",
    "withdraw tuned=a.yaml": "Settings that fedunlearn tune chose are for fedunlearn compare.",
    "compare validation=[7]": "compare does not heed validation=[7]. That is for fedunlearn tune.",
    "compare tuned=no.yaml": "no.yaml is no file. fedunlearn tune writes one, called tuned.yaml.",
    "tune seeds=[0]": "does not heed seeds=[0]. Write 'validation=[100,101]': other seeds than",
    "tune strategy.interval=3": "starts from each strategy as its YAML says it",
    "tune strategies=[{puf:{eta:3}}]": "write puf for puf(eta=3). What is tried of it stands in",
    "tune trials=0": "trials must be a whole number of at least 1, not 0.",
    "tune validation=[1,1]": "validation must be a number or different ones, not [1, 1].",
    "tune references=1": "references=1 does not show how far retrained models differ",
    "tune -m seed=1,2": "tune examines one configuration: leave out -m",
    "tune strategies=[pgaa]": "strategies=pgaa does not exist; did you mean pga?",
    "tune-planner strategy=pga": "tunes rum: leave out strategy=pga.",
    "tune-planner strategies=[{puf:{eta:3}}]": "makes tables of names, not of puf(eta=3)",
    "tune-planner validation=[-1]": "Each of validation must be a whole number of at least 0",
    "tune-planner figures=true": "tune-planner does not heed figures=true. It draws none.",
    "strategy=pga": "A command comes first: fedunlearn withdraw strategy=pga.",
    "wthdraw": "fedunlearn wthdraw is no command; did you mean withdraw?",
    "cache ls nowhere": "There is no cache in nowhere",
    "explain federazer": "did you mean federaser?",
}

PROBE = """
import contextlib, io, json, resource, sys
from fedunlearn.simulations.__main__ import main
told = {}
for line in json.loads(sys.argv[1]):
    sys.argv = ["fedunlearn", *line.split(" ")]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as left:
            code = left.code
    loaded = [name for name in ("torch", "pandas", "flwr", "matplotlib") if name in sys.modules]
    told[line] = [code, out.getvalue(), err.getvalue(), loaded]
print(json.dumps(told))
"""
"""Runs command lines one after another, and tells of each what it printed and what is loaded."""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    helps = [f"{command} --help" for command in COMMANDS]
    lines = [*REFUSED, *helps, "--help", "--version"]
    ran = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(lines)],
        capture_output=True,
        text=True,
        cwd=tmp_path_factory.mktemp("empty"),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    return json.loads(ran.stdout)


@pytest.mark.parametrize(("line", "sentence"), REFUSED.items(), ids=REFUSED)
def test_a_wrong_word_is_one_sentence_before_anything_heavy_is_loaded(told, line, sentence):
    code, out, error, loaded = told[line]
    assert (code, out, loaded) == (2, "", [])
    assert sentence in error
    assert len(error.splitlines()) == 1
    assert "Traceback" not in error


@pytest.mark.parametrize("line", ["--help", *(f"{command} --help" for command in COMMANDS)])
def test_help_is_one_screen_of_80_columns_and_loads_nothing_heavy(told, line):
    code, out, error, loaded = told[line]
    assert (code, error, loaded) == (0, "", [])
    assert 1 <= len(out.splitlines()) <= 45
    if line.partition(" ")[0] in CONFIGURED:
        assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("command", CONFIGURED)
def test_help_explains_ten_keys_by_their_sentences(command):
    page = help_pages.page(command)
    assert len(help_pages.KEYS[command]) == 10
    for key in help_pages.KEYS[command]:
        assert f"  {key}=" in page


def test_signals_are_as_they_were_once_a_command_is_through(monkeypatch, capsys):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    monkeypatch.setattr(sys, "argv", ["fedunlearn", "explain", "lr"])
    main()
    assert "training.work.optimizer.lr=" in capsys.readouterr().out
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def started(folder, *more):
    return subprocess.Popen(
        [sys.executable, "-m", "fedunlearn", *more],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("many", [False, True], ids=["one run", "multirun"])
def test_a_stopped_run_says_how_to_go_on_and_does(tmp_path, number, many):
    place = "hydra.sweep.dir=run" if many else "hydra.run.dir=run"
    words = ["-m", "seed=0,1"] if many else ["seed=0"]
    run = started(tmp_path, "withdraw", *words, *TINY, "training.rounds=3000", place)
    rows = tmp_path / ("run/0/metrics.csv" if many else "run/metrics.csv")
    while not rows.is_file() or not rows.stat().st_size:
        assert run.poll() is None
        time.sleep(0.1)
    run.send_signal(number)
    _, error = run.communicate(timeout=60)
    assert run.returncode == 130
    assert error == "\nStopped. Go on with: fedunlearn withdraw run=run\n"
    again = started(tmp_path, "withdraw", "run=run")
    while "Traceback" not in (line := again.stdout.readline()) and "round" not in line:
        assert line, again.stderr.read()
    again.send_signal(signal.SIGINT)
    _, error = again.communicate(timeout=60)
    assert (again.returncode, "Go on with" in error) == (130, True)


@pytest.mark.slow
def test_a_finished_run_is_replaced_by_overwrite_alone(tmp_path):
    command = ("withdraw", "strategy=none", *TINY, "hydra.run.dir=run")
    metrics = tmp_path / "run/metrics.csv"

    def ended(*more):
        with started(tmp_path, *command, *more) as run:
            _, error = run.communicate(timeout=120)
        return run.returncode, error

    assert ended() == (0, "")
    before = metrics.read_bytes()
    code, error = ended("seed=1")
    assert code == 2
    assert "run holds a finished run, which would be lost." in error
    assert "overwrite=true" in error
    assert metrics.read_bytes() == before
    assert ended("seed=1", "overwrite=true") == (0, "")
    assert metrics.read_bytes() != before
    assert b"\n1,shared" in metrics.read_bytes()


@pytest.mark.slow
def test_a_reader_that_goes_away_stops_no_run(tmp_path):
    with started(tmp_path, "withdraw", *TINY, "hydra.run.dir=run") as run:
        assert run.stdout.readline() == "Results go to run\n"
        run.stdout.close()
        assert run.wait(timeout=120) == 0
        assert run.stderr.read() == ""
    assert json.loads((tmp_path / "run/manifest.json").read_text())["status"] == "finished"


@pytest.mark.slow
def test_a_run_loads_nothing_that_it_does_not_need(tmp_path):
    program = (
        "import sys; from fedunlearn.__main__ import main; main(); "
        "print(*sorted({'sympy', 'torch._dynamo', 'matplotlib', 'altair'} & sys.modules.keys()))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, "compare", "seeds=[0]", *TINY],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    assert ran.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a: [", "line 1, is no YAML: "),
        (b"a: 1\n b: 2\n", "line 2, is no YAML: "),
        (b"a: \xff\n", "of conf/ in "),
    ],
)
def test_a_file_of_conf_that_cannot_be_read_is_a_sentence(
    tmp_path, monkeypatch, capsys, content, sentence
):
    (tmp_path / "conf/strategy").mkdir(parents=True)
    (tmp_path / "conf/strategy/mine.yaml").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["fedunlearn", "withdraw", "strategy=mine"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.splitlines()) == 1


def test_a_reader_of_the_configuration_that_goes_away_sees_no_traceback(tmp_path):
    with started(tmp_path, "compare", "--cfg", "job") as run:
        run.stdout.close()
        assert run.wait(timeout=60) == 0
        assert run.stderr.read() == ""
