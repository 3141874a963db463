"""Parquet tables and small files of a data set: read with a clear sentence, replaced as a whole."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Shaped, UInt8
from PIL import Image

from eyehand.files import replacing
from eyehand.types import InputError


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Say of what fails in the block that the parquet file is damaged.

    Raises:
        InputError: Instead of what pyarrow raises.
    """
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as a parquet file: it is truncated or altered. Restore the "
            "file, or record the data set anew."
        ) from error


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a file.

    Raises:
        InputError: If it is missing, truncated or altered.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing. Restore the file.")
    with damage_named(path):
        return pq.ParquetFile(path)


def read_table(path: Path, columns: list[str] | None) -> pa.Table:
    """Return some columns of a file, or all.

    Raises:
        InputError: If it is missing, truncated or altered, or lacks a column.
    """
    file = open_parquet(path)
    missing = sorted(set(columns or ()) - set(file.schema_arrow.names))
    if missing:
        raise InputError(f"{path} has no column {missing[0]!r}; the data set's format asks for it.")
    with damage_named(path):
        return file.read(columns=columns)


def read_pictures(
    path: Path, feature: str, *, first: int, count: int
) -> Iterator[tuple[int, UInt8[np.ndarray, "height width 3"]]]:
    """Yield the number in the data set and the picture of ``count`` frames from ``first`` on."""
    wanted = [("index", ">=", first), ("index", "<", first + count)]
    try:
        table = pq.read_table(path, columns=["index", feature], filters=wanted).sort_by("index")
        for number, cell in zip(
            table["index"].to_pylist(), table[feature].to_pylist(), strict=True
        ):
            with Image.open(io.BytesIO(cell["bytes"])) as picture:
                yield number, np.asarray(picture.convert("RGB"))
    except Exception as error:  # the many decoders of pictures agree on no kind
        raise InputError(
            f"feature {feature!r} of {path} cannot be read as pictures: the file is truncated or "
            "altered. Restore it."
        ) from error


def array_to_column(values: Shaped[np.ndarray, "row ..."]) -> pa.Array:
    """Return numbers as a column: of lists of fixed length, nested for every further axis.

    Example:
        >>> str(array_to_column(np.zeros((5, 2, 3))).type)
        'fixed_size_list<item: fixed_size_list<item: double>[3]>[2]'
    """
    column = pa.array(np.ascontiguousarray(values).reshape(-1))
    if values.shape[1:] == (1,):  # LeRobot reads a feature of one number as a plain column
        return column
    for size in reversed(values.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, size)
    return column


def flat_numbers(column: pa.ChunkedArray) -> pa.Array:
    """Return what a column holds, row after row, without the lists around it.

    Example:
        >>> flat_numbers(pa.chunked_array([[[[1, 2]], [[3, 4]]]])).to_pylist()
        [1, 2, 3, 4]
    """
    array = column.combine_chunks()
    while pa.types.is_nested(array.type) and not pa.types.is_struct(array.type):
        array = array.flatten()
    return array


def sentence_table(sentences: list[str]) -> pa.Table:
    """Return LeRobot's table of sentences, a pandas data frame with the sentences as index."""
    table = pa.table({
        "task_index": pa.array(range(len(sentences)), pa.int64()),
        "__index_level_0__": pa.array(sentences, pa.string()),
    })  # fmt: skip
    types = {"task_index": ("int64", "int64"), "__index_level_0__": ("unicode", "object")}
    description = {
        "index_columns": ["__index_level_0__"],
        "column_indexes": [],
        "columns": [
            {
                "name": None if name.startswith("__") else name,
                "field_name": name,
                "pandas_type": kind,
                "numpy_type": dtype,
                "metadata": None,
            }
            for name, (kind, dtype) in types.items()
        ],
        "pandas_version": "2.2.0",
    }
    return table.replace_schema_metadata({"pandas": json.dumps(description)})


def write_parquet(path: Path, table: pa.Table) -> None:
    """Replace a file by a table."""
    with replacing(path) as beside:
        pq.write_table(table, beside, compression="snappy")
