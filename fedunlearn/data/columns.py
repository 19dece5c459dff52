"""The two columns that a data set takes from Parquet files."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedunlearn.checks import Refused, nearest
from fedunlearn.data.listed import listed
from fedunlearn.data.stored import number_them

IMAGE_COLUMNS = ("image", "img")

LABEL_COLUMNS = ("label", "labels", "fine_label")


@dataclass(frozen=True)
class Columns:
    """What was read of one file, or of all files of one side."""

    images: Any
    """The encoded images, a pyarrow array of bytes [n]."""
    labels: npt.NDArray[Any]
    """[n]."""
    places: list[str]
    """File and row of each record, for refusals, [n]."""
    names: tuple[str, ...] | None
    """Class names, where the file has them."""
    where: str

    def encoded(
        self, rows: npt.NDArray[np.int64], classes: Sequence[str]
    ) -> Iterator[tuple[str, BytesIO]]:
        """Yield the place, with its class, and the bytes of each of ``rows``."""
        for row, image in zip(rows, self.images.take(rows), strict=True):
            name = classes[self.labels[row]]
            yield f"{self.places[row]} (class {name})", BytesIO(image.as_py())


def find(root: Path, side: str) -> list[Path]:
    """Return the files ``<side>*.parquet`` in ``root``, or else in ``root/data``, by name."""
    return sorted(root.glob(f"{side}*.parquet")) or sorted(root.glob(f"data/{side}*.parquet"))


def others(root: Path, read: Iterable[Path]) -> list[Path]:
    """Return what lies in ``root`` and in ``root/data`` beside the files that were ``read``."""
    data = root / "data"
    there = [*root.iterdir(), *(data.iterdir() if data.is_dir() else ())]
    return sorted({*there} - {*read, data})


def read_file(file: Path, image: str | None, label: str | None) -> Columns:
    """Read one file; raise `Refused` for a file or columns that cannot serve.

    ``image`` and ``label`` name the columns; None takes the first of `IMAGE_COLUMNS` or
    `LABEL_COLUMNS` that is there.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise Refused(
            f"Reading {file} needs pyarrow: pip install 'fedunlearn[parquet]'."
        ) from error
    try:
        with parquet.ParquetFile(file) as opened:
            schema = opened.schema_arrow
            image = _column(schema.names, image, IMAGE_COLUMNS, "image", file)
            label = _column(schema.names, label, LABEL_COLUMNS, "label", file)
            table = opened.read(columns=[image, label])
    except (pyarrow.ArrowException, OSError) as error:
        raise Refused(f"{file} is not a readable Parquet file: {error}") from error
    for name in (image, label):
        if table[name].null_count:
            raise Refused(
                f"{file} has rows without a value in the column {name}: "
                f"{listed(map(str, _nulls(table[name])))}. Leave them out or fill them in."
            )
    if not pyarrow.types.is_integer(schema.field(label).type):
        labels = table[label].to_numpy()
        raise Refused(
            f"The column {label} of {file} is {schema.field(label).type}; labels must be whole "
            f"numbers.{number_them(labels)}"
        )
    return Columns(
        images=_bytes(table[image], image, file),
        labels=table[label].to_numpy(),
        places=[f"Row {row} of {file}" for row in range(len(table))],
        names=_class_names(schema.metadata or {}, label),
        where=str(file),
    )


def _column(
    there: list[str], wanted: str | None, usual: tuple[str, ...], field: str, file: Path
) -> str:
    present = [name for name in ((wanted,) if wanted else usual) if name in there]
    if not present:
        raise Refused(
            f"{file} has no column {wanted or ' or '.join(usual)}; set dataset.{field}"
            f"{nearest(wanted or usual[0], there)}"
        )
    return present[0]


def _bytes(column: Any, name: str, file: Path) -> Any:
    """Return the column itself, or the field ``bytes`` of its structs."""
    import pyarrow
    from pyarrow import compute

    if pyarrow.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        column = compute.struct_field(column, "bytes")
    if not (pyarrow.types.is_binary(column.type) or pyarrow.types.is_large_binary(column.type)):
        raise Refused(
            f"The column {name} of {file} is {column.type}; images must be bytes, or a struct "
            "with a field bytes."
        )
    if column.null_count:
        raise Refused(
            f"The column {name} of {file} has rows without bytes "
            f"({listed(map(str, _nulls(column)))}); images must be in the file."
        )
    return column.cast(pyarrow.large_binary())  # offsets of 64 bits: beyond 2 GB, too


def _nulls(column: Any) -> Iterator[int]:
    """Yield the rows of a column that have no value."""
    yield from np.flatnonzero(column.is_null().to_numpy()).tolist()


def _class_names(metadata: dict[bytes, bytes], label: str) -> tuple[str, ...] | None:
    features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    return tuple(features.get(label, {}).get("names") or ()) or None


def joined(read: list[Columns], where: Path) -> Columns:
    """Put the files of one side one after another."""
    import pyarrow

    if len(read) == 1:
        return read[0]
    chunks = [chunk for columns in read for chunk in columns.images.chunks]
    return Columns(
        images=pyarrow.chunked_array(chunks),
        labels=np.concatenate([columns.labels for columns in read]),
        places=[place for columns in read for place in columns.places],
        names=read[0].names,
        where=str(where),
    )
