"""`to_jax`: a dataset's rows as arrays, compared with the rows that `datasets` returns."""

from collections.abc import Callable
from itertools import pairwise

import datasets
import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pytest
from datasets.table import InMemoryTable
from hypothesis import given
from hypothesis import strategies as st

from interpbench_dataset.arrays import to_jax

ROWS, WIDTH = 12, 3


def fixed(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def pairs(chunks: int = 1) -> datasets.Dataset:
    """Return rows `[i, i, i]` and `[-i, -i, -i]` in two columns, with scalars and Booleans."""
    rows = np.repeat(np.arange(ROWS, dtype=np.int32)[:, None], WIDTH, axis=1)
    table = pa.table(
        {
            "input_ids": fixed(rows),
            "target": fixed(-rows.astype(np.float32)),
            "length": np.arange(ROWS, dtype=np.int64),
            "is_even": rows[:, 0] % 2 == 0,
        }
    )
    size = ROWS // chunks
    return datasets.Dataset(
        InMemoryTable(
            pa.concat_tables([table.slice(start, size) for start in range(0, ROWS, size)])
        )
    )


def of(**columns: object) -> datasets.Dataset:
    return datasets.Dataset(InMemoryTable(pa.table(columns)))


def check(dataset: datasets.Dataset, arrays: dict[str, jax.Array]) -> None:
    assert list(arrays) == dataset.column_names
    for name, array in arrays.items():
        assert isinstance(array, jax.Array)
        np.testing.assert_array_equal(np.asarray(array), np.array(list(dataset[name])))


def test_types_and_shapes() -> None:
    arrays = to_jax(pairs())
    shapes = {name: (array.dtype.name, array.shape) for name, array in arrays.items()}
    assert shapes == {
        "input_ids": ("int32", (ROWS, WIDTH)),
        "target": ("float32", (ROWS, WIDTH)),
        "length": ("int32", (ROWS,)),
        "is_even": ("bool", (ROWS,)),
    }


REORDERED: dict[str, Callable[[datasets.Dataset], datasets.Dataset]] = {
    "as it is": lambda rows: rows,
    "shuffled": lambda rows: rows.shuffle(seed=1),
    "filtered": lambda rows: rows.filter(lambda row: row["length"] % 3 == 0),
    "sorted": lambda rows: rows.sort("length", reverse=True),
    "selected": lambda rows: rows.select([7, 1, 1, 3]),
    "selected in a row": lambda rows: rows.select(range(3, 9)),
    "shuffled, filtered, selected": lambda rows: (
        rows.shuffle(seed=2).filter(lambda row: row["is_even"]).select([4, 0])
    ),
    "flattened": lambda rows: rows.shuffle(seed=1).flatten_indices(),
    "none of it": lambda rows: rows.select([]),
    "sharded": lambda rows: rows.shard(3, 1),
    "split": lambda rows: rows.train_test_split(0.5, seed=0)["train"],
    "joined": lambda rows: datasets.concatenate_datasets([rows, rows.shuffle(seed=3)]),
    "side by side": lambda rows: datasets.concatenate_datasets(
        [rows.select_columns("input_ids"), rows.select_columns("target")], axis=1
    ),
    "mapped": lambda rows: rows.map(lambda row: {"length": row["length"] + 1}),
}


# This warning comes from sorting in `datasets`.
@pytest.mark.filterwarnings("ignore:Specifying null_placement:FutureWarning")
@pytest.mark.parametrize("chunks", [1, 4])
@pytest.mark.parametrize("how", REORDERED)
def test_rows_are_in_the_order_of_the_dataset(how: str, chunks: int) -> None:
    dataset = REORDERED[how](pairs(chunks))
    arrays = to_jax(dataset)
    if dataset.num_rows:
        check(dataset, arrays)
    assert {len(array) for array in arrays.values()} == {dataset.num_rows}
    assert jnp.array_equal(arrays["input_ids"].astype(jnp.float32), -arrays["target"])


@given(
    values=st.lists(st.tuples(*[st.integers(-(2**31), 2**31 - 1)] * WIDTH), min_size=1),
    cuts=st.lists(st.integers(0, 20), max_size=3),
    picks=st.lists(st.integers(0, 10**6), min_size=1),
)
def test_any_rows_in_any_chunks_in_any_order(
    values: list[tuple[int, ...]], cuts: list[int], picks: list[int]
) -> None:
    whole = pa.table({"x": pa.array(values, pa.list_(pa.int32(), WIDTH)), "y": pa.array(values)})
    bounds = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    parts = [whole.slice(a, b - a) for a, b in pairwise(bounds)]
    order = [pick % len(values) for pick in picks]
    dataset = datasets.Dataset(InMemoryTable(pa.concat_tables(parts))).select(order)
    arrays = to_jax(dataset)
    expected = np.array(values, np.int32)[np.array(order, np.intp)]
    np.testing.assert_array_equal(arrays["x"], expected)
    np.testing.assert_array_equal(arrays["y"], expected)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1, 2], [3, 4]], pa.list_(pa.int16())),
        pa.array([[1, 2], [3, 4]], pa.large_list(pa.float16())),
        pa.array([[[1], [2]], [[3], [4]]], pa.list_(pa.list_(pa.uint8(), 1), 2)),
        pa.array([[[1], [2]], [[3], [4]]]),
        pa.array([[True, False], [False, False]]),
        pa.array([[], []], pa.list_(pa.int32())),
    ],
    ids=lambda column: str(column.type),
)
def test_other_lists(column: pa.Array) -> None:
    dataset = of(x=column)
    check(dataset, to_jax(dataset))


def test_two_dimensional_features() -> None:
    features = datasets.Features(x=datasets.Array2D((2, 3), "int32"))
    rows = np.arange(24, dtype=np.int32).reshape(4, 2, 3)
    dataset = datasets.Dataset.from_dict({"x": list(rows)}, features)
    np.testing.assert_array_equal(to_jax(dataset)["x"], rows)


def test_no_rows_at_all() -> None:
    schema = pa.schema([("x", pa.list_(pa.int32(), 3)), ("y", pa.float32())])
    dataset = datasets.Dataset(InMemoryTable(pa.Table.from_batches([], schema)))
    arrays = to_jax(dataset)
    shapes = {name: (array.dtype.name, array.shape) for name, array in arrays.items()}
    assert shapes == {"x": ("int32", (0, 3)), "y": ("float32", (0,))}


@pytest.mark.parametrize("names", [["target"], ["target", "input_ids"], ()])
def test_some_columns(names: list[str]) -> None:
    assert list(to_jax(pairs(), names)) == list(names)


def test_columns_of_the_format_are_what_is_read() -> None:
    formatted = pairs().with_format("numpy", columns=["target"])
    assert list(to_jax(formatted)) == ["target"]
    assert list(to_jax(pairs().select_columns("length"))) == ["length"]


def test_a_device_can_be_chosen() -> None:
    device = jax.devices()[0]
    sharding = jax.sharding.SingleDeviceSharding(device)
    for place in (device, sharding):
        arrays = to_jax(pairs(), device=place)
        assert all(array.committed and array.devices() == {device} for array in arrays.values())


def test_donating_an_array_leaves_the_dataset_alone() -> None:
    dataset = pairs()
    add = jax.jit(lambda x: x + 1, donate_argnums=0)
    add(to_jax(dataset)["input_ids"]).block_until_ready()
    assert dataset[0]["input_ids"] == [0] * WIDTH


# 64 bits


def test_sixty_four_bits_where_they_are_turned_on(x64: None) -> None:
    arrays = to_jax(of(x=[2**40], y=[0.1]))
    assert (arrays["x"].dtype, int(arrays["x"][0])) == (jnp.int64, 2**40)
    assert (arrays["y"].dtype, float(arrays["y"][0])) == (jnp.float64, 0.1)


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1])
def test_an_integer_that_does_not_fit_is_no_other_integer(value: int) -> None:
    with pytest.raises(ValueError, match=rf"'x' to fit into 32 bits.*{value}.*jax_enable_x64"):
        to_jax(of(x=[0, value]))
    assert to_jax(of(x=[0, value]).select([0]))["x"].tolist() == [0]


def test_an_unsigned_integer_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="'x' to fit into 32 bits"):
        to_jax(of(x=pa.array([2**32], pa.uint64())))


# Columns that are refused


@pytest.mark.parametrize(
    ("column", "missing"),
    [
        (pa.array([1, None, None]), 2),
        (pa.array([[1], None]), 1),
        (pa.array([[1], [None]]), 1),
        (pa.array([[1], None], pa.list_(pa.int32(), 1)), 1),
        (pa.array([None, None]), 2),
    ],
)
def test_a_missing_value(column: pa.Array, missing: int) -> None:
    with pytest.raises(ValueError, match=f"'x' to have every value, but {missing} are missing"):
        to_jax(of(fine=[1] * len(column), x=column))


def test_rows_that_were_left_out_do_not_matter() -> None:
    dataset = of(x=pa.array([1, None, 3]), y=pa.array([[1, 2], [3], [4, 5]]))
    arrays = to_jax(dataset.select([2, 0]))
    assert arrays["x"].tolist() == [3, 1] and arrays["y"].tolist() == [[4, 5], [1, 2]]
    with pytest.raises(ValueError, match="column 'x' to have every value, but 1 are missing"):
        to_jax(dataset.select([1, 0]))
    with pytest.raises(ValueError, match="column 'y' to be equally long, got lengths 1, 2"):
        to_jax(dataset.select([1, 0]), ["y"])


def test_missing_values_elsewhere_do_not_matter() -> None:
    assert to_jax(of(x=[1, 2], y=[None, 1]), ["x"])["x"].tolist() == [1, 2]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1, 2], [3], [4, 5, 6]]),
        pa.chunked_array([[[1, 2]], [[3]], [[4, 5, 6]]]),
        pa.array([[[1], [2]], [[3], [4, 5]], [[6, 7, 8]]]),
    ],
    ids=["in one chunk", "between chunks", "inner"],
)
def test_lists_of_several_lengths(column: pa.Array) -> None:
    with pytest.raises(ValueError, match=r"column 'x' to be equally long, got lengths 1, 2.*pad"):
        to_jax(of(x=column))


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array(["a"]), "string"),
        (pa.array([["a"]]), "string"),
        (pa.array([{"a": 1}]), "struct<a: int64>"),
        (pa.array([0], pa.timestamp("s")), "timestamp"),
    ],
)
def test_what_is_no_number(column: pa.Array, kind: str) -> None:
    with pytest.raises(TypeError, match=f"column 'x' to be numbers.*got {kind}.*`columns`"):
        to_jax(of(y=[1], x=column))
    assert list(to_jax(of(y=[1], x=column), ["y"])) == ["y"]


def test_no_such_column() -> None:
    with pytest.raises(ValueError, match="got 'targets'; it has input_ids, target, length"):
        to_jax(pairs(), ["targets"])
    with pytest.raises(TypeError, match=r"list of names, got 'target'"):
        to_jax(pairs(), "target")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: pairs().to_iterable_dataset(), "IterableDataset; load it without streaming=True"),
        (
            lambda: datasets.DatasetDict({"test": pairs()}),
            r"DatasetDict; take .* dataset\['test'\]",
        ),
        (lambda: {"input_ids": [1]}, r"got dict; take one of its splits"),
        (lambda: [1], "got list; load one with interpbench_jax.load_dataset"),
    ],
)
def test_what_is_no_dataset(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError, match=f"Expected a datasets.Dataset, got {message}|{message}"):
        to_jax(wrong())  # pyright: ignore[reportArgumentType]
