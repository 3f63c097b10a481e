"""What the command writes, evaluated from the files alone."""

import json
from math import expm1, tanh

import numpy as np
import pytest
from exported import Export

from constructions.rounding_error import gamma

SMALL = ["--radius", 3, "--tolerance", 1, "--max-dim", 3, "--max-components", 5]


class EmExport(Export):
    """An export of the EM transformer."""

    def read_out(self) -> tuple[np.ndarray, np.ndarray]:
        """The formulas of the metadata: means[k] = (K/N) Σ_i h[i, component[k]] h[i, mu], weights[k] = h[0, pi[k]]."""
        rules, h = self.construction["read_out"], self.output.astype(np.float64)
        components, dim = np.shape(self.result["means"])
        indicator = self.part(h, rules["means"]["indicator"])[:, :components]
        mu = self.part(h, rules["means"]["value"])[:, :dim]
        weights = self.part(h, rules["weights"]["value"])[rules["weights"]["token"], :components]
        return weights, components / len(h) * np.array(
            [(indicator[:, [k]] * mu).sum(axis=0) for k in range(components)]
        )


@pytest.fixture
def export(em_command, tmp_path):
    def run(*arguments) -> EmExport:
        assert em_command("--export", tmp_path / "export", *arguments).code == 0
        return EmExport.read(tmp_path / "export")

    return run


def allowances(export: Export) -> tuple[float, float]:
    """By how much two evaluations may differ in a mean and, relatively, in a weight.

    Each step adds its rounding allowance twice. Differences (m, l) that enter a step move a logit by at most
    D = (X + √d·B)·m + 2·l (the square network has slope ≤ 2B, log of the log network slope ≤ e^r ≤ 2), hence log
    weights by 2D; the log network at most doubles that, so the tilt P1 moves a mean by diam·tanh(2·2·2D/4).
    """
    mean = weight = 0.0
    dim = len(export.result["means"][0])
    radius = export.result["class"]["radius"] * (1 + dim**0.5)
    diameter = export.result["bounds"]["diameter"]["value"]
    for step in export.result["bounds"]["steps"]:
        logit = radius * mean + 2 * weight
        mean = 2 * step["rounding"]["mean"] + diameter * tanh(2 * logit)
        weight = 2 * step["rounding"]["log_weight"] + 2 * logit
    return mean, weight


@pytest.mark.parametrize(
    ("arguments", "largest"),
    [
        (["--layers", 6], 1e-4),
        (["--layers", 2], 1e-9),
        (["--layers", 2, "--dtype", "float32"], 0.1),
        (["--layers", 4, "--construction", "paper", *SMALL, "--data", "CSV", "--components", 2], 1e-7),
        (["--layers", 2, "--dtype", "float32", *SMALL, "--data", "CSV", "--components", 2], 0.01),
    ],
    ids=lambda argument: " ".join(map(str, argument)) if isinstance(argument, list) else None,
)
def test_the_files_alone_give_the_same_output(arguments, largest, export, csv):
    exported = export(*(csv if argument == "CSV" else argument for argument in arguments))
    stored = np.float32 if "float32" in arguments else np.float64
    assert {tensor.dtype for tensor in exported.tensors.values()} == {exported.output.dtype} == {np.dtype(stored)}
    output, expected = exported.evaluate(), exported.output
    mean, weight = allowances(exported)
    assert mean < largest  # the allowance itself is small
    assert weight < largest
    radius, dim = exported.result["class"]["radius"], len(exported.result["means"][0])
    allowed = dict.fromkeys(exported.construction["layout"], 0.0)
    allowed |= {"mu": mean, "pi": weight, "log_pi": 3 * weight, "sq_norm": 2 * radius * dim**0.5 * mean + weight}
    for name, difference in allowed.items():
        assert np.abs(exported.part(output, name) - exported.part(expected, name)).max() <= difference, name
    for kept in ("x", "one", "component"):
        assert np.array_equal(exported.part(expected, kept), exported.part(exported.input, kept))


def test_bfloat16(export, csv):
    """Stored as float32, exactly; evaluated in float32 the same up to the roundings of bfloat16, u = 2^-8.

    torch's products and sums of bfloat16 are rounded once, at the end. So a score of the E-step is off by E = u·S,
    a log weight by 2E + 2u; the log network by that twice and 3u(log A + 1), its hidden units, sum and the score of
    the M-step being rounded; and a mean by diam·tanh(4·/4) plus 4u of the largest norm.
    """
    unit = 2.0**-8
    exported = export("--layers", 2, "--dtype", "bfloat16", *SMALL, "--data", csv, "--components", 2)
    for array in (*exported.tensors.values(), exported.input, exported.output):
        assert array.dtype == np.float32
        assert not (array.view(np.uint32) & 0xFFFF).any()  # the lower half of every number is zero
    assert exported.construction["arithmetic"] == "bfloat16"
    head = {name: exported.tensors[f"layers.0.attention.0.{name}"] for name in ("query", "key")}
    scores = (exported.input @ head["query"].T) @ (exported.input @ head["key"].T).T
    log_weight = 2 * unit * np.abs(scores).max() + 2 * unit
    shift = 2 * log_weight + 3 * unit * (exported.construction["approximation"]["log_a"] + 1)
    largest = np.linalg.norm(exported.part(exported.input, "x"), axis=1).max()
    mean = exported.result["bounds"]["diameter"]["value"] * tanh(shift) + 4 * unit * largest
    output = exported.evaluate()
    for name, allowed in (("x", 0), ("component", 0), ("pi", expm1(log_weight + 4 * unit)), ("mu", mean)):
        assert np.abs(exported.part(output, name) - exported.part(exported.output, name)).max() <= allowed
    assert mean < exported.result["bounds"]["diameter"]["value"] / 3


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_the_read_out_of_the_metadata_gives_the_result(dtype, export):
    exported = export("--layers", 4, "--dtype", dtype)
    weights, means = exported.read_out()
    assert weights.tolist() == exported.result["weights"]
    difference = np.abs(means - exported.result["means"]).max()
    assert difference <= 2 * gamma(152, 2.0**-53) * np.abs(means).max()


def test_the_weights_know_no_data(em_command, csv, tmp_path):
    """Other samples, d, K, N, seeds and starts; one class, one file."""
    init = tmp_path / "init.json"
    init.write_text(json.dumps({"weights": [0.3, 0.7], "means": [[1, 0], [0, 1]]}))
    one_class = ["--layers", 4, "--max-dim", 8, "--max-components", 8, "--radius", 20]
    runs = [
        ["--data", "iris"],
        ["--data", "iris", "--components", 7, "--samples", 101, "--seed", 3],
        ["--data", "digits", "--samples", 97, "--components", 5],
        ["--data", csv, "--init", init],
    ]
    files = []
    for number, run in enumerate(runs):
        assert em_command(*one_class, *run, "--export", tmp_path / str(number)).code == 0
        files.append((tmp_path / str(number) / "transformer.safetensors").read_bytes())
    assert len(set(files)) == 1
    assert em_command(*one_class, "--tolerance", 0.2, "--export", tmp_path / "other").code == 0
    assert (tmp_path / "other" / "transformer.safetensors").read_bytes() not in files


def test_the_layouts_describe_the_matrices(export):
    """Every coordinate and every hidden unit has a name, and reads and writes only what the name says."""
    exported = export("--layers", 6)
    entry = exported.construction
    assert entry["schedule"] == [0, 1] * 3
    assert entry["class"] == exported.result["class"]
    assert entry["tolerance"] == exported.result["tolerance"] == 0.1
    layout, width = entry["layout"], exported.input.shape[1]
    ranges = sorted(layout.values())
    assert [stop for _, stop in ranges] == [start for start, _ in ranges[1:]] + [width]
    owner = {place: name for name, (start, stop) in layout.items() for place in range(start, stop)}
    for layer, blocks in enumerate(entry["hidden_layout"]):
        w1, w2 = (exported.tensors[f"layers.{layer}.mlp.{name}"] for name in ("w1", "w2"))
        ranges = sorted(blocks.values())
        assert [start for start, _ in ranges] + [len(w1)] == [0] + [stop for _, stop in ranges]
        assert w1.shape == w2.T.shape == (len(w1), width)
        for name, (start, stop) in blocks.items():
            source, target = name.split("(")[1].split(")->") if "->" in name else [name[6:-1]] * 2
            assert {owner[place] for place in np.flatnonzero(w1[start:stop].any(axis=0))} - {"one"} == {source}
            assert {owner[place] for place in np.flatnonzero(w2[:, start:stop].any(axis=1))} == {target}
