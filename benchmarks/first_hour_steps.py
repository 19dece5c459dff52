"""The steps of the first hour: what is written, what is typed, and which page says more."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

GUIDE = Path(__file__).parents[1] / "CONTRIBUTING.md"

QUICK = "model=mlp training.rounds=6"

IMAGES = """\
from pathlib import Path
from PIL import Image
from sklearn.datasets import load_digits

digits = load_digits()
for number, (pixels, label) in enumerate(zip(digits.images, digits.target)):
    folder = Path("photos", "even" if label % 2 == 0 else "odd")
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray((pixels * 15).astype("uint8")).save(folder / f"{number}.png")
"""

ARRAYS = """\
import numpy
from sklearn.datasets import load_breast_cancer

records = load_breast_cancer()
rng = numpy.random.default_rng(0)
towns = numpy.array(["Aachen", "Basel", "Graz", "Lyon"])
owner = towns[rng.integers(4, size=len(records.data))]
x = (records.data / records.data.max(axis=0)).astype("float32")
numpy.savez("mine.npz", x=x, y=records.target, owner=owner)
"""


@dataclass(frozen=True)
class Step:
    """One section of the page."""

    title: str
    text: str
    commands: tuple[str, ...]
    written: tuple[str, ...] = ()
    """Files whose content the guide for contributors shows."""
    own: Mapping[str, str] | None = None
    """Other files, by name."""
    shown: tuple[str, ...] = ()
    """Of the output, paragraphs that contain one of these."""
    refused: bool = False
    """Whether the command is wrong, and says so."""
    then: str = ""

    def files(self) -> dict[str, str]:
        """Return what is written before the commands, by name."""
        return {name: example(name) for name in self.written} | dict(self.own or {})


def example(name: str) -> str:
    """Return the file of that name as the guide for contributors shows it."""
    text = GUIDE.read_text(encoding="utf-8")
    found = re.search(rf"`{re.escape(name)}`[^\n]*\n\n```\w+\n(.*?)```", text, re.DOTALL)
    assert found is not None, name
    return found[1]


STEPS = (
    Step(
        "A first answer",
        "Embedded data, clients with unequal labels, one of whom leaves; strategies beside the two "
        "controls, retraining again and doing nothing:",
        ("fedunlearn compare experiment=demo",),
        shown=("Can anybody tell", "Written"),
        then="[Reading an answer](reading-answers.md) explains every column; `fedunlearn explain "
        "forget_accuracy` a word of it.",
    ),
    Step(
        "A mistyped word",
        "What is wrong is told in a sentence, before anything is trained:",
        ("fedunlearn withdraw lr=0.1", "fedunlearn explain training.work.optimizer.lr"),
        refused=True,
        then="All keys are in [hyperparameters](hyperparameters.md).",
    ),
    Step(
        "A strategy of one's own",
        "Two files in the folder where you stand, nothing to register "
        "([how a strategy is written](../CONTRIBUTING.md#add-a-strategy-in-one-file)):",
        (f"fedunlearn compare 'strategies=[none,retrain,restart]' 'seeds=[0]' {QUICK}",),
        ("strategies/restart.py", "conf/strategy/restart.yaml"),
        shown=("Can anybody tell",),
        then="One seed can tell nothing from chance, and the answers say so: `'seeds=[0,1,2]'` "
        "does. Which strategies there are already: [choosing](choosing.md).",
    ),
    Step(
        "A model of one's own",
        "The same way ([what is supported](models-and-data.md)):",
        ("fedunlearn withdraw model=logistic strategy=federaser training.rounds=6",),
        ("logistic.py", "conf/model/logistic.yaml"),
        shown=("Can anybody tell",),
    ),
    Step(
        "Images of one's own",
        "A folder of images, one folder a class; here `photos.py` writes one from digits:",
        (
            "python photos.py",
            f"fedunlearn withdraw dataset=imagefolder dataset.root=photos {QUICK}",
        ),
        own={"photos.py": IMAGES},
        shown=("Can anybody tell",),
        then="Parquet files of images, and all that is refused of them: "
        "[models and data](models-and-data.md).",
    ),
    Step(
        "Arrays of one's own, and whose they are",
        "Records, labels and an owner each, in a file of NumPy's; every owner is a client:",
        (
            "python arrays.py",
            "fedunlearn withdraw dataset=numpy dataset.path=mine.npz partition=natural "
            f"'withdrawal.clients=[Graz]' {QUICK}",
        ),
        own={"arrays.py": ARRAYS},
        shown=("Can anybody tell",),
        then="CSV and Parquet tables with a column of owners, sensors and texts: "
        "[natural](natural.md).",
    ),
    Step(
        "A sweep",
        "`-m` runs every combination of the values separated by commas:",
        (
            "fedunlearn withdraw -m strategy=restart strategy.rounds=1,4 seed=0,1 figures=false "
            f"{QUICK}",
        ),
        shown=("index.csv", "Answers", "strategy.rounds"),
        then="Searches for good values: [tuning](tuning.md).",
    ),
    Step(
        "A report",
        "A page that opens in a browser, with Markdown, LaTeX tables and figures beside it:",
        ("fedunlearn report outputs/demo",),
        then="What stands in it: [the report](report.md). What each strategy cost in time and "
        "money: `fedunlearn cost outputs/demo devices=phones`, [costs](costs.md). What was "
        "promised to the leaver: `fedunlearn verify outputs/demo`, "
        "[certificates](certificates.md). All guides: [index](index.md).",
    ),
)
