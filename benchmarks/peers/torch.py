# SPDX-License-Identifier: Apache-2.0
"""PyTorch: `nn.LSTM`, `nn.GRU`, `nn.RNN`, on CUDA or on the CPU.

On the CPU with the threads that JAX has, and once more with one: where the products are
small or the machine is busy, that is often its best.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import recurrent_jax as rj
from benchmarks import machine
from benchmarks.contenders import Contender, Ready
from benchmarks.problems import BOTH, FORWARD, Problem, Shape


def contend(cell: rj.Cell, shape: Shape) -> dict[str, Contender]:
    """Return the LSTM, the GRU or the plain layer."""
    match cell:
        case rj.LSTM():
            layer = torch.nn.LSTM(shape.D, shape.H)
        case rj.GRU(reset_after=True):
            layer = torch.nn.GRU(shape.D, shape.H)
        case rj.Elman():
            name = "relu" if cell.activation is jax.nn.relu else "tanh"
            layer = torch.nn.RNN(shape.D, shape.H, nonlinearity=name)
        case _:
            return {}
    layer = layer.to(_device())
    name = f"torch nn.{type(layer).__name__}"
    counts = {name: machine.threads()}
    if _device() == "cpu" and machine.threads() > 1:
        counts[f"{name}, 1 thread"] = 1
    return {
        name: Contender(layer, _copy, ready=functools.partial(_ready, threads=count))
        for name, count in counts.items()
    }


def _device() -> str:
    on_gpu = jax.default_backend() == "gpu" and torch.cuda.is_available()
    return "cuda" if on_gpu else "cpu"


def _copy(params: Any) -> dict[str, jax.Array]:
    """Transpose the kernels; the second bias is zero but for n in a GRU."""
    on_state = jnp.zeros_like(params.bias)
    if isinstance(params, rj.GRU.Params):
        H = params.recurrent_bias.shape[0]
        on_state = on_state.at[2 * H :].set(params.recurrent_bias)
    return {
        "weight_ih_l0": params.kernel.T,
        "weight_hh_l0": params.recurrent_kernel.T,
        "bias_ih_l0": params.bias,
        "bias_hh_l0": on_state,
    }


def _ready(contender: Contender, problem: Problem, threads: int) -> Ready:
    device = _device()

    def place(array: jax.Array) -> torch.Tensor:
        return torch.tensor(np.asarray(array), device=device)

    layer = contender.run
    with torch.no_grad():
        for name, value in contender.copy(problem.params).items():
            getattr(layer, name).copy_(place(value))
    weights = dict(layer.named_parameters())
    cotangent = place(problem.cotangent)
    xs = place(problem.xs)
    xs_to_derive = xs.clone().requires_grad_()

    def forward() -> torch.Tensor:
        with torch.no_grad():
            return layer(xs)[0]

    def both() -> Any:
        ys, _ = layer(xs_to_derive)
        inputs = [*weights.values(), xs_to_derive]
        *grads, xs_grad = torch.autograd.grad(ys, inputs, cotangent)
        return ys, (dict(zip(weights, grads, strict=True)), xs_grad)

    def done(call: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            torch.set_num_threads(threads)
            result = call()
            if device == "cuda":
                torch.cuda.synchronize()
            return result

        return run

    return Ready(
        {FORWARD: done(forward), BOTH: done(both)},
        fetch=lambda tensor: tensor.detach().cpu().numpy(),
    )
