"""The columns that a data set takes from Parquet files, or from Arrow files of `datasets`."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
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
    owners: npt.NDArray[Any] | None = None
    """Whose each record is, as text, [n], where a column of owners is named."""

    def encoded(
        self, rows: npt.NDArray[np.int64], classes: Sequence[str]
    ) -> Iterator[tuple[str, BytesIO]]:
        """Yield the place, with its class, and the bytes of each of ``rows``."""
        for row, image in zip(rows, self.images.take(rows), strict=True):
            name = classes[self.labels[row]]
            yield f"{self.places[row]} (class {name})", BytesIO(image.as_py())


def find(root: Path, side: str) -> list[Path]:
    """Return the files ``<side>*.parquet`` in ``root``, or else in ``root/data``, by name.

    Where there are none, those that `datasets.save_to_disk` wrote: ``<side>/*.arrow``.
    """
    places = (f"{side}*.parquet", f"data/{side}*.parquet", f"{side}/*.arrow")
    return next(filter(None, (sorted(root.glob(place)) for place in places)), [])


def others(root: Path, read: Iterable[Path]) -> list[Path]:
    """Return what lies in ``root`` and in ``root/data`` beside the files that were ``read``."""
    data = root / "data"
    there = [*root.iterdir(), *(data.iterdir() if data.is_dir() else ())]
    files = {*read}
    saved = {file.parent for file in files if file.suffix == ".arrow"}
    notes = {root / "dataset_dict.json"} if saved else set()
    return sorted({*there} - files - {data} - saved - notes)


def read_file(
    file: Path, image: str | None, label: str | None, owner: str | None = None
) -> Columns:
    """Read one file; raise `Refused` for a file or columns that cannot serve.

    ``image`` and ``label`` name the columns; None takes the first of `IMAGE_COLUMNS` or
    `LABEL_COLUMNS` that is there. ``owner`` is one that says whose each record is.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise Refused(
            f"Reading {file} needs pyarrow: pip install 'fedunlearn[parquet]'."
        ) from error
    try:
        with _opened(file) as opened:
            schema = opened.schema
            image = _column(schema.names, image, IMAGE_COLUMNS, "image", file)
            label = _column(schema.names, label, LABEL_COLUMNS, "label", file)
            owned = [] if owner is None else [_column(schema.names, owner, (), "owner", file)]
            table = opened.read([image, label, *owned])
    except (pyarrow.ArrowException, OSError) as error:
        kind = "Arrow" if file.suffix == ".arrow" else "Parquet"
        raise Refused(f"{file} is not a readable {kind} file: {error}") from error
    for name in (image, label, *owned):
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
        owners=table[owned[0]].cast(pyarrow.string()).to_numpy() if owned else None,
    )


@dataclass(frozen=True)
class _Opened:
    """A file of columns that is open."""

    schema: Any
    read: Callable[[list[str]], Any]


@contextmanager
def _opened(file: Path) -> Iterator[_Opened]:
    """Open a Parquet file, or an Arrow stream as `datasets` writes it."""
    from pyarrow import ipc, memory_map, parquet

    if file.suffix == ".arrow":
        with memory_map(str(file)) as memory, ipc.open_stream(memory) as stream:
            yield _Opened(stream.schema, lambda names: stream.read_all().select(names))
    else:
        with parquet.ParquetFile(file) as opened:
            yield _Opened(opened.schema_arrow, lambda names: opened.read(columns=names))


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
        owners=None
        if read[0].owners is None
        else np.concatenate([columns.owners for columns in read if columns.owners is not None]),
    )
