// SPDX-License-Identifier: Apache-2.0
// The product of a few rows with a panel of columns, with all sums in registers.

#pragma once

#include "vectors.h"

namespace recurrent::ISA {

// The sums of M rows and N vectors of columns.
template <class Real, int M, int N>
using Tile = Vector<Real>[M][N];

// The rows of a tile with N vectors a row, such that sums, one row of the panel and one
// number of the left factor stay in registers.
template <int N>
constexpr int tile_rows = registers == 32 ? (N >= 3 ? 6 : 12) : (N >= 4 ? 3 : N == 3 ? 4 : 6);

// A left factor: the number of row m and term k stands at p[m * row + k * term].
template <class Real>
struct Left {
  const Real* p;
  int64_t row, term;
};

// A panel: the numbers of term k and vector n stand at p + k * term + n * vector.
template <class Real>
struct Panel {
  const Real* p;
  int64_t term, vector;
};

// sums[m][n] += sum over k of left[m, k] * panel[k, n], the terms in their order.
//
// The last vector of the panel is added to sums[m][last]. One or two rows are too few to
// hide the time of an addition: they use several partial sums.
template <int N, int last = N - 1, class Real, int M, int S>
INLINE void add_product(Vector<Real> (&sums)[M][S], Left<Real> left, Panel<Real> panel,
                        int64_t terms) {
  constexpr int parts = M * N >= 8 ? 1 : M * N >= 4 ? 2 : 4;
  Vector<Real> more[parts > 1 ? parts - 1 : 1][M][N] = {};
  int64_t k = 0;
  for (; k + parts <= terms; k += parts) {
#pragma GCC unroll 4
    for (int part = 0; part < parts; part++) {
      Vector<Real> u[N];
#pragma GCC unroll 8
      for (int n = 0; n < N; n++) u[n] = load(panel.p + (k + part) * panel.term + n * panel.vector);
#pragma GCC unroll 12
      for (int m = 0; m < M; m++) {
        const Vector<Real> a = broadcast(left.p[m * left.row + (k + part) * left.term]);
#pragma GCC unroll 8
        for (int n = 0; n < N; n++) {
          Vector<Real>& sum = part ? more[part ? part - 1 : 0][m][n] : sums[m][n < N - 1 ? n : last];
          sum += a * u[n];
        }
      }
    }
  }
  for (; k < terms; k++)
#pragma GCC unroll 12
    for (int m = 0; m < M; m++)
#pragma GCC unroll 8
      for (int n = 0; n < N; n++)
        sums[m][n < N - 1 ? n : last] += broadcast(left.p[m * left.row + k * left.term]) *
                                         load(panel.p + k * panel.term + n * panel.vector);
  if constexpr (parts > 1)
    for (int part = 1; part < parts; part++)
#pragma GCC unroll 12
      for (int m = 0; m < M; m++)
#pragma GCC unroll 8
        for (int n = 0; n < N; n++) sums[m][n < N - 1 ? n : last] += more[part - 1][m][n];
}

// An integer that the compiler knows.
template <int value>
struct Known {
  static constexpr int rows = value;
};

// Call `tile(Known<M>, row)` for tiles that cover the rows from `begin` to `end`, all of
// `most` rows but the last ones. Which rows make a tile depends on `begin` alone.
template <int most, class Function>
INLINE void for_tiles(int64_t begin, int64_t end, const Function& tile) {
  for (; end - begin >= most; begin += most) tile(Known<most>{}, begin);
  if constexpr (most > 1)
    if (begin < end) for_tiles<(most > 8 ? 8 : most > 4 ? 4 : most > 2 ? 2 : 1)>(begin, end, tile);
}

}  // namespace recurrent::ISA
