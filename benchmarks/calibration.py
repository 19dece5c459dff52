"""How often answers are wrong: designs drawn from a family of really retrained models.

Train the family once, then draw from it:

    fedunlearn compare experiment=digits_backdoor model=mlp references=8 'strategies=[none]' \
      "seeds=[$(seq -s, 0 49)]" certificate=none figures=false hydra.run.dir=outputs/family
    python -m benchmarks.calibration outputs/family

In each draw S seeds and R + 1 of the retrained models of each are taken; one of them stands for a
strategy and is judged by the others, on the path of every run. Shifted by a multiple of the
standard deviation of retraining on every measure about the leavers, it tells the power. The
untouched model of the family is judged alongside.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from fedunlearn.results import (
    CARDS,
    GAP_SUFFIX,
    RETRAIN,
    UNTOUCHED,
    Run,
    answers,
    is_reference,
    load,
    reference_name,
)

DESIGNS = ((3, 3), (5, 3), (10, 5))
"""Seeds and references; the first is the default of `compare`."""

SHIFTS = (0.0, 1.0, 2.0, 3.0)
JUDGED = "judged"
WORDS = ("as retrained", "undecided", "remembers", "damaged", "broken", "nothing to forget")


def designs(
    run: Run, seeds: int, references: int, shift: float, draws: int
) -> Iterator[pd.DataFrame]:
    """Yield summaries in which a retrained model stands for the strategy `JUDGED`.

    Its measures about the leavers are moved by ``shift`` standard deviations of retraining.
    """
    rng = np.random.default_rng([seeds, references, int(10 * shift)])
    rows = run.summary.set_index(["seed", "strategy"], drop=False)
    names = [str(name) for name in rows["strategy"].unique() if is_reference(str(name))]
    about = [m for m, card in CARDS.items() if card.about_leavers and m in rows and card.judged]
    retrained = rows[rows["strategy"].isin(names)]
    spread = {m: float(np.sqrt(retrained[m].groupby(level=0).var().mean())) for m in about}
    for _ in range(draws):
        parts = []
        for seed in rng.choice(rows["seed"].unique(), seeds, replace=False):
            chosen = rng.permutation(names)[: references + 1]
            drawn = rows.loc[[(seed, name) for name in (*chosen, UNTOUCHED)]].reset_index(drop=True)
            called = [JUDGED, *(reference_name(n) for n in range(1, references + 1)), UNTOUCHED]
            drawn["strategy"] = called
            for metric in about:
                drawn.loc[0, metric] += shift * spread[metric]
            parts.append(drawn)
        yield _as_measured(pd.concat(parts, ignore_index=True))


def _as_measured(summary: pd.DataFrame) -> pd.DataFrame:
    """Leave out what compares with the first reference, which is another one here."""
    compares = [m for m, card in CARDS.items() if card.compares and m in summary]
    summary = summary.drop(
        columns=[*compares, *(c for c in summary if str(c).endswith(GAP_SUFFIX))]
    )
    goal = summary[summary["strategy"].map(is_reference)].groupby("seed")["test_accuracy"].mean()
    gap = summary["test_accuracy"] - summary["seed"].map(goal)
    return summary.assign(**{f"test_accuracy{GAP_SUFFIX}": gap})


def shares(run: Run, seeds: int, references: int, shift: float, draws: int) -> dict[str, float]:
    """Return how often each word was said, of the judged model and of the untouched one."""
    words: list[str] = []
    untouched = 0
    for summary in designs(run, seeds, references, shift, draws):
        table = answers(summary, run.clients).set_index("strategy")["answer"]
        words.append(str(table[JUDGED]))
        untouched += table[UNTOUCHED] in ("remembers", "damaged", "broken")
    shares_by_word = {word: words.count(word) / draws for word in WORDS}
    return {**shares_by_word, "untouched told apart": untouched / draws}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table: a row a design and shift."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help=f"a run with many models of {RETRAIN}")
    parser.add_argument("--draws", type=int, default=250)
    chosen = parser.parse_args(arguments)
    run = load(chosen.folder)
    low, high = stats.binom.interval(0.95, chosen.draws, 0.05)
    print(
        f"{run.summary['seed'].nunique()} seeds, {chosen.draws} draws each; of a test at 5 %, "
        f"{low / chosen.draws:.1%} to {high / chosen.draws:.1%} are told apart by chance.\n"
    )
    heading = ("seeds x references", "shift", *WORDS, "untouched told apart")
    print("| " + " | ".join(heading) + " |\n|" + "---|" * len(heading))
    for seeds, references in DESIGNS:
        for shift in SHIFTS:
            by_word = shares(run, seeds, references, shift, chosen.draws)
            cells = [
                f"{seeds} x {references}",
                f"{shift:g} sd",
                *(f"{v:.1%}" for v in by_word.values()),
            ]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
