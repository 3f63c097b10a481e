"""People's files: what is read, what is said of it, and what is refused with the place as the file counts it."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from constructions.columns import COUNTED
from constructions.errors import InputError
from constructions.sample_files import read_table

TABLE = np.array([[1.0, -2.5], [3e-3, 4.0], [5.5, 6.0], [-7.0, 8.0]])
ROWS = ["1,-2.5", "3e-3,4", "5.5,6", "-7,8"]
PLAIN = "\n".join(ROWS) + "\n"
QUOTED = '"a","b"\n' + "".join('"' + row.replace(",", '","') + '"\n' for row in ROWS)
INDEXED = ",a,b\n" + "".join(f"{number},{row}\n" for number, row in enumerate(ROWS))
COUNTING = "".join(f"{number},{number % 3 + 0.5}\n" for number in range(COUNTED))


def written(tmp_path: Path, content: str | bytes, name: str = "data.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (PLAIN, None),
        ("a,b\n" + PLAIN, ["a", "b"]),
        ("a;b\n" + PLAIN.replace(",", ";"), ["a", "b"]),
        (PLAIN.replace(",", ";"), None),
        ("a\tb\n" + PLAIN.replace(",", "\t"), ["a", "b"]),
        ("a|b\n" + PLAIN.replace(",", "|"), ["a", "b"]),
        ("a b\n" + PLAIN.replace(",", " "), ["a", "b"]),
        ("  a     b  \n" + "".join(f"   {row.replace(',', '    ')}  \n" for row in ROWS), ["a", "b"]),
        (" \t1\t -2.5\n3e-3  4\n5.5 \t 6\n-7 8", None),
        (QUOTED, ["a", "b"]),
        ('"width, cm";b\n' + PLAIN.replace(",", ";"), ["width, cm", "b"]),
        ("\ufeff" + PLAIN, None),
        ("\ufeff" + QUOTED, ["a", "b"]),
        (("a,b\n" + PLAIN).replace("\n", "\r\n"), ["a", "b"]),
        (("a,b\n" + PLAIN).replace("\n", "\r"), ["a", "b"]),
        ("a,b\n\n" + PLAIN.replace("\n", "\n\n"), ["a", "b"]),
        ("0,1\n" + PLAIN, ["0", "1"]),
        (",0,1\n" + INDEXED.split("\n", 1)[1], ["0", "1"]),
        (INDEXED, ["a", "b"]),
        ('"a","b"\n' + INDEXED.split("\n", 1)[1], ["a", "b"]),
        (PLAIN.replace("\n", ",\n"), None),
        ("a,b\n" + PLAIN.replace("\n", ",\n"), ["a", "b"]),
        ("# made by a logger\n# 3 May\na,b\n" + PLAIN, ["a", "b"]),
        (PLAIN.encode("utf-16"), None),
        ("größe,b\n".encode("latin-1") + PLAIN.encode(), ["größe", "b"]),
        (gzip.compress(PLAIN.encode(), mtime=0), None),
    ],
    ids=[
        *("plain", "header", "semicolon and header", "semicolon", "tab", "bar", "blank", "columns set out by blanks"),
        *("blanks and tabs", "quoted", "a separator in quotes", "byte-order mark", "byte-order mark and quotes"),
        *("CRLF", "CR", "blank lines", "pandas' default header", "pandas' default header and index"),
        *("pandas' index", "R's row names", "a comma at each end", "the same under a header", "comments"),
        *("UTF-16", "Latin-1", "gzip"),
    ],
)
def test_text(content: str | bytes, names: list[str] | None, tmp_path: Path) -> None:
    found = read_table(written(tmp_path, content))
    assert np.array_equal(found.values, TABLE)
    assert found.names == names


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("x\n1\n2\n3\n", [[1], [2], [3]]),
        ("1\n2\n", [[1], [2]]),
        ("7,8,9\n", [[7, 8, 9]]),
        ("1.50\n2.25\n", [[1.5], [2.25]]),
    ],
    ids=["one column with a header", "one column", "one row", "one column of decimals"],
)
def test_small_tables(content: str, expected: list[list[float]], tmp_path: Path) -> None:
    assert np.array_equal(read_table(written(tmp_path, content)).values, expected)


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("0,1\n" + PLAIN, "line 1 is a header"),
        (INDEXED, "column 1 holds the rows' names: left out"),
        (COUNTING, f"column 1 counts the rows, 0 to {COUNTED - 1}: left out (--columns 1: keeps it)"),
        ("id,v\n" + COUNTING, f"column 1 ('id') counts the rows, 0 to {COUNTED - 1}: left out (--columns 1: keeps it)"),
        (PLAIN.replace("\n", ",\n"), "column 3 is empty: left out"),
        ("# from\n# here\n" + PLAIN, "2 lines of comment skipped"),
        ("ö,b\n".encode("latin-1") + PLAIN.encode(), "not UTF-8, read as Latin-1"),
    ],
    ids=["numbers as header", "index", "counts", "counts under a name", "empty column", "comments", "Latin-1"],
)
def test_what_was_done_is_said(content: str | bytes, note: str, tmp_path: Path) -> None:
    assert read_table(written(tmp_path, content)).notes == [note]


def test_nothing_is_said_of_a_table_taken_as_it_is(tmp_path: Path) -> None:
    assert read_table(written(tmp_path, "a,b\n" + PLAIN)).notes == []


@pytest.mark.parametrize(
    ("content", "width"),
    [
        ("\n".join(COUNTING.splitlines()[:-1]), 2),  # one row less than shows an index
        (COUNTING.replace("3,", "4,", 1), 2),
        ("\n".join(str(number) for number in range(1, 2 * COUNTED)), 1),
        ("\n".join(f"{row[2:]},{row[0]}" for row in COUNTING.splitlines()), 2),  # the last column counts
    ],
    ids=["short", "a number missed", "the only column", "not the first"],
)
def test_what_does_not_show_an_index_is_kept(content: str, width: int, tmp_path: Path) -> None:
    assert read_table(written(tmp_path, content)).values.shape[1] == width


def test_eight_rows_show_an_index_and_seven_do_not(tmp_path: Path) -> None:
    """So that a small table of 0, 1, 2, … is taken as it is."""
    for count, width in ((7, 2), (8, 1)):
        found = read_table(written(tmp_path, "".join(f"{number},{number % 3}.5\n" for number in range(count))))
        assert found.values.shape == (count, width)


def test_an_index_from_1_is_one(tmp_path: Path) -> None:
    found = read_table(written(tmp_path, "".join(f"{number},{7 * number % 5}.5\n" for number in range(1, 12))))
    assert found.values.shape == (11, 1)


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [("b", [1]), ("b,a", [1, 0]), ("1,3", [0, 2]), ("2:", [1, 2]), (":2", [0, 1]), ("2:3", [1, 2]), (":", [0, 1, 2])],
)
def test_columns_are_chosen(columns: str, chosen: list[int], tmp_path: Path) -> None:
    table = np.arange(15.0).reshape(5, 3) ** 2
    text = "a,b,c\n" + "".join(",".join(map(str, row)) + "\n" for row in table.tolist())
    found = read_table(written(tmp_path, text), columns)
    assert np.array_equal(found.values, table[:, chosen])
    assert found.names == ["abc"[index] for index in chosen]
    np.save(tmp_path / "x.npy", table)
    if not columns.startswith("b"):
        assert np.array_equal(read_table(tmp_path / "x.npy", columns).values, table[:, chosen])


def test_columns_that_hold_no_numbers_may_be_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path, "species,a\n" + "".join(f"kind {row}\n" for row in ROWS))
    assert np.array_equal(read_table(path, "2").values[:, 0], TABLE[:, 1])
    assert np.array_equal(read_table(written(tmp_path, COUNTING), ":").values[:, 0], np.arange(COUNTED))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("d", "--columns has 'd'; NAME has the columns a, b, c"),
        ("4", "--columns has 4; NAME has columns 1 to 3"),
        ("0", "--columns has 0; NAME has columns 1 to 3"),
        ("2:5", "--columns has 2:5; NAME has columns 1 to 3"),
        ("3:2", "--columns has 3:2; NAME has columns 1 to 3"),
        ("a,1", "--columns chooses column 1 twice"),
        ("", "--columns has ''; NAME has the columns a, b, c"),
        ("-1", "--columns has '-1'; NAME has the columns a, b, c"),
    ],
)
def test_columns_that_are_not_there(columns: str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path, "a,b,c\n1,2,3\n4,5,7\n")
    with pytest.raises(InputError) as refused:
        read_table(path, columns)
    assert str(refused.value) == said.replace("NAME", repr(str(path)))


@pytest.mark.parametrize(
    ("cell", "where"), [("", "header"), ("NA", "header"), ("nan", "none"), ("?", "none"), ("NULL", "none")]
)
def test_missing_numbers(cell: str, where: str, tmp_path: Path) -> None:
    rows = [*ROWS[:2], f"{cell},7", *ROWS[2:], f"9,{cell}"]
    path = written(tmp_path, ("a,b\n" if where == "header" else "") + "\n".join(rows))
    line, title = (4, "column 1 ('a')") if where == "header" else (3, "column 1")
    with pytest.raises(InputError) as refused:
        read_table(path)
    assert str(refused.value) == (
        f"{str(path)!r}, line {line}, {title}: the number is missing, as in 2 of 6 rows; --drop-missing leaves them out"
    )
    found = read_table(path, drop_missing=True)
    assert np.array_equal(found.values, TABLE)
    assert found.notes == ["2 rows with a missing number left out"]


def test_rows_that_all_lack_a_number_leave_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, "a,b\n,1\n2,\n")
    with pytest.raises(InputError, match="missing in each of its 2 rows; --drop-missing leaves nothing"):
        read_table(path, drop_missing=True)


def test_the_place_in_an_array_is_counted_from_1(tmp_path: Path) -> None:
    x = TABLE.copy()
    x[2, 1] = np.nan
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(InputError, match="row 3, column 2: the number is missing, as in 1 of 4 rows"):
        read_table(tmp_path / "x.npy")
    assert len(read_table(tmp_path / "x.npy", drop_missing=True).values) == 3
    x[2, 1] = -np.inf
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(InputError, match="row 3, column 2: -inf is not finite"):
        read_table(tmp_path / "x.npy", drop_missing=True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "NAME is empty"),
        ("\n \n", "NAME is empty"),
        ("a,b\n", "NAME has a header and no rows"),
        ("1,2\n3,abc\n", "NAME, line 2, column 2: 'abc' is no number; --columns 1 takes columns that hold numbers"),
        ("a,b\ncm,cm\n" + PLAIN, "NAME, line 2, column 1 ('a'): 'cm' is no number"),
        ("1,x\n2,3\n", "NAME, line 1, column 2: 'x' is no number; --columns 1 takes columns that hold numbers"),
        ("1,2\n3,4\n5\n", "NAME, line 3, has 1 cell; the rows before have 2"),
        ("1,2\n\n3,4\n\n5,6,7\n", "NAME, line 5, has 3 cells; the rows before have 2"),
        ("#3,4\n1,2\n5,6\n", "NAME, line 1, is '#3,4': a comment, or a sample? Remove the line, or its #"),
        ("# 3\n1\n2\n", "NAME, line 1, is '# 3': a comment, or a sample? Remove the line, or its #"),
        ("1,2\n#3,4\n5,6\n", "NAME, line 2, column 1: '#3' is no number; --columns 2 takes columns that hold numbers"),
        (
            "a;b\n1,5;2,5\n",
            "NAME, line 2, column 1 ('a'): '1,5' is no number; write 1234.5, with a point and without separators of "
            "thousands",
        ),
        (
            'a,b\n"1,234.5",2\n',
            "NAME, line 2, column 1 ('a'): '1,234.5' is no number; write 1234.5, with a point and without separators "
            "of thousands",
        ),
        (PLAIN + "1D0,2D0\n", "NAME, line 5, column 1: '1D0' is no number"),
        ("1_000,2\n3,4\n", "NAME, line 1, column 1: '1_000' is no number; --columns 2 takes columns that hold numbers"),
        (
            "a,b\n2026-05-03,1\n",
            "NAME, line 2, column 1 ('a'): '2026-05-03' is no number; --columns b takes columns that hold numbers",
        ),
        ("a,b\n1,1e999\n", "NAME, line 2, column 2 ('b'): inf is not finite"),
        (
            "0\n1\n2\n",
            "NAME, line 1, is 0: column numbers as pandas writes them, or a sample? Say --header or --no-header",
        ),
        (
            "0,1\n3,2\n",
            "NAME, line 1, is 0,1: column numbers as pandas writes them, or a sample? Say --header or --no-header",
        ),
        (b"1,2\n\0,3\n", "NAME is no text: it has bytes that are 0 (UTF-16 needs its byte-order mark)"),
        (b"\xff\xfe1", "NAME is no text: it begins like UTF-16 and is not"),
        ('"a\n1,2', "NAME, line 2, cannot be read: unexpected end of data"),
        (b"PK\x03\x04abc", "NAME is a zip archive, as .npz and .xlsx are; save one table as .csv or .npy"),
        (
            gzip.compress(PLAIN.encode(), mtime=0)[:-9],
            "NAME is damaged: Compressed file ended before the end-of-stream marker was reached",
        ),
        (b"PAR1", "NAME is not a Parquet file that can be read: "),
    ],
)
def test_what_is_refused_names_the_file_once(content: str | bytes, said: str, tmp_path: Path) -> None:
    path = written(tmp_path, content)
    with pytest.raises(InputError) as refused:
        read_table(path)
    told = str(refused.value)
    assert (
        told.startswith(said.replace("NAME", repr(str(path))))
        if said.endswith(": ")
        else told == said.replace("NAME", repr(str(path)))
    )
    assert told.count(path.name) == 1
    assert "\n" not in told


def test_whether_the_first_row_is_a_header_may_be_said(tmp_path: Path) -> None:
    path = written(tmp_path, "0,1\n3,2\n")
    assert np.array_equal(read_table(path, header=True).values, [[3, 2]])
    assert np.array_equal(read_table(path, header=False).values, [[0, 1], [3, 2]])
    with pytest.raises(InputError, match="line 1, column 1: 'a' is no number"):
        read_table(written(tmp_path, "a,b\n1,2\n"), header=False)


def test_long_text_is_read_whole(tmp_path: Path) -> None:
    """More rows than are converted at once; a fault far down has its line."""
    rows = [f"{number}.25,{-number}" for number in range(9001)]
    path = written(tmp_path, "a,b\n" + "\n".join(rows))
    assert np.array_equal(read_table(path).values, [[number + 0.25, -number] for number in range(9001)])
    rows[8192] = "1,x"
    with pytest.raises(InputError, match="line 8194, column 2"):
        read_table(written(tmp_path, "a,b\n" + "\n".join(rows)))


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "longdouble", "int64", "uint8", ">f8", "bool"])
def test_arrays(dtype: str, tmp_path: Path) -> None:
    array = np.asfortranarray(np.array([[1, 0], [0, 1], [1, 1]]).astype(dtype))
    np.save(tmp_path / "x.npy", array)
    found = read_table(tmp_path / "x.npy")
    assert found.values.dtype == np.float64
    assert np.array_equal(found.values, array)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array([["2020-01-01", "NaT"]], dtype="M8[D]"), " holds datetime64[D]; integers, floats or booleans are"),
        (np.ones((2, 2), dtype="m8[s]"), " holds timedelta64[s]; integers, floats or booleans are needed"),
        (np.ones((2, 2)) * 1j, " holds complex numbers; integers, floats or booleans are needed"),
        (np.array([["1", "2"]]), " holds str32; integers, floats or booleans are needed"),
        (np.array([[b"1"]]), " holds bytes8; integers, floats or booleans are needed"),
        (np.ones((2, 2), dtype=object), " holds Python objects; numbers are needed"),
        (np.rec.fromarrays(TABLE.T, names="a,b"), " holds records (a, b); a plain N×d array is needed"),
        (np.ones(5), " holds an array of shape (5,); N×d with N, d ≥ 1 is needed; array[:, None] has one column"),
        (np.ones((1, 2, 3)), " holds an array of shape (1, 2, 3); N×d with N, d ≥ 1 is needed"),
        (np.ones((0, 2)), " holds an array of shape (0, 2); N×d with N, d ≥ 1 is needed"),
        (np.array([[1, 2**53 + 1]]), ", row 1, column 2: 9007199254740993 is beyond 2^53, where float64 has gaps"),
        (np.array([[2**63 + 1]], dtype="u8"), ", row 1, column 1: 9223372036854775809 is beyond 2^53"),
    ],
    ids=lambda value: str(value.dtype) if isinstance(value, np.ndarray) else "",
)
def test_arrays_that_are_refused(array: np.ndarray, said: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(InputError) as refused:
        read_table(tmp_path / "x.npy")
    assert str(refused.value).startswith(repr(str(tmp_path / "x.npy")) + said)


@pytest.mark.skipif(np.finfo(np.longdouble).eps == np.finfo(np.float64).eps, reason="longdouble is float64 here")
def test_a_longdouble_that_float64_does_not_hold(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([[np.longdouble(1) + np.finfo(np.longdouble).eps]]))
    with pytest.raises(InputError, match="that float64 does not hold exactly"):
        read_table(tmp_path / "x.npy")


def test_damaged_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", TABLE)
    for content in (b"", b"\x93NUMPY nonsense", (tmp_path / "x.npy").read_bytes()[:-9]):
        with pytest.raises(InputError, match=r"is empty|is not an array of numbers"):
            read_table(written(tmp_path, content, "damaged.npy"))


def test_a_tab_separates_the_cells_of_a_tsv(tmp_path: Path) -> None:
    """Cells that have blanks and commas in their header, and a column without numbers."""
    text = "the width, cm\tb\nx, y\t2.5\nx y\t3.5\n"
    assert read_table(written(tmp_path, text, "data.tsv"), "2").values.tolist() == [[2.5], [3.5]]
    packed = written(tmp_path, gzip.compress(PLAIN.replace(",", "\t").encode()), "data.tsv.gz")
    assert np.array_equal(read_table(packed).values, TABLE)


def test_parquet(tmp_path: Path) -> None:
    columns = {"a": TABLE[:, 0], "b": [-2, None, 6, 8], "c": [True, False, True, True], "day": ["x", "y", "z", "w"]}
    parquet.write_table(pyarrow.table(columns | {"__index_level_0__": [4, 5, 6, 7]}), tmp_path / "x.parquet")
    found = read_table(tmp_path / "x.parquet", "a,c")
    assert np.array_equal(found.values, np.array([TABLE[:, 0], [1, 0, 1, 1]]).T)
    with pytest.raises(InputError, match=r"column 4 \('day'\) holds string, no numbers; choose --columns"):
        read_table(tmp_path / "x.parquet")
    with pytest.raises(InputError, match=r"row 2, column 2 \('b'\): the number is missing"):
        read_table(tmp_path / "x.parquet", "a,b")
    parquet.write_table(pyarrow.table({"a": TABLE[:, 0], "__index_level_0__": [4, 5, 6, 8]}), tmp_path / "y.parquet")
    found = read_table(tmp_path / "y.parquet")
    assert np.array_equal(found.values, TABLE[:, :1])
    assert found.notes == ["column 2 ('__index_level_0__') is pandas' index: left out"]
    parquet.write_table(pyarrow.table({"a": [2**53 + 1]}), tmp_path / "z.parquet")
    with pytest.raises(InputError, match=r"column 1 \('a'\) holds numbers that float64 does not hold exactly"):
        read_table(tmp_path / "z.parquet")


def test_parquet_needs_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet.write_table(pyarrow.table({"a": [1.0]}), tmp_path / "x.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match="reading one needs pyarrow, the extra `data`"):
        read_table(tmp_path / "x.parquet")


@pytest.mark.parametrize(("name", "said"), [("absent.csv", "there is no file"), ("", "is a directory; a file is")])
def test_no_file(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read_table(tmp_path / name)


def test_an_empty_path_is_no_file() -> None:
    with pytest.raises(InputError, match="there is no file ''"):
        read_table("")


def test_more_than_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of what is small while it is compressed."""
    monkeypatch.setattr("constructions.sample_files.LARGEST_BYTES", 2**17)
    for content in (b"1\n" * 2**17, gzip.compress(b"1\n" * 2**17)):
        with pytest.raises(InputError, match="holds more than"):
            read_table(written(tmp_path, content))


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(PLAIN.encode(), mtime=0))))
    assert np.array_equal(read_table("-").values, TABLE)
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(InputError, match="standard input is closed"):
        read_table("-")


def test_a_pipe_and_a_fifo_are_read_by_a_command(tmp_path: Path) -> None:
    """A process each: what is read once and has no size."""
    text = "a;b\n" + "".join(f"{number % 5}.5;{number % 3}\n" for number in range(23))
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    thread = threading.Thread(target=fifo.write_bytes, args=(text.encode(),), daemon=True)
    thread.start()
    for source, given, name in (("-", text, "standard input"), (str(fifo), None, str(fifo))):
        command = [sys.executable, "-m", "constructions.spectral_transformer", "--restarts", "2", "--iterations", "2"]
        done = subprocess.run(
            [*command, "--data", source, "--components", "2"], input=given, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done.stderr
        assert f"data          {name}: 23 samples, d = 2, K = 2; taken as it is" in done.stdout
    thread.join(timeout=10)
