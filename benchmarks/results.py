# SPDX-License-Identifier: Apache-2.0
"""Result files: JSON with everything, CSV with the rows, and means over shapes."""

import csv
import json
import math
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from benchmarks.peers import JAX_PEERS

BEST = {"best JAX peer": JAX_PEERS, "best PyTorch": ("torch",)}


def save(folder: pathlib.Path, name: str, head: dict, rows: list[dict]) -> None:
    """Write `name.json`, with the head, and `name.csv`, without lists."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{key: _short(value) for key, value in row.items()} for row in rows]
    whole = json.dumps({**head, "rows": rows}, indent=1)
    (folder / f"{name}.json").write_text(whole + "\n")
    flat = [{k: v for k, v in r.items() if not isinstance(v, list)} for r in rows]
    with open(folder / f"{name}.csv", "w", newline="") as file:
        for key in ("machine", "versions"):
            for field, value in head[key].items():
                file.write(f"# {field}: {value}\n")
        for key in ("date", "command"):
            file.write(f"# {key}: {head[key]}\n")
        writer = csv.DictWriter(file, list(flat[0]))
        writer.writeheader()
        writer.writerows(flat)


def load(path: pathlib.Path) -> dict[str, Any]:
    """Read a JSON or CSV file that `save` wrote; of a CSV, all heads as the machine."""
    text = path.read_text()
    if path.suffix == ".csv":
        lines = text.splitlines()
        heads = [line[2:].split(": ", 1) for line in lines if line.startswith("# ")]
        table = csv.DictReader(line for line in lines if not line.startswith("#"))
        rows = [{key: _number(value) for key, value in row.items()} for row in table]
        result = {"machine": dict(heads), "versions": {}, "rows": rows}
    else:
        result = json.loads(text)
    if not isinstance(result, dict) or not result.get("rows"):
        raise ValueError(f"{path} is not a result file")
    return result


def ratios(rows: list[dict], cell: str, direction: str) -> dict[str, dict[str, float]]:
    """Return time over our time, by contender and shape; last, the best of each kind.

    The best JAX peer is that of each shape; strategies of ours do not count.
    """
    table: dict[str, dict[str, float]] = {}
    best: dict[str, dict[str, float]] = {kind: {} for kind in BEST}
    for row in rows:
        if (row["cell"], row["direction"]) != (cell, direction):
            continue
        if row["ratio"] is None:
            continue
        table.setdefault(row["contender"], {})[row["shape"]] = row["ratio"]
        for kind, libraries in BEST.items():
            if row["library"] in libraries:
                least = best[kind].get(row["shape"], math.inf)
                best[kind][row["shape"]] = min(row["ratio"], least)
    return table | {kind: by_shape for kind, by_shape in best.items() if by_shape}


def geometric_mean(values: Iterable[float]) -> float:
    """Return the geometric mean."""
    return float(np.exp(np.mean(np.log(list(values)))))


def unique(rows: list[dict], key: str) -> list[str]:
    """Return the values of a column in order of appearance."""
    return list(dict.fromkeys(row[key] for row in rows))


def _number(text: str) -> Any:
    """Return what CSV writes as text: None, a number, or text."""
    try:
        return float(text) if text else None
    except ValueError:
        return text


def _short(value: Any) -> Any:
    """Round to five digits: more is noise."""
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else str(value)
    return [_short(v) for v in value] if isinstance(value, list) else value
