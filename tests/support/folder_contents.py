"""What lies in the folder of a run."""

import pandas as pd


def contents(folder):
    """Return what a run wrote, without what the clock or the process had to do with."""
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix in (".safetensors", ".csv")
    }
    for name in ("summary.csv", "ledger.csv"):
        found[name] = pd.read_csv(folder / name).drop(columns="seconds").to_csv()
    return found
