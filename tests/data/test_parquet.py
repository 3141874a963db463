from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from eyehand.data.parquet import (
    array_to_column,
    flat_numbers,
    read_table,
    sentence_table,
    write_parquet,
)
from eyehand.types import InputError


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3), (2, 1, 2)])
@pytest.mark.parametrize("dtype", [bool, np.int64, np.float32])
def test_numbers_come_back(tmp_path: Path, shape: tuple[int, ...], dtype: type) -> None:
    values = np.random.default_rng(0).integers(0, 2, (5, *shape)).astype(dtype)
    write_parquet(tmp_path / "b.parquet", pa.table({"x": array_to_column(values)}))
    column = read_table(tmp_path / "b.parquet", ["x"])["x"]
    back = flat_numbers(column).to_numpy(zero_copy_only=False).reshape(values.shape)
    assert back.dtype == values.dtype
    np.testing.assert_array_equal(back, values)
    held = values[:, 0] if shape == (1,) else values  # LeRobot's plain column
    np.testing.assert_array_equal(np.array(column.to_pylist()), held)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    write_parquet(tmp_path / "tasks.parquet", sentence_table(["Push.", "Pull."]))
    assert read_table(tmp_path / "tasks.parquet", None)["task_index"].to_pylist() == [0, 1]
    with pytest.raises(InputError, match=r"tasks\.parquet has no column 'tusk'"):
        read_table(tmp_path / "tasks.parquet", ["tusk"])
