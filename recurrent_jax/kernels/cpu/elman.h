// SPDX-License-Identifier: Apache-2.0
// The equations of the Elman network, for one vector of units.

#pragma once

#include "activations.h"

namespace recurrent::ISA {

template <class R, bool relu>
struct Elman {
  using Real = R;
  using Vec = Vector<R>;
  static constexpr int G = 1, V = 2;
  static constexpr int sums = 1, last = 1;
  static constexpr int saved = 0;
  static constexpr bool two_products = false;
  static constexpr bool has_c = false, needs_h = false, needs_y = true;
  static constexpr int cotangents = 1, to_kernel = 0, to_recurrent = 0;
  static constexpr int kernel_order[] = {0}, recurrent_order[] = {0};

  // h' = tanh(z), or max(z, 0), which keeps NaN
  static INLINE void step(const Vec (&z)[1], Vec& h, Vec&, Vec (&)[1]) {
    if constexpr (relu)
      h = z[0] <= 0 ? Vec{} : z[0];
    else
      h = tanh<R>(z[0]);
  }

  static INLINE void gradient(const Vec (&)[1], Vec y, Vec, Vec, Vec, Vec dh, Vec&, Vec (&du)[1],
                              Vec& direct) {
    if constexpr (relu)
      du[0] = y > 0 ? dh : Vec{};
    else
      du[0] = dh * (1 - y * y);
    direct = Vec{};
  }
};

}  // namespace recurrent::ISA
