// SPDX-License-Identifier: Apache-2.0
// The forward loop of a cell with one recurrent product a step, or two.
//
// Each member of the team has some sequences and some panels of units. The sums of a
// tile start from the bias (or from z = x W + b, made for a block of steps if there are
// few sequences), take x W and h U, and become the new carry in registers. One barrier a
// step: the states of two steps lie in two buffers by turns.

#pragma once

#include "arguments.h"
#include "packing.h"
#include "scratch.h"
#include "split.h"
#include "team.h"

namespace recurrent::ISA {

template <class Cell>
class ForwardLoop {
  using Real = typename Cell::Real;
  static constexpr int G = Cell::G, V = Cell::V, W = lanes<Real>, N = G * V;
  static constexpr int S = Cell::sums * V, M = tile_rows<S>;
  static constexpr int last = S > N ? S - 1 : N - 1;
  using Vec = Vector<Real>;

 public:
  ForwardLoop(const Forward<Real>& call)
      : a(call), T(a.sizes.T), B(a.sizes.B), D(a.sizes.D), H(a.sizes.H), panels{H},
        J(panels.count()), row(J * V * W + 64 / int(sizeof(Real))), direct(B >= 16 || D <= 4),
        // Packing pays if the weights are read more often than a few times.
        packed(T * ((B + M - 1) / M) > 3),
        // The same for any number of threads, so that the results are.
        block(std::clamp<int64_t>((512 << 10) / (J * N * vector_bytes) / std::max<int64_t>(B, 1),
                                  1, std::max<int64_t>(T, 1))) {
    scratch.reserve(h[0], B * row);
    scratch.reserve(h[1], B * row);
    if (Cell::has_c) scratch.reserve(c, B * row);
    scratch.reserve(bias, J * N * W);
    scratch.reserve(recurrent_bias, J * V * W);
    scratch.reserve(kernel, (packed ? J : 1) * D * N * W);
    scratch.reserve(recurrent_kernel, (packed ? J : 1) * H * N * W);
    if (Cell::two_products)
      for (Real*& part : between) scratch.reserve(part, B * row);
    if (!direct) scratch.reserve(z, block * B * J * N * W);
    scratch.allocate();
    prefer_large_pages(a.ys, T * B * H * sizeof(Real));
    prefer_large_pages(a.gates, T * B * H * Cell::saved * sizeof(Real));
    prefer_large_pages(a.cells, T * B * H * sizeof(Real));
  }

  void run(const Pool& pool) {
    const Grid grid = this->grid(std::clamp<int64_t>(pool.threads, 1, most_members));
    // In nanoseconds, with the packing at about 4 bytes each.
    const double cost = grid.cost * double(T) + (packed ? double(H + D) * double(J * N) * vector_bytes / 4 : 0);
    const int wanted = cost < 40e3 ? 1 : grid.rows * grid.columns;
    auto work = [this](Member member) { return this->work(member); };
    run_team(pool, wanted, work);
  }

 private:
  Grid grid(int64_t members) const {
    const double terms = double(H + (direct ? D : 0)) * 1.1 + 60;
    const double bytes = double((H + (direct ? D : 0)) * J * N) * vector_bytes;
    const int64_t tiles = direct ? (B + M - 1) / M : 1;
    const double rows = double(B) / double(tiles);
    return choose({tiles, J, terms * rows * N * vector_bytes / 64 / 3, bytes}, members);
  }

  // Run all steps, or alone those before help comes, or those before the team is late.
  // Return whether they are all.
  bool work(Member member) {
    const Grid grid = this->grid(member.count);
    const int group = member.index / grid.columns, column = member.index % grid.columns;
    Range own{0, 0}, mine{0, 0};
    if (group < grid.rows) {
      own = part(B, group, grid.rows, M);
      mine = part(J, column, grid.columns);
    }
    if (!packing_done) {
      pack(part(J, member.index, member.count));
      enter(own, mine);
      all.wait(member.count, member.lateness);
    }
    if (group >= grid.rows) return true;
    for (int64_t s = first_step; s < T; s++) {
      if (member.help_came()) return stop_at(s);
      if (!direct && s % block == 0) project(s, mine);
      for (int64_t j = mine.begin; j < mine.end; j++)
        for_tiles<M>(own.begin, own.end, [&](auto rows, int64_t b) {
          tile<decltype(rows)::rows>(s, b, j);
        });
      bool late = groups[group].wait(grid.columns, member.lateness);
      if constexpr (Cell::two_products) {
        for (int64_t j = mine.begin; j < mine.end; j++)
          for_tiles<M>(own.begin, own.end, [&](auto rows, int64_t b) {
            second_tile<decltype(rows)::rows>(s, b, j);
          });
        late = groups[group].wait(grid.columns, member.lateness);
      }
      // Members with sequences of their own do not wait for one another.
      if (late && grid.rows == 1) return member.index > 0 || stop_at(s + 1);
    }
    leave(own, mine);
    return true;
  }

  bool stop_at(int64_t s) {
    packing_done = true;
    first_step = s;
    return false;
  }

  int64_t time(int64_t s) const { return a.sizes.reverse ? T - 1 - s : s; }

  bool valid(int64_t t, int64_t b) const { return !a.flags.valid || a.flags.valid[t * B + b]; }
  bool starts_fresh(int64_t t, int64_t b) const {
    return a.flags.reset && a.flags.reset[t * B + b] && valid(t, b);
  }

  void pack(Range mine) {
    for (int64_t j = mine.begin; j < mine.end; j++) {
      for (int n = 0; n < N; n++) {
        const int64_t count = panels.real_lanes(j, n), at = (j * N + n) * W;
        store(bias + at, a.weights.bias && count
                             ? load(a.weights.bias + panels.column(j, n, n / V), count)
                             : Vec{});
      }
      if (S > N)
        store(recurrent_bias + j * W,
              a.weights.recurrent_bias
                  ? load(a.weights.recurrent_bias + panels.unit(j, 0), panels.real_lanes(j, 0))
                  : Vec{});
      if (!in_place(j)) {
        panels.pack(kernel + packed * j * D * N * W, a.weights.kernel, D, j);
        panels.pack(recurrent_kernel + packed * j * H * N * W, a.weights.recurrent_kernel, H, j);
      }
    }
  }

  // Whether a panel is read from the kernel itself: if packing does not pay and it is whole.
  bool in_place(int64_t j) const { return !packed && (j + 1) * V * W <= H; }

  Panel<Real> panel(const Real* in_order, const Real* plain, int64_t rows, int64_t j) const {
    if (in_place(j)) return {plain + j * V * W, G * H, V > 1 ? W : H};
    return {in_order + packed * j * rows * N * W, N * W, W};
  }

  // The carry that the step at time t reads, after a step or at the start.
  INLINE void keep(int64_t t, bool more, int64_t b, int64_t unit, Vec new_h, Vec new_c, Real* to) {
    if (more && starts_fresh(t, b)) {
      new_h = load(a.fresh.h + b * H + unit, H - unit);
      if constexpr (Cell::has_c) new_c = load(a.fresh.c + b * H + unit, H - unit);
    }
    store(to + b * row + unit, new_h);
    if constexpr (Cell::has_c) store(c + b * row + unit, new_c);
  }

  template <class Function>
  void for_units(Range own, Range mine, const Function& function) {
    for (int64_t b = own.begin; b < own.end; b++)
      for (int64_t unit = mine.begin * V * W; unit < std::min(H, mine.end * V * W); unit += W)
        function(b, unit, H - unit);
  }

  void enter(Range own, Range mine) {
    for_units(own, mine, [&](int64_t b, int64_t unit, int64_t count) {
      Vec first_c{};
      if constexpr (Cell::has_c) first_c = load(a.initial.c + b * H + unit, count);
      keep(time(0), T > 0, b, unit, load(a.initial.h + b * H + unit, count), first_c, h[0]);
    });
  }

  void leave(Range own, Range mine) {
    for_units(own, mine, [&](int64_t b, int64_t unit, int64_t count) {
      store(a.final.h + b * H + unit, load(h[T % 2] + b * row + unit), count);
      if constexpr (Cell::has_c) store(a.final.c + b * H + unit, load(c + b * row + unit), count);
    });
  }

  // The first time of the block that holds step s, which the member runs from step s on.
  int64_t first_time(int64_t s) const {
    const int64_t begin = s / block * block, end = std::min(T, begin + block);
    return a.sizes.reverse ? T - end : begin;
  }

  // z = x W + b for own panels and a block of steps. Where rows of x are neighbours, they
  // make tiles: those of all sequences, or with the batch first those of one.
  void project(int64_t s, Range mine) {
    const int64_t steps = std::min(T, s + block) - s, t = first_time(s);
    for (int64_t j = mine.begin; j < mine.end; j++) {
      if (!a.sizes.batch_major)
        project(a.xs + t * B * D, steps * B, z, 1, j);
      else
        for (int64_t b = 0; b < B; b++)
          project(a.xs + (b * T + t) * D, steps, z + b * J * N * W, B, j);
    }
  }

  // Panel j of z, whose rows are `apart`, for rows of x.
  void project(const Real* x, int64_t rows, Real* to, int64_t apart, int64_t j) {
    const Panel<Real> w = panel(kernel, a.weights.kernel, D, j);
    for_tiles<tile_rows<N>>(0, rows, [&](auto known, int64_t i) {
      constexpr int R = decltype(known)::rows;
      Vec sums[R][N];
      for (int m = 0; m < R; m++)
        for (int n = 0; n < N; n++) sums[m][n] = load(bias + (j * N + n) * W);
      add_product<N>(sums, Left<Real>{x + i * D, D, 1}, w, D);
      for (int m = 0; m < R; m++)
        for (int n = 0; n < N; n++)
          store(to + ((i + m) * apart * J + j) * N * W + n * W, sums[m][n]);
    });
  }

  template <int R>
  INLINE void tile(int64_t s, int64_t b, int64_t j) {
    const int64_t t = time(s);
    const Real* start = bias + j * N * W;
    int64_t next_row = 0;
    if (!direct) {
      start = z + (((t - first_time(s)) * B + b) * J + j) * N * W;
      next_row = J * N * W;
    }
    Vec sums[R][S];
#pragma GCC unroll 12
    for (int m = 0; m < R; m++) {
#pragma GCC unroll 8
      for (int n = 0; n < N; n++) sums[m][n] = load(start + m * next_row + n * W);
      if constexpr (S > N) sums[m][last] = load(recurrent_bias + j * W);
    }
    const Real* before = h[s % 2] + b * row;
    if (direct)
      add_product<N>(sums, Left<Real>{a.xs + a.sizes.row(t, b) * D, a.sizes.row(0, 1) * D, 1},
                     panel(kernel, a.weights.kernel, D, j), D);
    const Panel<Real> u = panel(recurrent_kernel, a.weights.recurrent_kernel, H, j);
    // The last vector of two products is for the second one.
    add_product<Cell::two_products ? N - 1 : N, Cell::two_products ? N - 2 : last>(
        sums, Left<Real>{before, row, 1}, u, H);
    finish(s, t, b, j, sums);
  }

  template <int R>
  INLINE void finish(int64_t s, int64_t t, int64_t b, int64_t j, const Vec (&sums)[R][S]) {
    Vec kept[R][S];
    ISA::copy<Real>(kept, sums);
#pragma GCC unroll 1
    for (int m = 0; m < R; m++)
#pragma GCC unroll 1
      for (int v = 0; v < V; v++) {
        Vec own[Cell::sums];
        for (int n = 0; n < Cell::sums; n++) own[n] = kept[m][n * V + v];
        finish(s, t, b + m, panels.unit(j, v), own);
      }
  }

  // The new carry and the output of one vector of units.
  INLINE void finish(int64_t s, int64_t t, int64_t b, int64_t unit, const Vec (&sums)[Cell::sums]) {
    if (unit >= H) return;
    const Vec old_h = load(h[s % 2] + b * row + unit);
    Vec old_c{};
    if constexpr (Cell::has_c) old_c = load(c + b * row + unit);
    Vec new_h = old_h, new_c = old_c, gates[Cell::saved > 0 ? Cell::saved : 1];
    if constexpr (Cell::two_products) {
      Vec reset_h;
      Cell::first(sums, old_h, gates, reset_h);
      const Vec parts[] = {reset_h, gates[0], gates[1], sums[2]};
      for (int i = 0; i < 4; i++) store(between[i] + b * row + unit, parts[i]);
    } else {
      Cell::step(sums, new_h, new_c, gates);
      leave_step(s, t, b, unit, old_h, old_c, new_h, new_c, gates);
    }
  }

  // The second product, (r h) U_n, and what follows it.
  template <int R>
  INLINE void second_tile(int64_t s, int64_t b, int64_t j) {
    const int64_t unit = panels.unit(j, 0);
    Vec sums[R][1], kept[R][1];
    for (int m = 0; m < R; m++) sums[m][0] = load(between[3] + (b + m) * row + unit);
    Panel<Real> u = panel(recurrent_kernel, a.weights.recurrent_kernel, H, j);
    u.p += (N - 1) * u.vector;
    add_product<1>(sums, Left<Real>{between[0] + b * row, row, 1}, u, H);
    ISA::copy<Real>(kept, sums);
#pragma GCC unroll 1
    for (int m = 0; m < R; m++) {
      const int64_t at = (b + m) * row + unit;
      const Vec old_h = load(h[s % 2] + at);
      Vec new_h = old_h, gates[] = {load(between[1] + at), load(between[2] + at), Vec{}};
      Cell::second(kept[m][0], new_h, gates);
      leave_step(s, time(s), b + m, unit, old_h, Vec{}, new_h, Vec{}, gates);
    }
  }

  // Write what a step leaves, or what a skipped step does.
  template <int count_saved>
  INLINE void leave_step(int64_t s, int64_t t, int64_t b, int64_t unit, Vec old_h, Vec old_c,
                         Vec new_h, Vec new_c, const Vec (&gates)[count_saved]) {
    const int64_t count = H - unit, at = t * B + b, row_of_y = a.sizes.row(t, b);
    if (valid(t, b)) {
      store(a.ys + row_of_y * H + unit, new_h, count);
      if (Cell::saved && a.gates) {
        for (int n = 0; n < Cell::saved; n++)
          store(a.gates + (at * Cell::saved + n) * H + unit, gates[n], count);
        if constexpr (Cell::has_c) store(a.cells + at * H + unit, new_c, count);
      }
    } else {
      store(a.ys + row_of_y * H + unit, Vec{}, count);
      new_h = old_h, new_c = old_c;
    }
    keep(s + 1 < T ? time(s + 1) : 0, s + 1 < T, b, unit, new_h, new_c, h[(s + 1) % 2]);
  }

  const Forward<Real>& a;
  const int64_t T, B, D, H;
  const Panels<Real, G, V> panels;
  const int64_t J, row;
  const bool direct, packed;
  const int64_t block;
  int64_t first_step = 0;     // set by a caller alone, for its team
  bool packing_done = false;
  Scratch scratch;
  Real* between[4];  // r h, r, z and x W_n + b_n of a step with two products
  Real *h[2], *c, *bias, *recurrent_bias, *kernel, *recurrent_kernel, *z;
  Barrier all, groups[most_members];
};

}  // namespace recurrent::ISA
