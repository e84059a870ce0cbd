// SPDX-License-Identifier: Apache-2.0
// Weights in the order in which the products read them.

#pragma once

#include <algorithm>
#include <utility>

#include "product.h"

namespace recurrent::ISA {

// How the columns of a kernel, (., G*H), lie in panels of V vectors of units.
//
// A panel holds G*V vectors: for each gate, V vectors of units. Beyond H it is zero.
template <class Real, int G, int V>
struct Panels {
  static constexpr int W = lanes<Real>, N = G * V, units = V * W, width = N * W;
  int64_t H;

  int64_t count() const { return (H + units - 1) / units; }
  int64_t padded() const { return count() * units; }

  // The first column of vector n of panel j in the kernel, and how many of its lanes are
  // units. `gate` is the gate of vector n.
  int64_t unit(int64_t j, int n) const { return j * units + n % V * W; }
  int64_t column(int64_t j, int n, int gate) const { return gate * H + unit(j, n); }
  int64_t real_lanes(int64_t j, int n) const {
    return std::clamp<int64_t>(H - unit(j, n), 0, W);
  }

  // Panel j of a kernel with `rows` rows of G*H numbers.
  void pack(Real* to, const Real* kernel, int64_t rows, int64_t j) const {
    for (int n = 0; n < N; n++) {
      const Real* from = kernel + column(j, n, n / V);
      const int64_t count = real_lanes(j, n);
      for (int64_t k = 0; k < rows; k++)
        store(to + k * width + n * W, count ? load(from + k * G * H, count) : Vector<Real>{});
    }
  }
};

// Exchange the lanes of a whose index has bit `bit` with those of b whose index has not.
template <int bit, class Vec, int... lane>
INLINE void exchange(Vec& a, Vec& b, std::integer_sequence<int, lane...>) {
  constexpr int W = sizeof...(lane);
  const Vec low = __builtin_shufflevector(a, b, (lane & bit ? W + lane - bit : lane)...);
  b = __builtin_shufflevector(a, b, (lane & bit ? W + lane : lane + bit)...);
  a = low;
}

// Transpose a square of W vectors of W lanes: exchange halves, then quarters, and so on.
template <class Real, int bit = lanes<Real> / 2>
INLINE void transpose(Vector<Real> (&square)[lanes<Real>]) {
  if constexpr (bit > 0) {
#pragma GCC unroll 16
    for (int i = 0; i < lanes<Real>; i++)
      if (!(i & bit))
        exchange<bit>(square[i], square[i + bit], std::make_integer_sequence<int, lanes<Real>>{});
    transpose<Real, bit / 2>(square);
  }
}

// The transposed kernel, for products of cotangents: panels of `vectors` vectors of rows
// of the kernel. Its terms are the columns in the order of the panels of cotangents: for
// panel j and vector n the lanes, where vector n belongs to gate `order[n / V]`.
template <int vectors, class Real, int G, int V>
void pack_transposed(Real* to, const Real* kernel, int64_t rows, Panels<Real, G, V> panels,
                     const int (&order)[G], int64_t block) {
  constexpr int W = lanes<Real>, width = vectors * W;
  for (int64_t j = 0; j < panels.count(); j++)
    for (int n = 0; n < G * V; n++) {
      const int64_t column = panels.column(j, n, order[n / V]), count = panels.real_lanes(j, n);
      Real* term = to + (j * G * V + n) * W * width;
      for (int v = 0; v < vectors; v++) {
        Vector<Real> square[W];
#pragma GCC unroll 16
        for (int i = 0; i < W; i++) {
          const int64_t k = block * width + v * W + i;
          square[i] = k < rows && count ? load(kernel + k * G * panels.H + column, count)
                                        : Vector<Real>{};
        }
        transpose<Real>(square);
#pragma GCC unroll 16
        for (int l = 0; l < W; l++) store(term + l * width + v * W, square[l]);
      }
    }
}

}  // namespace recurrent::ISA
