# SPDX-License-Identifier: Apache-2.0
"""What runs a sequence here, in words."""

from recurrent_jax.kernels._kernel import KERNELS
from recurrent_jax.kernels._library import SWITCH, loaded


def show_backends() -> str:
    """Return whether compiled kernels are in use in this process, or why not.

    Returns:
        One line for each kind of kernel.

    Example:
        >>> import recurrent_jax as rj
        >>> print(rj.show_backends())
        kernels for CPUs: ...
    """
    found = loaded()
    if not found.active:
        return f"kernels for CPUs: not in use: {found.reason}"
    cells = ", ".join(sorted(cell.__name__ for cell in KERNELS))
    return (
        f"kernels for CPUs: in use ({found.isa}) for {cells} with method=rj.Fused(); "
        f"{SWITCH}=on lets unroll choose them, and off turns them off"
    )
