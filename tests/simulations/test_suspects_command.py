"""`fedunlearn suspects` on the preset with noisy clients: they, and their records, are found."""

import pandas as pd
import pytest

from fedunlearn.attacks import Suspects
from fedunlearn.checks import Refused
from fedunlearn.data import build_federation
from fedunlearn.simulations import configured, suspects
from tests.support.preset_runs import ends, finished

NOISY = {1, 4, 8}


@pytest.mark.slow
def test_noisy_clients_are_found_and_letting_them_go_helps(tmp_path, monkeypatch, capsys):
    run = finished(tmp_path, "low_quality")
    before, retrained, untouched = ends(run, "test_accuracy")
    assert untouched == before
    assert retrained > before
    found = Suspects(configured.rebuilt(run), run)
    with pytest.raises(Refused, match="--seed=5 does not exist"):
        found.found(5)
    monkeypatch.setattr("sys.argv", ["fedunlearn suspects", str(tmp_path)])
    suspects.main()
    assert "100 % of all pairs" in " ".join(capsys.readouterr().out.split())
    clients = pd.read_csv(tmp_path / "suspects.csv")
    assert list(clients["rank"]) == list(range(1, 11))
    assert set(clients["client"].head(3)) == NOISY == set(clients.loc[clients["planted"], "client"])
    records = pd.read_csv(tmp_path / "suspect_records.csv")
    here = build_federation(configured.rebuilt(run).scenario(0))
    for client, mine in records.groupby("client"):
        assert sorted(mine["record"]) == list(range(len(here.train[client])))
        planted = mine["planted"].sum()
        assert bool(planted) == (client in NOISY)
        assert not planted or mine["planted"].head(planted).mean() > 0.9
    again = tmp_path / "suspects.csv"
    written = again.read_bytes()
    suspects.main()
    assert again.read_bytes() == written
