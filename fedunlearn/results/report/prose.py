"""Sentences in which code stands between backticks, as every format of a report takes them."""

import re
from collections.abc import Iterator

_CODE = re.compile(r"`([^`]+)`")


def parts(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the parts of a text in their order, and whether each is code; without its backticks."""
    for place, part in enumerate(_CODE.split(text)):
        if part:
            yield part, place % 2 == 1
