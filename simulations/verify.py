"""`fedunlearn verify FOLDER …`: compare a run's deletion certificates with its files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.table import Table

from fedunlearn import results
from fedunlearn.checks import Refused
from fedunlearn.results import certificates


def listed(chain: certificates.Chain) -> Table:
    """Return a row a certificate, in the order of the chain."""
    table = results.terminal_table("Seed")
    for heading in ("Request", "Left", "Strategy"):
        table.add_column(heading, overflow="fold")
    table.add_column("Verdict", overflow="fold", ratio=1, min_width=24)
    table.expand = True
    for made in chain.certificates:
        table.add_row(
            str(made.seed), str(made.request), made.wish.what, made.strategy, made.verdict
        )
    return table


def _signed(chain: certificates.Chain, key: Path | None) -> str:
    """Say who stands behind a chain."""
    if not chain.signed:
        return "Not signed: whoever can write to the folder can have written all of it."
    if key is None:
        return "Signed, by whom is not checked: --key PUBLIC_KEY does."
    return f"Signed with the private key of {key}."


def main() -> None:
    """Verify every run in the folders named; the first that is wrong ends it with code 2."""
    parser = argparse.ArgumentParser(prog="fedunlearn verify", description=__doc__)
    parser.add_argument("folder", nargs="+", type=Path, help="a run, or a multirun of several")
    parser.add_argument(
        "--key", type=Path, help="the public key of whoever signed: unsigned runs are refused then"
    )
    console = results.plain_console()
    try:
        chosen = parser.parse_args()
        for folder in chosen.folder:
            for run in (
                [folder]
                if (folder / certificates.CERTIFICATES_FOLDER).is_dir()
                else results.find_runs(folder)
            ):
                chain = certificates.verify(run, chosen.key)
                number = len(chain.certificates)
                count = "1 certificate" if number == 1 else f"{number} certificates"
                console.print(str(run), listed(chain), sep="\n", soft_wrap=True)
                console.print(f"{count}, chain whole, head {chain.head}", soft_wrap=True)
                console.print(_signed(chain, chosen.key), soft_wrap=True)
    except Refused as refusal:
        sys.stderr.write(f"{refusal}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
