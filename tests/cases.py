# SPDX-License-Identifier: Apache-2.0
"""Every cell that the generic tests run over: a new cell is one more row."""

import jax
import jax.numpy as jnp

import recurrent_jax as rj
from recurrent_jax.testing import Trial

CELLS = {
    "elman": rj.Elman(4),
    "elman_relu": rj.Elman(4, activation=jax.nn.relu, use_bias=False),
    "lstm": rj.LSTM(4),
    "lstm_no_output_activation": rj.LSTM(
        4, output_activation=jax.nn.identity, use_bias=False
    ),
    "peephole_lstm": rj.PeepholeLSTM(4, peephole_init=rj.initializers.glorot_uniform),
    "gru": rj.GRU(4),
    "gru_no_bias": rj.GRU(4, use_bias=False),
    "gru_reset_before": rj.GRU(4, reset_after=False),
}

# Enough for tests of the loop and of strategies, which know no cell: products with and
# without biases, gates that do and do not read the sum of both products.
FEW = {
    name: CELLS[name]
    for name in ("elman", "lstm", "peephole_lstm", "gru_no_bias", "gru_reset_before")
}

# The rest of the field: one row for each cell and each form of it.
CELLS |= {
    "batch_norm_lstm": rj.BatchNormLSTM(4),
    "batch_norm_lstm_steps": rj.BatchNormLSTM(4, max_steps=3, use_bias=False),
    "antisymmetric_rnn": rj.AntisymmetricRNN(4, step_size=0.5, diffusion=0.1),
    "antisymmetric_rnn_gated": rj.AntisymmetricRNN(4, gated=True, use_bias=False),
    "cornn": rj.CoRNN(4),
    "ctrnn": rj.CTRNN(4, activation=jax.nn.sigmoid),
    "exp_rnn": rj.ExpRNN(4),
    "fast_grnn": rj.FastGRNN(4),
    "fast_grnn_no_bias": rj.FastGRNN(4, use_bias=False),
    "fast_rnn": rj.FastRNN(4),
    "diagonal_gru": rj.DiagonalGRU(4),
    "diagonal_lstm": rj.DiagonalLSTM(4, peephole_init=rj.initializers.glorot_uniform),
    "indrnn": rj.IndRNN(4),
    "irnn": rj.IRNN(4),
    "jordan": rj.Jordan(4),
    "jordan_trace": rj.Jordan(4, output_size=2, decay=0.5, use_bias=False),
    "leaky_elman": rj.LeakyElman(4),
    "lem": rj.LEM(4),
    "minimal_rnn": rj.MinimalRNN(4),
    "residual_elman": rj.ResidualElman(4),
    "ugrnn": rj.UGRNN(4),
}

CELLS |= {
    "cifg": rj.CIFG(4),
    "cifg_peepholes": rj.CIFG(
        4, peepholes=True, use_bias=False, peephole_init=rj.initializers.glorot_uniform
    ),
    "full_gate_recurrence_lstm": rj.FullGateRecurrenceLSTM(
        4, peephole_init=rj.initializers.glorot_uniform
    ),
    "janet": rj.JANET(4),
    "layer_norm_lstm": rj.LayerNormLSTM(4),
    "layer_norm_lstm_gates_apart": rj.LayerNormLSTM(
        4, gates_apart=True, use_bias=False
    ),
    "mogrifier_lstm": rj.MogrifierLSTM(4),
    "mogrifier_lstm_rank": rj.MogrifierLSTM(4, rounds=2, rank=2),
    "multiplicative_lstm": rj.MultiplicativeLSTM(4),
    "odyssey_lstm": rj.OdysseyLSTM(4),
    "odyssey_lstm_no_forget_gate": rj.OdysseyLSTM(4, gates="io"),
    "peephole_lstm_onnx": rj.PeepholeLSTM(
        4,
        cell_clip=2.0,
        activation=rj.activations.Clipped(jnp.tanh, 3.0),
        output_activation=rj.activations.ScaledTanh(1.7, 0.6),
        gate_activation=rj.activations.HardSigmoid(0.2, 0.5),
    ),
    "projected_lstm": rj.ProjectedLSTM(4),
    "projected_lstm_clipped": rj.ProjectedLSTM(
        4, projection_size=3, cell_clip=2.0, projection_clip=1.0
    ),
    "slstm": rj.SLSTM(4, heads=2),
    "slstm_exponential_forget": rj.SLSTM(
        4, heads=1, log_forget_activation=jax.nn.identity, use_bias=False
    ),
}

CELLS |= {
    "cfc": rj.CfC(4, backbone_size=5),
    "cfc_no_gate": rj.CfC(4, backbone_size=5, backbone_layers=2, gate=False),
    "conv_gru": rj.ConvGRU(2, spatial_shape=(3,)),
    "conv_lstm": rj.ConvLSTM(
        1, (2, 2), (2, 1), peephole_init=rj.initializers.glorot_uniform
    ),
    "conv_lstm_line": rj.ConvLSTM(
        2, (6,), strides=2, padding="VALID", use_peephole=False, use_bias=False
    ),
    "forward_fill": rj.ForwardFill(3),
    "gru_d": rj.GRUD(4),
    "layer_norm_gru": rj.LayerNormGRU(4),
    "light_gru": rj.LightGRU(4),
    "ltc": rj.LTC(4, unfolds=2),
    "mgu": rj.MGU(4),
    "mgu_of_flax": rj.MGU(4, gate_keeps_old=True, reset_after=True),
    "slim_gru_1": rj.SlimGRU(4),
    "slim_gru_3": rj.SlimGRU(4, variant=3),
    "slim_mgu_1": rj.SlimMGU(4),
    "t_lstm": rj.TimeAwareLSTM(4),
}

DROPOUTS = rj.OutputDropout(
    rj.Zoneout(
        rj.InputDropout(rj.RecurrentDropout(rj.LSTM(4), 0.2), 0.3),
        rate=rj.LSTM.Carry(h=0.1, c=0.5),
    ),
    0.4,
)
STACK = rj.Stack(
    (rj.LSTM(4), rj.Residual(rj.Zoneout(rj.InputDropout(rj.GRU(4), 0.3), 0.2)))
)

CELLS |= {
    "dropouts": DROPOUTS,
    "dropouts_drawn": DROPOUTS,
    "learned_carry": rj.LearnedCarry(rj.GRU(4)),
    # Wide, so that the laws see no rounding; the law of types casts to it and back.
    "mixed_precision": rj.MixedPrecision(rj.PeepholeLSTM(4), float),
    "mixed_precision_linear": rj.MixedPrecision(rj.LRU(4, state_size=3), float),
    "stack": STACK,
    "stack_drawn": STACK,
    "structured_low_rank": rj.Structured(rj.GRU(4), rj.operators.LowRank(2)),
    "structured_masked": rj.Structured(
        rj.Elman(4), rj.operators.Masked(rj.operators.RandomWiring(0.7), excitatory=0.5)
    ),
    "structured_orthogonal": rj.Structured(rj.Elman(4), rj.operators.Orthogonal()),
}

# What a cell reads that is not one array `(*lead, 3)`: a function of key, lead, dtype.
INPUTS = {}


def images(*spatial):
    """Return a function that draws images of three channels."""

    def draw(key, lead, dtype):
        return jax.random.normal(key, (*lead, *spatial, 3)).astype(dtype)

    return draw


def timed(key, lead, dtype):
    """Draw inputs, and the time between them."""
    k_x, k_t = jax.random.split(key)
    x = jax.random.normal(k_x, (*lead, 3)).astype(dtype)
    return rj.cells.Timed(x, jax.random.uniform(k_t, lead, minval=0.1).astype(dtype))


def observed(key, lead, dtype):
    """Draw inputs, which of them are there, and the time between them."""
    k_x, k_m = jax.random.split(key)
    x, elapsed = timed(k_x, lead, dtype)
    return rj.cells.Observed(x, jax.random.bernoulli(k_m, 0.5, x.shape), elapsed)


def filled(key, lead, dtype):
    """Draw inputs, which of them are there, and the time since they were."""
    x, mask, elapsed = observed(key, lead, dtype)
    return rj.cells.Filled(x, mask, elapsed[..., None] + abs(x))


INPUTS |= {
    "cfc": timed,
    "cfc_no_gate": timed,
    "conv_gru": images(3),
    "conv_lstm": images(2, 2),
    "conv_lstm_line": images(6),
    "forward_fill": observed,
    "gru_d": filled,
    "ltc": timed,
    "t_lstm": timed,
}


def drawn(cell):
    """Return a function that draws inputs with the noise for them beside."""

    def draw(key, lead, dtype):
        k_x, k_n = jax.random.split(key)
        x = jax.random.normal(k_x, (*lead, 3)).astype(dtype)
        # As one step of a batch of that shape, which may be a step itself.
        sampled = cell.sample(k_n, x[None], (1, *lead), dtype)
        return jax.tree.map(lambda a: a[0], sampled)

    return draw


INPUTS |= {"dropouts_drawn": drawn(DROPOUTS), "stack_drawn": drawn(STACK)}

CELLS |= {
    "delta_net": rj.DeltaNet(4, heads=2),
    "delta_net_negative": rj.DeltaNet(
        4, heads=1, key_size=2, negative_eigenvalues=True
    ),
    "gated_delta_net": rj.GatedDeltaNet(4, heads=2, key_size=3),
    "gated_delta_net_negative": rj.GatedDeltaNet(
        4, heads=1, negative_eigenvalues=True, activation=jnp.tanh
    ),
    "mlstm": rj.MLSTM(4, heads=2, key_size=3),
    "mlstm_no_bias": rj.MLSTM(4, heads=1, use_bias=False),
    "rwkv7": rj.RWKV7(4, heads=2, rank=3),
    "min_gru": rj.MinGRU(4),
    "min_gru_plain": rj.MinGRU(4, log_space=False, use_bias=False),
    "min_lstm": rj.MinLSTM(4),
    "min_lstm_plain": rj.MinLSTM(4, log_space=False, use_bias=False),
    "ret_net": rj.RetNet(4, heads=2, key_size=3),
    "gated_linear_attention": rj.GatedLinearAttention(4, heads=2, key_size=3, rank=2),
    "kda": rj.KDA(4, heads=2, key_size=3, rank=2),
    "mamba": rj.Mamba(4, state_size=2, rank=3),
    "mamba2": rj.Mamba2(4, heads=2, key_size=3),
    "mamba2_groups": rj.Mamba2(4, heads=2, groups=2, activation=jnp.tanh),
    "lru": rj.LRU(4, state_size=3),
    "lru_skip": rj.LRU(3),
    "rg_lru": rj.RGLRU(3),
    "rg_lru_heads": rj.RGLRU(3, heads=3),
    "s5": rj.S5(4, state_size=2, blocks=2),
    "s5_bilinear": rj.S5(3, state_size=2, discretization="bilinear"),
    "s4d": rj.S4D(3, state_size=2),
    "sru": rj.SRU(4, activation=jnp.tanh),
    "sru_peepholes": rj.SRU(4, peepholes=True),
    "ffm": rj.FFM(4, trace_size=2, context_size=2),
}


def as_wide(key, lead, dtype):
    """Draw the features of a cell that needs as many as it has units."""
    return jax.random.normal(key, (*lead, 3)).astype(dtype)


INPUTS |= {"s4d": as_wide}

# One row for each kind of carry and input, for what a loop does with them.
LOOPS = (
    "elman",
    "lstm",
    "gru_reset_before",
    "batch_norm_lstm",  # counts its steps
    "cfc",  # reads pairs
    "conv_lstm",  # reads images
    "forward_fill",  # has no parameters, and reads flags
    "learned_carry",  # starts from parameters
    "slstm",  # has numbers that grow without bound
    "stack_drawn",  # has a carry for each layer, and noise beside its input
    "lru",  # is linear, with a complex state
    "gated_delta_net",  # is linear, with a matrix as its state
    "structured_orthogonal",  # stores its kernel in another form
)

# One row for each way in which a cell computes a step, beside these. The laws of the
# other rows are slow tests: their cells are made of the same parts.
KINDS = (
    *FEW,
    *LOOPS,
    "elman_relu",  # a slope that jumps
    "gru",  # a bias within a gate
    "antisymmetric_rnn",  # a kernel that is made of the stored one
    "fast_grnn",  # one product for two gates
    "indrnn",  # a diagonal
    "lem",  # two products, one after the other
    "cifg_peepholes",
    "layer_norm_lstm",
    "mogrifier_lstm_rank",  # products within an input
    "projected_lstm_clipped",
    "gru_d",
    "mixed_precision",
    "mlstm",  # a normaliser
    "min_gru",  # logarithms
    "s5",  # conjugate pairs
)


def trial(name, **options):
    """Return a trial of the cell in a row."""
    return Trial(CELLS[name], inputs=INPUTS.get(name), **options)
