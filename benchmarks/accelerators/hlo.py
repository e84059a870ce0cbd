# SPDX-License-Identifier: Apache-2.0
"""Counts of a compiled program, read from its text: what it launches, and how often.

XLA's own cost analysis counts the body of a loop once, and there is none for a GPU.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "all-to-all",
    "collective-permute",
    "reduce-scatter",
)
# Nothing is launched for these, or what they contain is counted instead.
_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
    *("while", "call", "conditional", "partition-id", "replica-id", "opt-barrier"),
}
_BYTES = {"f64": 8, "s64": 8, "u64": 8, "c64": 8, "c128": 16, "bf16": 2, "f16": 2}
_BYTES |= {"s16": 2, "u16": 2, "pred": 1, "s8": 1, "u8": 1}

_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_LINE = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")


class Instruction(NamedTuple):
    """One line of a program."""

    name: str
    shape: str
    opcode: str
    rest: str  # operands and attributes

    def called(self, *attributes: str) -> list[str]:
        """Return the names of computations that attributes such as `calls` name."""
        names = "|".join(attributes)
        found = re.findall(rf"\b(?:{names})=(\{{[^}}]*\}}|%?[\w.\-]+)", self.rest)
        return [n for group in found for n in re.findall(r"%?([\w.\-]+)", group)]


class Counts(NamedTuple):
    """What one run of a program does.

    Attributes:
        flops: operations of its matrix products. Too many for a product with batch axes
            on a TPU, which is a convolution that is mostly padding, and without those
            of a GPU's library for convolutions.
        launches: fusions, products, copies and other kernels.
        collectives: how many times each kind is executed.
        bytes: what these return on each device, by kind.
    """

    flops: int
    launches: int
    collectives: Counter
    bytes: Counter


def count(text: str) -> Counts:
    """Return the counts of a program from the text of its modules."""
    program, entry = parse(text)
    flops = launches = 0
    collectives: Counter = Counter()
    size: Counter = Counter()
    # A TPU hides an exchange behind other work: each fusion on the way names it.
    hidden: dict[tuple[str, str], tuple[int, int]] = {}
    for computation, instruction, times, launched in _walk(program, entry, 1, True):
        flops += times * _flops(instruction, program[computation])
        kind = instruction.opcode.removesuffix("-start")
        moved = _bytes(instruction.shape) if kind in COLLECTIVES else 0
        if kind in COLLECTIVES and not launched:
            (channel,) = re.findall(r"\bchannel_id=\d+", instruction.rest) or [""]
            hidden[kind, channel or instruction.name] = times, moved
        if not launched or not _is_launched(instruction):
            continue
        launches += times
        if kind in COLLECTIVES:
            collectives[kind] += times
            size[kind] += times * moved
    for (kind, _), (times, moved) in hidden.items():
        collectives[kind] += times
        size[kind] += times * moved
    return Counts(flops, launches, collectives, size)


def parse(text: str) -> tuple[dict[str, dict[str, Instruction]], str]:
    """Return the instructions of each computation by name, and which is run first."""
    program: dict[str, dict[str, Instruction]] = {}
    entry, now = "", None
    for line in text.splitlines():
        if head := _HEAD.match(line):
            now = program.setdefault(head[2], {})
            entry = head[2] if head[1] else entry
        elif now is not None and (found := _LINE.match(line)):
            now[found[1]] = Instruction(*found.groups())
    if not entry:
        raise ValueError("the text has no ENTRY computation")
    return program, entry


def _walk(
    program: dict[str, dict[str, Instruction]], name: str, times: int, launched: bool
) -> Iterator[tuple[str, Instruction, int, bool]]:
    """Yield every instruction, how often it runs, and whether outside of a fusion."""
    for one in program[name].values():
        yield name, one, times, launched
        if one.opcode == "while":
            (body,), trips = one.called("body"), _trips(program, one)
            yield from _walk(program, body, times * trips, launched)
        elif one.opcode in ("call", "conditional"):
            branches = "true_computation", "false_computation", "branch_computations"
            for inner in one.called("to_apply", "calls", *branches):
                yield from _walk(program, inner, times, launched)
        elif one.opcode in ("fusion", "async-start"):
            for inner in one.called("calls"):
                yield from _walk(program, inner, times, False)


def _trips(program: dict[str, dict[str, Instruction]], loop: Instruction) -> int:
    """Return how often a loop runs: stated, or the bound that its condition names."""
    if stated := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.rest):
        return int(stated[1])
    (condition,) = loop.called("condition")
    bounds = [
        int(number[1])
        for one in program[condition].values()
        if one.opcode == "constant" and (number := re.match(r"(\d+)\)", one.rest))
    ]
    if not bounds:
        raise ValueError(f"it is not known how often the loop {loop.name} runs")
    return max(bounds)


def _flops(one: Instruction, around: dict[str, Instruction]) -> int:
    """Return the operations of a matrix product or a convolution, else 0."""
    contracted = re.search(r'lhs_contracting_dim\w+"?[=:][{\[]([\d,"]*)', one.rest)
    if one.opcode == "dot" or (one.opcode == "custom-call" and contracted):
        lhs = _dims(_operands(one, around)[0])
        depth = [lhs[int(d)] for d in re.findall(r"\d+", contracted[1])]
        return 2 * math.prod(_dims(one.shape)) * math.prod(depth)
    if one.opcode == "convolution":
        kernel = _dims(_operands(one, around)[1])
        letters = re.search(r"dim_labels=\w+_(\w+)->", one.rest)[1]
        columns = kernel[letters.index("o")]
        return 2 * math.prod(_dims(one.shape)) * math.prod(kernel) // columns
    return 0


def _operands(one: Instruction, around: dict[str, Instruction]) -> list[str]:
    names = re.findall(r"%([\w.\-]+)", one.rest.partition(")")[0])
    return [around[name].shape for name in names]


def _dims(shape: str) -> list[int]:
    """Return the sizes of the first array of a shape."""
    return [int(n) for n in _ARRAY.search(shape)[2].split(",") if n]


def _bytes(shape: str) -> int:
    return sum(
        _BYTES.get(dtype, 4) * math.prod(int(n) for n in sizes.split(",") if n)
        for dtype, sizes in _ARRAY.findall(shape)
    )


def _is_launched(one: Instruction) -> bool:
    """Return whether it is work of its own; a counter of a loop is not."""
    if one.opcode in _FREE or one.opcode.endswith(("-done", "-update")):
        return False
    return not one.shape.startswith(("s32[]", "pred[]", "u32[]"))
