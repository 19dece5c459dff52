import pandas as pd
import pytest
import torch

from benchmarks import references


@pytest.fixture(autouse=True)
def one_thread():
    """As in a run: threads each train clients of their own."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("net", "mode"), [("mlp", "cohort"), ("cnn", "workers")])
def test_a_bank_is_trained_and_timed(net, mode, tmp_path, capsys):
    file = tmp_path / "references.csv"
    sizes = ["--references", "2", "--rounds", "1", "--repetitions", "2"]
    references.main(["--models", net, *sizes, "--out", str(file)])
    said = capsys.readouterr().out
    assert "2 references, 1 rounds, 20 clients" in said
    assert f"| {net} | {mode} |" in said
    assert "| ≤ 60 |" in said
    found = pd.read_csv(file)
    assert list(found) == list(references.COLUMNS)
    assert found["repetition"].tolist() == [1, 2]
    assert (found["seconds"] > 0).all()
    assert (found["cpu_seconds"] > 0).all()
    # The same seeds give the same models, which have learnt something in a round.
    assert found["accuracy"].nunique() == 1
    assert 0.12 < found["accuracy"][0] < 1
