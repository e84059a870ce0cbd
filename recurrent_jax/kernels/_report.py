# SPDX-License-Identifier: Apache-2.0
"""What runs a sequence here, in words."""

from recurrent_jax.kernels import _gpu, _tpu
from recurrent_jax.kernels._kernel import KERNELS
from recurrent_jax.kernels._library import SWITCH, loaded, turned_off


def show_backends() -> str:
    """Return whether compiled kernels are in use in this process, or why not.

    Returns:
        One line for each kind of kernel.

    Example:
        >>> import recurrent_jax as rj
        >>> print(rj.show_backends())
        kernels for CPUs: ...
        kernels for TPUs: ...
        kernels for GPUs: ...
    """
    lines = {
        "CPUs": _on_cpu(),
        "TPUs": _in_pallas(_tpu.DTYPES, "a TPU; compiled for v5e and v6e"),
        "GPUs": _in_pallas(_gpu.DTYPES, "a Hopper GPU; compiled for H100"),
    }
    return "\n".join(f"kernels for {name}: {line}" for name, line in lines.items())


def _on_cpu() -> str:
    found = loaded()
    if not found.active:
        return f"not in use: {found.reason}"
    return (
        f"in use ({found.isa}) for {_cells()}, by default where they gain; "
        f"{SWITCH}=off turns them off"
    )


def _in_pallas(dtypes: tuple[str, ...], where: str) -> str:
    if turned_off():
        return f"not in use: {SWITCH}=off"
    return (
        f"for {_cells()} in {' and '.join(dtypes)} with method=rj.Fused() on {where}, "
        "and never measured"
    )


def _cells() -> str:
    return ", ".join(sorted(cell.__name__ for cell in KERNELS))
