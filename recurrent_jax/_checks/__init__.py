# SPDX-License-Identifier: Apache-2.0
"""Checks of what the user passes, and their messages.

They run once, before the loop, on shapes and dtypes alone, so compiled code does not
pay for them; only concrete `lengths` are looked into. Cells are known by the protocol
alone. A message names the function, the argument, what each axis was read as, what was
expected, what came, and the likely fix.
"""

from recurrent_jax._checks.constructors import constructor
from recurrent_jax._checks.declared import (
    called,
    checked,
    fields,
    fields_of,
    protocol,
)
from recurrent_jax._checks.functions import pairing, takes
from recurrent_jax._checks.initial import activations, drawn
from recurrent_jax._checks.lengths import axis_of, host_lengths, lengths_of, steps
from recurrent_jax._checks.networks import (
    layers,
    merged,
    part,
    parts,
    residual,
    single,
)
from recurrent_jax._checks.params import features, fresh, of_structs, own, structs
from recurrent_jax._checks.sequence import (
    Reading,
    carry,
    flags,
    forward_mode,
    lengths,
    like_input,
    method,
    options,
    order,
    read,
    refusal,
    step,
    strategy,
)
from recurrent_jax._checks.values import (
    above,
    alike,
    alive,
    array,
    arrays,
    blocks,
    bound,
    choice,
    float_dtype,
    instance,
    integer,
    one_array,
    rate,
    size,
    square,
)
from recurrent_jax._checks.words import describe, outline, shapes

__all__ = [
    "Reading",
    "above",
    "activations",
    "alike",
    "alive",
    "array",
    "arrays",
    "axis_of",
    "blocks",
    "bound",
    "called",
    "carry",
    "checked",
    "choice",
    "constructor",
    "describe",
    "drawn",
    "features",
    "fields",
    "fields_of",
    "flags",
    "float_dtype",
    "forward_mode",
    "fresh",
    "host_lengths",
    "instance",
    "integer",
    "layers",
    "lengths",
    "lengths_of",
    "like_input",
    "merged",
    "method",
    "of_structs",
    "one_array",
    "options",
    "order",
    "outline",
    "own",
    "pairing",
    "part",
    "parts",
    "protocol",
    "rate",
    "read",
    "refusal",
    "residual",
    "shapes",
    "single",
    "size",
    "square",
    "step",
    "steps",
    "strategy",
    "structs",
    "takes",
]
