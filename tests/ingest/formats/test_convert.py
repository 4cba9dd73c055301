"""Columns are converted whole; what cannot be read is told by row."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from packwatch.ingest.formats.convert import (
    NULL_WORDS,
    WrongTypeError,
    convert,
    epoch,
    number_lists,
    numbers,
    states,
    texts,
    timestamps,
    whole_numbers,
)


def test_numbers_of_text():
    values, bad = numbers(pa.array(["1", " 2.5 ", "1e3", "-.5", "+7", "x", "1,5", "0x10", "1_0", None]))
    assert values.to_pylist() == [1.0, 2.5, 1000.0, -0.5, 7.0, None, None, None, None, None]
    assert bad.tolist() == [False] * 5 + [True] * 4 + [False]


@pytest.mark.parametrize("word", [*NULL_WORDS, "NULL", " NaN "])
def test_words_for_missing_are_no_mistake(word):
    # alone, and beside a word that is one
    for others in ([], ["x"]):
        values, bad = numbers(pa.array([word, *others]))
        assert values.to_pylist()[0] is None
        assert not bad[0]


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.float32(), pa.decimal128(30, 2)])
def test_numbers_of_any_numeric_type(kind):
    assert numbers(pa.array([1, None], pa.int64()).cast(kind))[0].to_pylist() == [1.0, None]


def test_nan_is_missing():
    assert numbers(pa.array([float("nan"), 1.0]))[0].to_pylist() == [None, 1.0]


def test_whole_numbers():
    values, bad = whole_numbers(pa.array(["2019", "2019.0", "2019.5", "40000", "x", ""]))
    assert values.to_pylist() == [2019, 2019, None, None, None, None]
    assert bad.tolist() == [False, False, True, True, True, False]


def test_lists_of_text_and_of_lists():
    from_text, bad = number_lists(pa.array(["3.5  3.25", "nan 1", "1 x", "nan", "", None]))
    assert from_text.to_pylist() == [[3.5, 3.25], [None, 1.0], [1.0, None], None, None, None]
    assert bad.tolist() == [False, False, True, False, False, False]
    from_lists, bad = number_lists(pa.array([[3.5, None], [], [None], None]))
    assert from_lists.to_pylist() == [[3.5, None], None, None, None]
    assert not bad.any()


def test_lists_of_a_slice():
    column = pa.array([[1.0], [2.0, 3.0], None, [4.0]]).slice(1, 3)
    assert number_lists(column)[0].to_pylist() == [[2.0, 3.0], None, [4.0]]


@pytest.mark.parametrize("column", ["soc_percent", "cell_voltages_v", "recorded_at", "year", "vin", "charge_state"])
@pytest.mark.parametrize("kind", [pa.string(), pa.null()])
def test_no_rows_and_no_values(column, kind):
    assert len(convert(column, pa.array([], kind))[0]) == 0
    assert convert(column, pa.array([None, None], kind))[0].to_pylist() == [None, None]


def test_chunks_and_dictionaries_are_taken():
    chunks = pa.chunked_array([pa.array(["a"]), pa.array(["b"])])
    assert convert("vin", chunks)[0].to_pylist() == ["a", "b"]
    assert convert("vin", pa.array(["a", "a"]).dictionary_encode())[0].to_pylist() == ["a", "a"]


def test_a_type_that_cannot_mean_it():
    with pytest.raises(WrongTypeError, match="lists are wanted, not double"):
        convert("cell_voltages_v", pa.array([1.0]))


def test_texts_are_stripped_and_empty_ones_missing():
    assert texts(pa.array([" a ", " ", "", None, "none"]))[0].to_pylist() == ["a", None, None, None, "none"]


def test_states_are_lower_case():
    assert states(pa.array([" Charging", "NONE", "x"]))[0].to_pylist() == ["charging", None, "x"]


def test_epoch_is_told_by_its_size():
    # 1e11 s is the year 5138, 1e11 ms is 1973; 1e14 is neither
    found = epoch(np.array([0, 1_704_164_645, 1_704_164_645_250, 1e14, np.nan, np.inf])).to_pylist()
    assert found[0] == datetime(1970, 1, 1, tzinfo=UTC)
    assert found[1] == datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert found[2] == datetime(2024, 1, 2, 3, 4, 5, 250_000, tzinfo=UTC)
    assert found[3:] == [None, None, None]


def test_a_column_of_times_is_read_alike_with_and_without_a_bad_one():
    good = ["2024-01-02T03:04:05Z", "2024-01-02T03:04:05.250+01:00"]
    assert timestamps(pa.array([*good, "x"]))[0].to_pylist()[:2] == timestamps(pa.array(good))[0].to_pylist()
