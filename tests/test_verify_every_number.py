"""Every coordinate of what comes out of every step is judged: moved by more than the claims allow, it is found out."""

import numpy as np
import pytest
from judged import change_array, false_claims, findings, listed

from constructions import claims, em_command, tensor_power_command

EM = [
    "--data",
    "synthetic",
    "--components",
    "2",
    "--dim",
    "1",
    "--separation",
    "4",
    "--samples",
    "10",
    "--layers",
    "4",
    "--tolerance",
    "1",
    "--max-dim",
    "2",
    "--max-components",
    "3",
    "--radius",
    "6",
    "--min-weight",
    "0.1",
]


def test_every_number_after_every_em_step_is_judged(tmp_path):
    """Each coordinate of what comes out of a step, of a token at random, moved by 1e-6: found out every time.

    d = 1 of 2, K = 2 of 3: some coordinates pad.
    """
    folder, rng = tmp_path / "x", np.random.default_rng(13)
    assert em_command.main([*EM, "--export", str(folder)]) == 0
    assert {found.verdict for found in findings(folder).values()} == {"holds"}
    for name in ("before_step_2.npy", "output.npy"):
        array = np.load(folder / name)
        assert array.shape == (10, 2 * 2 + 5 * 3 + 2)
        for coordinate in range(array.shape[1]):
            token = int(rng.integers(10))
            change_array(folder / name, (token, coordinate), 1e-6)
            assert false_claims(folder, None), (name, token, coordinate)
            np.save(folder / name, array)
    claims.seal(folder)
    assert not false_claims(folder, None)


@pytest.mark.parametrize(
    ("arguments", "exactly", "by"),
    [
        (["--layers", "4"], True, 1e-6),
        (["--layers", "4", "--attention", "softmax"], False, 1e-5),
        (["--layers", "8", "--normalise", "0.3", "4", "--tensor", "orthogonal"], False, 1e-2),
        (["--layers", "4", "--attention-only", "--dtype", "float32"], True, 1e-3),
    ],
    ids=["relu", "softmax", "normalised", "attention-only"],
)
def test_every_number_after_every_step_of_every_form_is_judged(arguments, exactly, by, tmp_path):
    """The export holds; each coordinate, of a token at random, moved by more than the claims allow: found out."""
    folder, rng = tmp_path / "x", np.random.default_rng(17)
    assert tensor_power_command.main(["--dim", "2", "--max-dim", "3", *arguments, "--export", str(folder)]) == 0
    found = findings(folder)
    assert {f.verdict for f in found.values()} == {"holds"}
    vectors = {f"vector, iteration {step}{also}" for step in (1, 2) for also in ("", ", exactly")[: 1 + exactly]}
    assert {name for name in found if name.startswith("vector")} == vectors
    assert {2 * entry["bound"] < by for entry in listed(folder) if np.ndim(entry["bound"]) == 0} == {True}
    for name in ("before_step_2.npy", "output.npy"):
        array = np.load(folder / name)
        for coordinate in range(array.shape[1]):
            token = int(rng.integers(len(array)))
            change_array(folder / name, (token, coordinate), by)
            false = false_claims(folder, None)
            assert false, (name, token, coordinate)
            assert all(claim.startswith(name.removesuffix(".npy")) for claim in false)
            np.save(folder / name, array)
    claims.seal(folder)
    assert not false_claims(folder, None)
