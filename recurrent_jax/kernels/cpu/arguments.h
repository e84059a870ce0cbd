// SPDX-License-Identifier: Apache-2.0
// The arguments of the kernels: what README.md lists, after the handlers have checked it.
//
// A null pointer stands for an array that is absent or not wanted. All arrays are
// dense and row-major, with time first; but xs, ys and their cotangents may have the
// batch first.

#pragma once

#include <cstdint>

namespace recurrent {

struct Sizes {
  int64_t T, B, D, H;  // steps, sequences, inputs, units
  bool reverse;        // from the last step to the first
  bool batch_major;    // xs, ys and their cotangents are (B, T, .)

  // Where the row of a step and a sequence stands in these four.
  int64_t row(int64_t t, int64_t b) const { return batch_major ? b * T + t : t * B + b; }
};

// Which steps are valid and which are reset first, (T, B), or null.
struct Flags {
  const bool* valid;
  const bool* reset;
};

enum class Cell { lstm, gru_after, gru_before, tanh, relu };

constexpr int gates(Cell cell) {
  return cell == Cell::lstm ? 4 : cell == Cell::gru_after || cell == Cell::gru_before ? 3 : 1;
}

// The columns of the residual array of gates.
constexpr int saved_gates(Cell cell) {
  return cell == Cell::gru_after ? 4 : gates(cell) == 1 ? 0 : gates(cell);
}

template <class Real>
struct Weights {
  const Real *kernel, *bias;                      // (D, G*H), (G*H,)
  const Real *recurrent_kernel, *recurrent_bias;  // (H, G*H), (H,)
};

// The parts of a carry, (B, H) each. Only an LSTM has c.
template <class Real>
struct Carry {
  Real *h, *c;
};

template <class Real>
struct Forward {
  Cell cell;
  Sizes sizes;
  Flags flags;
  Weights<Real> weights;
  const Real* xs;                     // (T, B, D)
  Carry<const Real> initial, fresh;   // fresh: null without resets
  Real* ys;                           // (T, B, H)
  Carry<Real> final;
  Real *gates, *cells;                // residuals, or null
};

template <class Real>
struct Backward {
  Cell cell;
  Sizes sizes;
  Flags flags;
  Weights<Real> weights;              // without biases
  const Real* xs;
  Carry<const Real> initial, fresh;
  const Real *ys, *gates, *cells;     // results of forward
  const Real* d_ys;                   // cotangents of the results
  Carry<const Real> d_final;
  Real* d_xs;                         // cotangents of the arguments, or null
  Real *d_kernel, *d_bias, *d_recurrent_kernel, *d_recurrent_bias;
  Carry<Real> d_initial, d_fresh;
};

}  // namespace recurrent
