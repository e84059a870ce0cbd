# SPDX-License-Identifier: Apache-2.0
"""Descriptions of devices that need not be there: their compilers are enough.

The compiler of a TPU is in the package `libtpu`. That of an NVIDIA GPU is in
`jax-cuda12-plugin` and `jax-cuda12-pjrt`, and uses programs of `nvidia-cuda-nvcc-cu12`.
"""

import functools
import math
import pathlib
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies

TOPOLOGIES = {
    "v5e": "v5e:2x2",
    "v6e": "v6e:2x2",
    "v5e-64": "v5e:8x8",
    "v5e-256": "v5e:16x16",
}
H100 = "h100"
GPUS = {H100: "1x1x1", "h100-8": "1x1x8"}  # in one process of one machine
DEVICES = (*TOPOLOGIES, *GPUS)


@functools.cache
def devices(name: str) -> list[Any]:
    """Return the devices of a topology, which programs can be compiled for.

    Raises:
        ValueError: if there is no such name, or its compiler is not installed.
    """
    if name not in DEVICES:
        raise ValueError(f"no device {name!r}; there are {list(DEVICES)}")
    try:
        if name in GPUS:
            target = pathlib.Path(__file__).with_name("h100.txtpb").read_text()
            found = topologies.get_topology_desc(
                topology_name="",
                platform="cuda",
                topology=GPUS[name],
                target_config=target,
            )
        else:
            found = topologies.get_topology_desc(
                platform="tpu", topology_name=TOPOLOGIES[name]
            )
    except Exception as error:  # each plugin raises in its own way
        raise ValueError(f"no compiler for {name}: {error}") from error
    return list(found.devices)


def mesh_of(name: str, **axes: int) -> jax.sharding.Mesh:
    """Return a mesh of the first devices of a topology; by default, of one."""
    axes = axes or {"batch": 1}
    chosen = devices(name)[: math.prod(axes.values())]
    return jax.sharding.Mesh(np.array(chosen).reshape(*axes.values()), tuple(axes))
