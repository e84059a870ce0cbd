// SPDX-License-Identifier: Apache-2.0
// The equations of the GRU, for one vector of units, with its reset after the recurrent
// product and before it.

#pragma once

#include "activations.h"

namespace recurrent::ISA {

template <class R>
struct Gru {
  using Real = R;
  using Vec = Vector<R>;
  static constexpr int G = 3, V = 1;
  // Sums: r, z, the input's part of n, and q = h U_n + d_n, the recurrent part.
  static constexpr int sums = 4, last = 3;
  static constexpr int saved = 4;
  static constexpr bool two_products = false;
  static constexpr bool has_c = false, needs_h = true, needs_y = false;

  // Cotangents of q, r, z and n: the first three meet U, the last three W.
  static constexpr int cotangents = 4, to_kernel = 1, to_recurrent = 0;
  static constexpr int kernel_order[] = {0, 1, 2}, recurrent_order[] = {2, 0, 1};

  // n = tanh(x W_n + b_n + r q), h' = (1 - z) n + z h
  static INLINE void step(const Vec (&sums)[4], Vec& h, Vec&, Vec (&gates)[4]) {
    const Vec r = sigmoid<R>(sums[0]), z = sigmoid<R>(sums[1]), q = sums[3];
    const Vec n = tanh<R>(sums[2] + r * q);
    h = (1 - z) * n + z * h;
    gates[0] = r, gates[1] = z, gates[2] = n, gates[3] = q;
  }

  static INLINE void gradient(const Vec (&gates)[4], Vec, Vec h_before, Vec, Vec, Vec dh, Vec&,
                              Vec (&du)[4], Vec& direct) {
    const Vec r = gates[0], z = gates[1], n = gates[2], q = gates[3];
    const Vec dn = dh * (1 - z) * (1 - n * n);
    du[0] = dn * r;
    du[1] = dn * q * (r * (1 - r));
    du[2] = dh * (h_before - n) * (z * (1 - z));
    du[3] = dn;
    direct = dh * z;
  }
};

// The reset before the product needs two products a step, one after the other.
template <class R>
struct GruBefore {
  using Real = R;
  using Vec = Vector<R>;
  static constexpr int G = 3, V = 1;
  static constexpr int sums = 3, last = 2;  // r, z and the input's part of n
  static constexpr int saved = 3;
  static constexpr bool two_products = true;
  static constexpr bool has_c = false, needs_h = true, needs_y = false;

  // Cotangents of r, z and n.
  static constexpr int cotangents = 3, to_kernel = 0, to_recurrent = 0;
  static constexpr int kernel_order[] = {0, 1, 2}, recurrent_order[] = {0, 1, 2};

  // Before the second product: r, z and r h.
  static INLINE void first(const Vec (&sums)[3], Vec h, Vec (&gates)[3], Vec& reset_h) {
    gates[0] = sigmoid<R>(sums[0]);
    gates[1] = sigmoid<R>(sums[1]);
    reset_h = gates[0] * h;
  }

  // n = tanh(x W_n + b_n + (r h) U_n), h' = (1 - z) n + z h
  static INLINE void second(Vec sum, Vec& h, Vec (&gates)[3]) {
    const Vec z = gates[1], n = tanh<R>(sum);
    h = (1 - z) * n + z * h;
    gates[2] = n;
  }

  // The cotangents of z and n, and of h beside the products.
  static INLINE void gradient(const Vec (&gates)[3], Vec, Vec h_before, Vec, Vec, Vec dh, Vec&,
                              Vec (&du)[3], Vec& direct) {
    const Vec z = gates[1], n = gates[2];
    du[0] = Vec{};  // made by `reset_gradient`
    du[1] = dh * (h_before - n) * (z * (1 - z));
    du[2] = dh * (1 - z) * (1 - n * n);
    direct = dh * z;
  }

  // From the cotangent of r h, that of the sum of r, and more of h.
  static INLINE void reset_gradient(Vec r, Vec h_before, Vec d_reset_h, Vec& du, Vec& direct) {
    du = d_reset_h * h_before * (r * (1 - r));
    direct += d_reset_h * r;
  }
};

}  // namespace recurrent::ISA
