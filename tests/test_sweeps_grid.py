"""The grid that a text declares."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from sweep_measures import GRID

from constructions.dtypes import DTYPES
from constructions.em_class import Construction
from constructions.errors import InputError
from theory_checks.sweeps import grid as grids
from theory_checks.sweeps.grid import KEYS, Cell, load, parse

BASE = Cell("n", 2, 3, 64, 5, 7.0, 0.1, "floor", 0.05, "float64", 11, 2)


def test_union_of_products():
    """A list is an axis; a block's axes are multiplied, the last one fastest; what it leaves open is the default."""
    factorial = [replace(BASE, sweep="d-K", d=d, K=K) for d in (1, 5) for K in (2, 7)]
    grid = parse(GRID, "text")
    assert grid.cells == (*(replace(BASE, n=n) for n in (64, 128, 256)), *factorial)
    assert grid.text == GRID
    assert grid.sweeps == ("n", "d-K")
    assert grid.only(["d-K"]) == tuple(factorial)
    with pytest.raises(InputError, match=r"no sweep 'K' in the grid; it has n, d-K"):
        grid.only(["n", "K"])


def test_every_key_may_be_a_list_also_by_default():
    axes = {
        "d": [2, 3], "K": [2, 5], "n": [64, 65], "L": [0, 7], "separation": [7, 0.5], "min_weight": [0.1, "equal"],
        "construction": ["floor", "paper"], "tolerance": [1, 0.05], "dtype": ["bfloat16", "float32"], "seed": [0, 11],
        "replications": [1, 2],
    }  # fmt: skip
    assert tuple(axes) == KEYS
    text = "[defaults]\n" + "\n".join(f"{key} = {axis}" for key, axis in axes.items()) + '\n[[sweep]]\nname = "all"\n'
    cells = parse(text, "text").cells
    assert len(set(cells)) == len(cells) == 2 ** len(KEYS)
    for key, axis in axes.items():
        found = {getattr(cell, key) for cell in cells}
        assert found == ({0.1, 1 / 2, 1 / 5} if key == "min_weight" else set(axis))
    assert {type(cell.separation) for cell in cells} == {float}
    assert all(cell.min_weight in (0.1, 1 / cell.K) for cell in cells)


def test_equal_weights_are_admitted_for_every_number_of_components():
    """Although 1/K rounds up for some K."""
    text = GRID.replace("K = [2, 7]", f"K = {list(range(1, 65))}").replace("min_weight = 0.1", 'min_weight = "equal"')
    assert {cell.min_weight for cell in parse(text, "text").only(["d-K"])} == {1 / K for K in range(1, 65)}


def test_cost():
    """Proportional to every size; a run of no step is not free."""
    assert BASE.cost == 64 * 3 * 2 * 5 * 2
    assert replace(BASE, L=0).cost == 64 * 3 * 2 * 2


def test_a_cell_on_one_line():
    assert str(BASE) == (
        "sweep n, d 2, K 3, n 64, L 5, separation 7.0, min_weight 0.1, construction floor, tolerance 0.05, "
        "dtype float64, seed 11, replications 2"
    )


def test_choices_are_those_of_the_library():
    assert grids.CHOICES["construction"] == get_args(Construction)
    assert grids.CHOICES["dtype"] == tuple(DTYPES)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("[defaults]", "[default]", "unknown key 'default'"),
        ("[defaults]", "[[defaults]]", "it must be a table"),
        ("[[sweep]]", "[sweep.n]", "TOML|list of tables"),
        ("K = 3", "K = 3\nk = 3", r"\[defaults\] has the unknown key 'k'"),
        ("K = [2, 7]", "N = 7", "sweep 'd-K' has the unknown key 'N'"),
        ("seed = 11\n", "", "sweep 'n' lacks the key 'seed'"),
        ('name = "d-K"', 'name = "n"', "two sweeps are called 'n'"),
        ('name = "d-K"', "", "number 2 has the name None"),
        ('name = "d-K"', 'name = " "', "number 2 has the name ' '"),
        ('name = "d-K"', "name = 3", "number 2 has the name 3"),
        ("n = [64, 128, 256]", "n = []", "sweep 'n' is empty: its n is an empty list"),
        ("n = [64, 128, 256]", "n = [64, 128, 64]", "the same cell 2 times: sweep n, d 2, K 3, n 64"),
        ("n = [64, 128, 256]", 'K = 5\nmin_weight = [0.2, "equal"]', "the same cell 2 times"),
        ("d = 2", "d = 0", r"sweep 'n': d is 0; it must lie between 1 and 4096"),
        ("d = 2", "d = 4097", "it must lie between 1 and 4096"),
        ("d = 2", "d = 2.0", r"d is 2\.0; it must be an integer"),
        ("d = 2", "d = true", "d is True; it must be an integer"),
        ("d = 2", "d = [[2]]", r"d is \[2\]; it must be an integer"),
        ("L = 5", "L = -1", "L is -1; it must lie between 0"),
        ("seed = 11", "seed = -1", "seed is -1; it must lie between 0"),
        ("seed = 11", "seed = 9223372036854775808", "it must lie between 0 and 9223372036854775807"),
        ("replications = 2", "replications = 0", "it must lie between 1"),
        ("separation = 7", "separation = 0", "separation is 0; it must be positive"),
        ("separation = 7", "separation = nan", "separation is nan; it must be positive"),
        ("separation = 7", "separation = inf", "separation is inf; it must be positive and at most"),
        ("separation = 7", f"separation = {10**400}", "it must be positive and at most"),
        ("tolerance = 0.05", 'tolerance = "small"', "tolerance is 'small'; it must be a number$"),
        ("tolerance = 0.05", "tolerance = false", "tolerance is False; it must be a number"),
        ("min_weight = 0.1", "min_weight = 1.1", "it must be positive and at most 1"),
        ("min_weight = 0.1", 'min_weight = "even"', "min_weight is 'even'; it must be a number or \"equal\""),
        ("min_weight = 0.1", "min_weight = 0.15", "the least of K = 7 weights is 0.15; it must be at most 1/7"),
        ("n = 64", "n = 6", "sweep 'd-K': K is 7 and n is 6"),
        ('"floor"', '"ceiling"', "construction is 'ceiling'; it must be one of floor, paper"),
        ('"float64"', "64", "dtype is 64; it must be one of float64, float32, bfloat16"),
        ("K = [2, 7]", f"seed = {list(range(50_000))}", "100003 cells; it may have at most 100000"),
        ("d = 2", "d = = 2", r"not valid TOML.*line 3"),
    ],
)
def test_refusals(old, new, complaint):
    text = GRID.replace(old, new, 1)
    assert text != GRID
    with pytest.raises(InputError, match=complaint) as refusal:
        parse(text, "here.toml")
    assert "the grid 'here.toml'" in str(refusal.value)


@pytest.mark.parametrize("text", ["", "[defaults]\nd = 2\n", "sweep = []\n"])
def test_an_empty_grid(text):
    with pytest.raises(InputError, match=r"it is empty: it needs at least one \[\[sweep\]\]"):
        parse(text, "here.toml")


def test_files(tmp_path: Path):
    path = tmp_path / "grid.toml"
    with pytest.raises(InputError, match=r"grid\.toml' cannot be read: No such file"):
        load(path)
    path.write_bytes(b"# \xff")
    with pytest.raises(InputError, match=r"not text in UTF-8: byte 2"):
        load(path)
    path.write_text(GRID, encoding="utf-8")
    assert load(path) == parse(GRID, "text")
    with pytest.raises(InputError, match="Is a directory"):
        load(tmp_path)
