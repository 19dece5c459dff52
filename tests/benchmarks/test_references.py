import pandas as pd
import pytest

from benchmarks import references

pytestmark = pytest.mark.usefixtures("one_torch_thread")


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
