"""What the tensor-power demo exports, evaluated from the files alone."""

import numpy as np
import pytest
from exported import Export

from constructions.direction_bound import DirectionBound, normalised_step
from constructions.dtypes import DTYPES
from constructions.normalisation import Normalisation

NORMALISE = ["--normalise", 0.3, 4, "--tensor", "orthogonal"]
ALL_FORMS = {
    "relu": [],
    "attention-only": ["--attention-only"],
    "softmax": ["--attention", "softmax"],
    "normalised": NORMALISE,
}


class PowerExport(Export):
    """An export of the tensor-power transformer."""

    def read_out(self, tokens: np.ndarray) -> np.ndarray:
        """The formula of the metadata: vector = h[0, vec][:d]."""
        rule = self.construction["read_out"]["vector"]
        assert rule["formula"] == f"vector = h[{rule['token']}, {rule['value']}][:d]"
        start, _ = self.construction["layout"][rule["value"]]
        return tokens[rule["token"], start : start + self.result["tensor"]["dim"]].astype(np.float64)


@pytest.fixture
def export(tensor_command, tmp_path):
    def run(*arguments) -> PowerExport:
        small = ["--dim", 3, "--max-dim", 5]
        assert tensor_command("--export", tmp_path / "export", *small, *arguments).code == 0
        return PowerExport.read(tmp_path / "export")

    return run


@pytest.mark.parametrize(
    ("arguments", "relative"),
    [
        (["--layers", 6], 1e-11),
        (["--layers", 6, "--attention-only"], 1e-11),
        (["--layers", 6, "--attention", "softmax"], 1e-5),
        (["--layers", 12, *NORMALISE], 1e-3),
        (["--layers", 6, "--dtype", "float32"], 1e-2),
        (["--layers", 2, "--dtype", "float32", "--attention", "softmax"], 0.1),
        (["--layers", 2, "--dtype", "bfloat16"], 0.9),
    ],
    ids=lambda argument: " ".join(map(str, argument)) if isinstance(argument, list) else None,
)
def test_the_files_alone_give_the_same_output(arguments, relative, export):
    """Both evaluations are within the run's bound of its reference, and the stream's other parts are as they must be.

    numpy rounds in the stored format, which is no coarser than the run's.
    """
    exported = export(*arguments)
    result, output = exported.result, exported.evaluate()
    stored = np.dtype(np.float64 if "--dtype" not in arguments else np.float32)
    assert {array.dtype for array in (*exported.tensors.values(), exported.output, output)} == {stored}
    assert exported.read_out(exported.output).tolist() == result["vector"]
    assert result["bound"] < relative * np.linalg.norm(result["reference"])
    difference = exported.read_out(output) - result["reference"]
    assert np.linalg.norm(difference) <= result["bound"]
    tokens, layout = exported.input, exported.construction["layout"]
    assert exported.output.shape == tokens.shape == output.shape
    for name, (start, stop) in layout.items():
        if name in ("slice", "basis", "one", "sign"):
            for h in (output, exported.output):
                assert np.array_equal(h[:, start:stop], tokens[:, start:stop])
        elif name in ("new", "sq_norm", "inverse_norm") or (name == "scalar" and "--attention-only" not in arguments):
            assert not output[:, start:stop].any()
            assert not exported.output[:, start:stop].any()


def test_a_normalised_step_from_the_files_up_to_rounding(export):
    """The networks' errors are those of the same weights: what is left is the rounding of one step, twice."""
    exported = export("--layers", 4, *NORMALISE)
    entry = exported.construction["normalisation"]
    range_ = Normalisation(**entry)
    start = np.array(exported.result["start"])
    size = float(np.linalg.norm(start))
    tensor = exported.input[:, slice(*exported.construction["layout"]["slice"])].reshape(5, 5, 5)
    bound = normalised_step(
        DirectionBound(0.0, size, size, size), tensor.transpose(2, 1, 0)[:3, :3, :3], start / size, 0.0, range_, 5,
        DTYPES["float64"],
    )  # fmt: skip
    _, above = range_.norm_errors(3)
    allowed = 2 * (bound.norm_high * bound.direction + 2 * (bound.norm_high / (1 + above) - 1))
    assert allowed < 1e-9
    got = exported.read_out(exported.evaluate())
    assert np.linalg.norm(got - exported.result["vector"]) <= allowed


def test_bfloat16_is_stored_exactly(export):
    """The lower half of every float32 is zero."""
    exported = export("--layers", 4, "--dtype", "bfloat16")
    assert exported.construction["arithmetic"] == "bfloat16"
    for array in (*exported.tensors.values(), exported.input, exported.output):
        assert not (array.view(np.uint32) & 0xFFFF).any()


@pytest.mark.parametrize("name", ALL_FORMS)
def test_the_layouts_describe_the_matrices(name, export):
    """Every coordinate and every hidden unit has a name, and reads and writes only what the name says."""
    exported = export("--layers", 8, *ALL_FORMS[name])
    entry = exported.construction
    per_step = 4 if name == "normalised" else 2
    assert entry["schedule"] == list(range(per_step)) * (8 // per_step)
    assert entry["layers_per_step"] == per_step
    assert (entry["name"], entry["max_dim"], entry["arithmetic"]) == (exported.result["construction"], 5, "float64")
    for layer, activation in enumerate(entry["activation"]):
        if f"layers.{layer}.attention.0.query" in exported.tensors:
            assert activation == ("softmax" if name == "softmax" else "relu")
    assert entry["scale"] == (2.0**-15 if name == "softmax" else None)
    assert (entry["normalisation"] is not None) == (name == "normalised")
    layout, width = entry["layout"], exported.input.shape[1]
    ranges = sorted(layout.values())
    assert [stop for _, stop in ranges] == [start for start, _ in ranges[1:]] + [width]
    owner = {place: part for part, (start, stop) in layout.items() for place in range(start, stop)}
    assert len(entry["hidden_layout"]) == per_step
    for layer, blocks in enumerate(entry["hidden_layout"]):
        if f"layers.{layer}.mlp.w1" not in exported.tensors:
            assert blocks == {}
            continue
        w1, w2 = (exported.tensors[f"layers.{layer}.mlp.{part}"] for part in ("w1", "w2"))
        ranges = sorted(blocks.values())
        assert [start for start, _ in ranges] + [len(w1)] == [0] + [stop for _, stop in ranges]
        for block, (start, stop) in blocks.items():
            source, target = block.split("(")[1].split(")->") if "->" in block else [block[6:-1]] * 2
            assert {owner[place] for place in np.flatnonzero(w1[start:stop].any(axis=0))} - {"one"} == {source}
            assert {owner[place] for place in np.flatnonzero(w2[:, start:stop].any(axis=1))} == {target}
