"""An export as `verify` judges it, and changes of its files, with checksums anew as whoever changes them has them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from constructions import claims, weights_file
from theory_checks import verify


def findings(folder: Path, bits: int | None = verify.BITS) -> dict[str, verify.Finding]:
    return {found.name: found for found in verify.verify(*claims.read(folder), bits)}


def false_claims(folder: Path, bits: int | None = verify.BITS) -> set[str]:
    return {name for name, found in findings(folder, bits).items() if found.verdict == "false"}


def listed(folder: Path) -> list[dict]:
    return json.loads((folder / "claims.json").read_text())["claims"]


def change_claim(folder: Path, name: str, **change: object) -> None:
    entries = [entry | change if entry["name"] == name else entry for entry in listed(folder)]
    content = json.loads((folder / "claims.json").read_text())
    (folder / "claims.json").write_text(json.dumps(content | {"claims": entries}))


def change_tensors(folder: Path, change) -> None:
    path = folder / "transformer.safetensors"
    _, construction = weights_file.load(path)
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"construction": json.dumps(construction)})
    claims.seal(folder)


def change_array(path: Path, place: tuple[int, int], by: float) -> None:
    array = np.load(path)
    array[place] += by
    np.save(path, array)
    claims.seal(path.parent)
