# SPDX-License-Identifier: Apache-2.0
"""Published recurrent cells, one per file."""

from recurrent_jax._core.cell import HiddenCarry, HiddenCellCarry
from recurrent_jax.cells._antisymmetric import (
    AntisymmetricRNN,
    AntisymmetricRNNParams,
    AntisymmetricRNNPrepared,
)
from recurrent_jax.cells._batch_norm import BatchNormInput, Moments
from recurrent_jax.cells._batch_norm_lstm import (
    BatchNormLSTM,
    BatchNormLSTMCarry,
    BatchNormLSTMParams,
    BatchNormStatistics,
)
from recurrent_jax.cells._cfc import CfC, CfCLayer, CfCParams
from recurrent_jax.cells._cifg import CIFG, CIFGParams
from recurrent_jax.cells._conv_gru import ConvGRU, ConvGRUParams
from recurrent_jax.cells._conv_lstm import ConvLSTM, ConvLSTMParams
from recurrent_jax.cells._cornn import CoRNN, CoRNNCarry, CoRNNParams
from recurrent_jax.cells._ctrnn import CTRNN, CTRNNCarry, CTRNNParams
from recurrent_jax.cells._delta_net import DeltaNet, DeltaNetParams
from recurrent_jax.cells._diagonal_gru import DiagonalGRU, DiagonalGRUParams
from recurrent_jax.cells._diagonal_lstm import DiagonalLSTM, DiagonalLSTMParams
from recurrent_jax.cells._elman import Elman, ElmanParams
from recurrent_jax.cells._exp_rnn import ExpRNN, ExpRNNParams, ExpRNNPrepared
from recurrent_jax.cells._fast_grnn import FastGRNN, FastGRNNParams, FastGRNNPrepared
from recurrent_jax.cells._fast_rnn import FastRNN, FastRNNParams, FastRNNPrepared
from recurrent_jax.cells._ffm import FFM, FFMCarry, FFMParams
from recurrent_jax.cells._forward_fill import (
    Filled,
    ForwardFill,
    ForwardFillCarry,
    Observed,
)
from recurrent_jax.cells._full_gate_recurrence_lstm import (
    FullGateRecurrenceLSTM,
    FullGateRecurrenceLSTMCarry,
    FullGateRecurrenceLSTMParams,
)
from recurrent_jax.cells._gated_delta_net import GatedDeltaNet, GatedDeltaNetParams
from recurrent_jax.cells._gated_linear_attention import (
    GatedLinearAttention,
    GatedLinearAttentionParams,
)
from recurrent_jax.cells._gru import GRU, GRUParams
from recurrent_jax.cells._gru_d import GRUD, GRUDParams
from recurrent_jax.cells._indrnn import IndRNN, IndRNNParams
from recurrent_jax.cells._irnn import IRNN
from recurrent_jax.cells._janet import JANET, JANETParams
from recurrent_jax.cells._jordan import Jordan, JordanCarry, JordanParams
from recurrent_jax.cells._kda import KDA, KDAParams
from recurrent_jax.cells._layer_norm_gru import LayerNormGRU, LayerNormGRUParams
from recurrent_jax.cells._layer_norm_lstm import LayerNormLSTM, LayerNormLSTMParams
from recurrent_jax.cells._leaky_elman import LeakyElman, LeakyElmanParams
from recurrent_jax.cells._lem import LEM, LEMParams
from recurrent_jax.cells._light_gru import LightGRU, LightGRUParams
from recurrent_jax.cells._lru import LRU, ComplexCarry, LRUParams
from recurrent_jax.cells._lstm import LSTM, LSTMParams
from recurrent_jax.cells._ltc import LTC, LTCParams, LTCPrepared
from recurrent_jax.cells._mamba import Mamba, MambaCarry, MambaParams
from recurrent_jax.cells._mamba2 import Mamba2, Mamba2Params
from recurrent_jax.cells._mgu import MGU, MGUParams
from recurrent_jax.cells._min_gru import MinGRU, MinGRUParams
from recurrent_jax.cells._min_lstm import MinLSTM, MinLSTMParams
from recurrent_jax.cells._minimal_rnn import MinimalRNN, MinimalRNNParams
from recurrent_jax.cells._mlstm import MLSTM, MLSTMParams
from recurrent_jax.cells._mogrifier_lstm import MogrifierLSTM, MogrifierLSTMParams
from recurrent_jax.cells._multiplicative_lstm import (
    MultiplicativeLSTM,
    MultiplicativeLSTMParams,
)
from recurrent_jax.cells._odyssey_lstm import OdysseyLSTM, OdysseyLSTMParams
from recurrent_jax.cells._peephole_lstm import PeepholeLSTM, PeepholeLSTMParams
from recurrent_jax.cells._projected_lstm import ProjectedLSTM, ProjectedLSTMParams
from recurrent_jax.cells._residual_elman import ResidualElman, ResidualElmanParams
from recurrent_jax.cells._ret_net import RetNet, RetNetParams
from recurrent_jax.cells._rg_lru import RGLRU, RGLRUParams
from recurrent_jax.cells._rwkv7 import RWKV7, RWKV7Params
from recurrent_jax.cells._s4d import S4D, S4DParams, S4DPrepared
from recurrent_jax.cells._s5 import S5, S5Params, S5Prepared
from recurrent_jax.cells._slim_gru import SlimGRU, SlimGRUParams
from recurrent_jax.cells._slim_mgu import SlimMGU, SlimMGUParams
from recurrent_jax.cells._slstm import SLSTM, SLSTMCarry, SLSTMParams
from recurrent_jax.cells._sru import SRU, SRUCarry, SRUParams
from recurrent_jax.cells._time_aware_lstm import TimeAwareLSTM, TimeAwareLSTMParams
from recurrent_jax.cells._timed import Timed
from recurrent_jax.cells._ugrnn import UGRNN, UGRNNParams
from recurrent_jax.scans import MatrixCarry, StabilisedCarry

__all__ = [
    "CIFG",
    "CTRNN",
    "FFM",
    "GRU",
    "GRUD",
    "IRNN",
    "JANET",
    "KDA",
    "LEM",
    "LRU",
    "LSTM",
    "LTC",
    "MGU",
    "MLSTM",
    "RGLRU",
    "RWKV7",
    "S4D",
    "S5",
    "SLSTM",
    "SRU",
    "UGRNN",
    "AntisymmetricRNN",
    "AntisymmetricRNNParams",
    "AntisymmetricRNNPrepared",
    "BatchNormInput",
    "BatchNormLSTM",
    "BatchNormLSTMCarry",
    "BatchNormLSTMParams",
    "BatchNormStatistics",
    "CIFGParams",
    "CTRNNCarry",
    "CTRNNParams",
    "CfC",
    "CfCLayer",
    "CfCParams",
    "CoRNN",
    "CoRNNCarry",
    "CoRNNParams",
    "ComplexCarry",
    "ConvGRU",
    "ConvGRUParams",
    "ConvLSTM",
    "ConvLSTMParams",
    "DeltaNet",
    "DeltaNetParams",
    "DiagonalGRU",
    "DiagonalGRUParams",
    "DiagonalLSTM",
    "DiagonalLSTMParams",
    "Elman",
    "ElmanParams",
    "ExpRNN",
    "ExpRNNParams",
    "ExpRNNPrepared",
    "FFMCarry",
    "FFMParams",
    "FastGRNN",
    "FastGRNNParams",
    "FastGRNNPrepared",
    "FastRNN",
    "FastRNNParams",
    "FastRNNPrepared",
    "Filled",
    "ForwardFill",
    "ForwardFillCarry",
    "FullGateRecurrenceLSTM",
    "FullGateRecurrenceLSTMCarry",
    "FullGateRecurrenceLSTMParams",
    "GRUDParams",
    "GRUParams",
    "GatedDeltaNet",
    "GatedDeltaNetParams",
    "GatedLinearAttention",
    "GatedLinearAttentionParams",
    "HiddenCarry",
    "HiddenCellCarry",
    "IndRNN",
    "IndRNNParams",
    "JANETParams",
    "Jordan",
    "JordanCarry",
    "JordanParams",
    "KDAParams",
    "LEMParams",
    "LRUParams",
    "LSTMParams",
    "LTCParams",
    "LTCPrepared",
    "LayerNormGRU",
    "LayerNormGRUParams",
    "LayerNormLSTM",
    "LayerNormLSTMParams",
    "LeakyElman",
    "LeakyElmanParams",
    "LightGRU",
    "LightGRUParams",
    "MGUParams",
    "MLSTMParams",
    "Mamba",
    "Mamba2",
    "Mamba2Params",
    "MambaCarry",
    "MambaParams",
    "MatrixCarry",
    "MinGRU",
    "MinGRUParams",
    "MinLSTM",
    "MinLSTMParams",
    "MinimalRNN",
    "MinimalRNNParams",
    "MogrifierLSTM",
    "MogrifierLSTMParams",
    "Moments",
    "MultiplicativeLSTM",
    "MultiplicativeLSTMParams",
    "Observed",
    "OdysseyLSTM",
    "OdysseyLSTMParams",
    "PeepholeLSTM",
    "PeepholeLSTMParams",
    "ProjectedLSTM",
    "ProjectedLSTMParams",
    "RGLRUParams",
    "RWKV7Params",
    "ResidualElman",
    "ResidualElmanParams",
    "RetNet",
    "RetNetParams",
    "S4DParams",
    "S4DPrepared",
    "S5Params",
    "S5Prepared",
    "SLSTMCarry",
    "SLSTMParams",
    "SRUCarry",
    "SRUParams",
    "SlimGRU",
    "SlimGRUParams",
    "SlimMGU",
    "SlimMGUParams",
    "StabilisedCarry",
    "TimeAwareLSTM",
    "TimeAwareLSTMParams",
    "Timed",
    "UGRNNParams",
]
