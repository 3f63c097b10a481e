"""Small factors: those that only choose rows copy them, all others multiply."""

import pytest
import torch

from constructions.factor import LEAST_COLUMNS, Factor, chosen_rows

DTYPES = [torch.float64, torch.float32, torch.bfloat16]


def choosing(rows: list[int], r: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """The (r, m) matrix whose column j has its 1 in rows[j]."""
    return torch.eye(r, dtype=dtype)[:, rows]


def integers(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Different in every place of a few rows, and so small that products with them are exact."""
    return (torch.arange(torch.Size(shape).numel()) % 251).reshape(shape).to(dtype) - 125


def product(matrix: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """AᵀB, term by term."""
    return (matrix[..., :, :, None] * other[..., :, None, :]).sum(dim=-3)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)], ids=str)
@pytest.mark.parametrize("rows", [[4, 2, 0, 1, 3], [1, 1, 3, 1, 0, 4, 3], [0, 1, 2], [2]], ids=str)
def test_chosen_rows_are_the_product(rows, batch, dtype):
    matrix = choosing(rows, 5, dtype).expand(*batch, 5, len(rows))
    other = integers(*batch, 5, 11, dtype=dtype)
    factor = Factor(matrix, LEAST_COLUMNS)
    assert factor.rows.tolist() == rows
    found = factor(other)
    assert found is not other
    assert torch.equal(found, other[..., rows, :])
    assert torch.equal(found, product(matrix, other))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("batch", [(), (3,)], ids=str)
def test_the_identity_returns_the_tensor_itself(batch, dtype):
    other = integers(*batch, 5, 11, dtype=dtype)
    assert Factor(torch.eye(5, dtype=dtype).expand(*batch, 5, 5), LEAST_COLUMNS)(other) is other


def changed(row: int, column: int, entry: float) -> torch.Tensor:
    """The identity with another entry, in the second of three data sets only."""
    matrix = torch.eye(5, dtype=torch.float64).repeat(3, 1, 1)
    matrix[1, row, column] = entry
    return matrix


@pytest.mark.parametrize(
    "matrix",
    [
        changed(2, 2, 1 + 2.0**-40)[1],
        changed(2, 2, -1.0)[1],
        changed(2, 2, 0.0)[1],  # chooses nothing in a column
        changed(3, 2, 1.0)[1],  # two rows
        changed(3, 2, 2.0**-40)[1],
        torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]], dtype=torch.float64),  # two rows and none
        changed(2, 2, 1 + 2.0**-40),
        changed(3, 2, 2.0**-40),
        torch.stack([choosing([0, 1, 2], 3), choosing([0, 2, 1], 3)]),
        torch.stack([choosing([0, 2, 1], 3), choosing([0, 1, 2], 3)]),
    ],
    ids=str,
)
def test_what_is_nearly_a_choice_is_multiplied(matrix):
    factor = Factor(matrix, LEAST_COLUMNS)
    assert factor.rows is None
    other = integers(*matrix.shape[:-1], 7)
    assert torch.equal(factor(other), product(matrix, other))
    assert not torch.equal(product(matrix, other), other[..., : matrix.shape[-1], :])


def test_few_columns_are_always_multiplied():
    matrix, other = torch.eye(5, dtype=torch.float64), integers(5, 11)
    assert isinstance(chosen_rows(matrix), slice)
    assert isinstance(Factor(matrix, LEAST_COLUMNS).rows, slice)
    few = Factor(matrix, LEAST_COLUMNS - 1)
    assert few.rows is None
    assert few(other) is not other
    assert torch.equal(few(other), other)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (2, 0, 3), (2, 3, 0), (0, 5, 3)], ids=str)
def test_empty_matrices(shape):
    *batch, r, m = shape
    found = Factor(torch.zeros(shape), LEAST_COLUMNS)(torch.ones(*batch, r, 7))
    assert torch.equal(found, torch.zeros(*batch, m, 7))
