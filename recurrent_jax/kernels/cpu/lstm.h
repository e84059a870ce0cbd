// SPDX-License-Identifier: Apache-2.0
// The equations of the LSTM, for one vector of units.

#pragma once

#include "activations.h"

namespace recurrent::ISA {

template <class R>
struct Lstm {
  using Real = R;
  using Vec = Vector<R>;
  static constexpr int G = 4, V = 1;       // gates; vectors of units in a panel
  static constexpr int sums = 4, last = 3; // sums of a unit; where the last product goes
  static constexpr int saved = 4;          // gates kept for the gradient
  static constexpr bool two_products = false;
  static constexpr bool has_c = true, needs_h = false, needs_y = false;

  // The vectors of cotangents of a unit, and which of them belong to the two kernels.
  static constexpr int cotangents = 4, to_kernel = 0, to_recurrent = 0;
  static constexpr int kernel_order[] = {0, 1, 2, 3}, recurrent_order[] = {0, 1, 2, 3};

  // c' = f c + i g, h' = o tanh(c')
  static INLINE void step(const Vec (&z)[4], Vec& h, Vec& c, Vec (&gates)[4]) {
    const Vec i = sigmoid<R>(z[0]), f = sigmoid<R>(z[1]), g = tanh<R>(z[2]), o = sigmoid<R>(z[3]);
    c = f * c + i * g;
    h = o * tanh<R>(c);
    gates[0] = i, gates[1] = f, gates[2] = g, gates[3] = o;
  }

  // From the cotangents of h' and c', those of the sums, of c, and of h beside the product.
  static INLINE void gradient(const Vec (&gates)[4], Vec, Vec, Vec c_before, Vec c_after, Vec dh,
                              Vec& dc, Vec (&du)[4], Vec& direct) {
    const Vec i = gates[0], f = gates[1], g = gates[2], o = gates[3], t = tanh<R>(c_after);
    dc += dh * o * (1 - t * t);
    du[0] = dc * g * (i * (1 - i));
    du[1] = dc * c_before * (f * (1 - f));
    du[2] = dc * i * (1 - g * g);
    du[3] = dh * t * (o * (1 - o));
    dc *= f;
    direct = Vec{};
  }
};

}  // namespace recurrent::ISA
