"""The `fedunlearn` command, and `python -m fedunlearn`: its commands lie in simulations/.

What lies in the working directory can be imported, behind everything that is installed.
"""

import os
import sys
from importlib import import_module

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
"""The checkout, or where packages are installed."""


def main() -> None:
    """Let the working directory be imported from, last of all, and run the command."""
    try:
        admit(os.getcwd())
    except SystemExit as refusal:
        sys.stderr.write(f"{refusal}\n")
        sys.exit(2)
    import_module("fedunlearn.simulations.__main__").main()


def admit(folder: str) -> None:
    """Put ``folder`` at the end of `sys.path`: a user's random.py must hide nobody else's.

    Python puts it in front for `python -m`. Where fedunlearn itself comes from, it stays there.
    """
    if folder == ROOT:
        return
    if sys.path and sys.path[0] in ("", folder):
        del sys.path[0]
    if folder not in sys.path:
        sys.path.append(folder)
    if os.path.isfile(os.path.join(folder, "strategies", "__init__.py")):
        sys.exit(
            f"{folder}/strategies/__init__.py hides the strategies of fedunlearn. Delete it: a "
            "folder strategies/ without that file stands beside them."
        )


if __name__ == "__main__":
    main()
