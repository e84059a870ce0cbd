# SPDX-License-Identifier: Apache-2.0
"""One published cell per file."""

from recurrent_jax.cells._antisymmetric import (
    AntisymmetricRNN,
    AntisymmetricRNNCarry,
    AntisymmetricRNNParams,
)
from recurrent_jax.cells._batch_norm import BatchNormInput, Moments
from recurrent_jax.cells._batch_norm_lstm import (
    BatchNormLSTM,
    BatchNormLSTMCarry,
    BatchNormLSTMParams,
    BatchNormStatistics,
)
from recurrent_jax.cells._cfc import (
    CfC,
    CfCCarry,
    CfCLayer,
    CfCParams,
)
from recurrent_jax.cells._cifg import CIFG, CIFGCarry, CIFGParams
from recurrent_jax.cells._conv_gru import (
    ConvGRU,
    ConvGRUCarry,
    ConvGRUParams,
)
from recurrent_jax.cells._conv_lstm import (
    ConvLSTM,
    ConvLSTMCarry,
    ConvLSTMParams,
)
from recurrent_jax.cells._cornn import CoRNN, CoRNNCarry, CoRNNParams
from recurrent_jax.cells._ctrnn import CTRNN, CTRNNCarry, CTRNNParams
from recurrent_jax.cells._elman import Elman, ElmanCarry, ElmanParams
from recurrent_jax.cells._exp_rnn import (
    ExpRNN,
    ExpRNNCarry,
    ExpRNNParams,
    ExpRNNPrepared,
)
from recurrent_jax.cells._fast_grnn import FastGRNN, FastGRNNCarry, FastGRNNParams
from recurrent_jax.cells._fast_rnn import FastRNN, FastRNNCarry, FastRNNParams
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
from recurrent_jax.cells._gru import GRU, GRUCarry, GRUParams
from recurrent_jax.cells._gru_d import (
    GRUD,
    GRUDCarry,
    GRUDParams,
)
from recurrent_jax.cells._indrnn import IndRNN, IndRNNCarry, IndRNNParams
from recurrent_jax.cells._irnn import IRNN
from recurrent_jax.cells._janet import JANET, JANETCarry, JANETParams
from recurrent_jax.cells._jordan import Jordan, JordanCarry, JordanParams
from recurrent_jax.cells._layer_norm_gru import (
    LayerNormGRU,
    LayerNormGRUCarry,
    LayerNormGRUParams,
)
from recurrent_jax.cells._layer_norm_lstm import (
    LayerNormLSTM,
    LayerNormLSTMCarry,
    LayerNormLSTMParams,
)
from recurrent_jax.cells._leaky_elman import (
    LeakyElman,
    LeakyElmanCarry,
    LeakyElmanParams,
)
from recurrent_jax.cells._lem import LEM, LEMCarry, LEMParams
from recurrent_jax.cells._light_gru import (
    LightGRU,
    LightGRUCarry,
    LightGRUParams,
)
from recurrent_jax.cells._lstm import LSTM, LSTMCarry, LSTMParams
from recurrent_jax.cells._ltc import (
    LTC,
    LTCCarry,
    LTCParams,
)
from recurrent_jax.cells._mgu import (
    MGU,
    MGUCarry,
    MGUParams,
)
from recurrent_jax.cells._minimal_rnn import (
    MinimalRNN,
    MinimalRNNCarry,
    MinimalRNNParams,
)
from recurrent_jax.cells._mogrifier_lstm import (
    MogrifierLSTM,
    MogrifierLSTMCarry,
    MogrifierLSTMParams,
)
from recurrent_jax.cells._multiplicative_lstm import (
    MultiplicativeLSTM,
    MultiplicativeLSTMCarry,
    MultiplicativeLSTMParams,
)
from recurrent_jax.cells._odyssey_lstm import (
    OdysseyLSTM,
    OdysseyLSTMCarry,
    OdysseyLSTMParams,
)
from recurrent_jax.cells._peephole_lstm import (
    PeepholeLSTM,
    PeepholeLSTMCarry,
    PeepholeLSTMParams,
)
from recurrent_jax.cells._projected_lstm import (
    ProjectedLSTM,
    ProjectedLSTMCarry,
    ProjectedLSTMParams,
)
from recurrent_jax.cells._residual_elman import (
    ResidualElman,
    ResidualElmanCarry,
    ResidualElmanParams,
)
from recurrent_jax.cells._slim_gru import (
    SlimGRU,
    SlimGRUCarry,
    SlimGRUParams,
)
from recurrent_jax.cells._slim_mgu import (
    SlimMGU,
    SlimMGUCarry,
    SlimMGUParams,
)
from recurrent_jax.cells._slstm import SLSTM, SLSTMCarry, SLSTMParams
from recurrent_jax.cells._t_lstm import (
    TLSTM,
    TLSTMCarry,
    TLSTMParams,
)
from recurrent_jax.cells._timed import (
    Timed,
)
from recurrent_jax.cells._ugrnn import UGRNN, UGRNNCarry, UGRNNParams

__all__ = [
    "CIFG",
    "CTRNN",
    "GRU",
    "GRUD",
    "IRNN",
    "JANET",
    "LEM",
    "LSTM",
    "LTC",
    "MGU",
    "SLSTM",
    "TLSTM",
    "UGRNN",
    "AntisymmetricRNN",
    "AntisymmetricRNNCarry",
    "AntisymmetricRNNParams",
    "BatchNormInput",
    "BatchNormLSTM",
    "BatchNormLSTMCarry",
    "BatchNormLSTMParams",
    "BatchNormStatistics",
    "CIFGCarry",
    "CIFGParams",
    "CTRNNCarry",
    "CTRNNParams",
    "CfC",
    "CfCCarry",
    "CfCLayer",
    "CfCParams",
    "CoRNN",
    "CoRNNCarry",
    "CoRNNParams",
    "ConvGRU",
    "ConvGRUCarry",
    "ConvGRUParams",
    "ConvLSTM",
    "ConvLSTMCarry",
    "ConvLSTMParams",
    "Elman",
    "ElmanCarry",
    "ElmanParams",
    "ExpRNN",
    "ExpRNNCarry",
    "ExpRNNParams",
    "ExpRNNPrepared",
    "FastGRNN",
    "FastGRNNCarry",
    "FastGRNNParams",
    "FastRNN",
    "FastRNNCarry",
    "FastRNNParams",
    "Filled",
    "ForwardFill",
    "ForwardFillCarry",
    "FullGateRecurrenceLSTM",
    "FullGateRecurrenceLSTMCarry",
    "FullGateRecurrenceLSTMParams",
    "GRUCarry",
    "GRUDCarry",
    "GRUDParams",
    "GRUParams",
    "IndRNN",
    "IndRNNCarry",
    "IndRNNParams",
    "JANETCarry",
    "JANETParams",
    "Jordan",
    "JordanCarry",
    "JordanParams",
    "LEMCarry",
    "LEMParams",
    "LSTMCarry",
    "LSTMParams",
    "LTCCarry",
    "LTCParams",
    "LayerNormGRU",
    "LayerNormGRUCarry",
    "LayerNormGRUParams",
    "LayerNormLSTM",
    "LayerNormLSTMCarry",
    "LayerNormLSTMParams",
    "LeakyElman",
    "LeakyElmanCarry",
    "LeakyElmanParams",
    "LightGRU",
    "LightGRUCarry",
    "LightGRUParams",
    "MGUCarry",
    "MGUParams",
    "MinimalRNN",
    "MinimalRNNCarry",
    "MinimalRNNParams",
    "MogrifierLSTM",
    "MogrifierLSTMCarry",
    "MogrifierLSTMParams",
    "Moments",
    "MultiplicativeLSTM",
    "MultiplicativeLSTMCarry",
    "MultiplicativeLSTMParams",
    "Observed",
    "OdysseyLSTM",
    "OdysseyLSTMCarry",
    "OdysseyLSTMParams",
    "PeepholeLSTM",
    "PeepholeLSTMCarry",
    "PeepholeLSTMParams",
    "ProjectedLSTM",
    "ProjectedLSTMCarry",
    "ProjectedLSTMParams",
    "ResidualElman",
    "ResidualElmanCarry",
    "ResidualElmanParams",
    "SLSTMCarry",
    "SLSTMParams",
    "SlimGRU",
    "SlimGRUCarry",
    "SlimGRUParams",
    "SlimMGU",
    "SlimMGUCarry",
    "SlimMGUParams",
    "TLSTMCarry",
    "TLSTMParams",
    "Timed",
    "UGRNNCarry",
    "UGRNNParams",
]
