"""A table of made-up visits to hospitals, as people keep such."""

import numpy as np

WARDS = ("surgery", "medicine", "children", "emergency")


def visits(rows=400, hospitals=6, seed=0):
    """Return the lines of a CSV file; whether somebody comes back shows in age, stay and ward."""
    rng = np.random.default_rng(seed)
    age, stay = rng.integers(1, 95, rows), rng.exponential(4, rows)
    ward, hospital = rng.integers(4, size=rows), rng.integers(hospitals, size=rows)
    score = (age - 50) / 12 + stay / 3 + (ward == 3) * 2 - 1 + rng.normal(size=rows) / 2
    lines = ["age,stay,ward,married,hospital,readmitted"]
    for row in range(rows):
        shown = "" if row % 17 == 3 else f"{stay[row]:.2f}"
        lines.append(
            f"{age[row]},{shown},{WARDS[ward[row]]},{row % 2 == 0},H{hospital[row]},"
            f"{'yes' if score[row] > 1 else 'no'}"
        )
    return lines
