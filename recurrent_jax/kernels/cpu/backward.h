// SPDX-License-Identifier: Apache-2.0
// The backward loop of a cell with one recurrent product a step, or two.
//
// The cotangents of the sums, du, are made for a block of steps, from the last to the
// first: dh = dy + du' U^T + (what passes h' without the product), then the equations of
// the cell in registers. Then, while the block is in cache, its parts of the cotangents
// of the weights, x^T du and h^T du, and of the inputs, du W^T. So du never goes to memory.

#pragma once

#include <utility>

#include "arguments.h"
#include "before.h"
#include "packing.h"
#include "scratch.h"
#include "split.h"
#include "team.h"

namespace recurrent::ISA {

template <class Cell>
class BackwardLoop {
  using Real = typename Cell::Real;
  static constexpr int G = Cell::G, V = Cell::V, W = lanes<Real>, N = G * V;
  static constexpr int C = Cell::cotangents * V;  // vectors of du in a panel
  static constexpr int K = 2;                     // vectors of units in a block of units
  static constexpr int M = tile_rows<K>, P = tile_rows<N>;
  // The vectors of du whose product with U^T is the cotangent of h itself.
  static constexpr int to_h = Cell::two_products ? N - 1 : N;
  static constexpr int saved = Cell::saved > 0 ? Cell::saved : 1;
  using Vec = Vector<Real>;

 public:
  BackwardLoop(const Backward<Real>& call)
      : a(call), T(a.sizes.T), B(a.sizes.B), D(a.sizes.D), H(a.sizes.H), panels{H},
        J(panels.count()), blocks((J * V + K - 1) / K), inputs((D + K * W - 1) / (K * W)),
        row(blocks * K * W + pad), x_row((D + pad - 1) / pad * pad + pad),
        // The same for any number of threads, so that the results are.
        steps(std::clamp<int64_t>(
            std::clamp<int64_t>((2 << 20) / (J * C * vector_bytes), 96, 512) /
                std::max<int64_t>(B, 1),
            1, std::max<int64_t>(T, 1))),
        rows(steps * B) {
    scratch.reserve(recurrent_kernel, blocks * K * W * J * N * W);
    if (a.d_xs) scratch.reserve(kernel, inputs * K * W * J * N * W);
    for (int i = 0; i < 2; i++) {
      scratch.reserve(du[i], rows * J * C * W);
      scratch.reserve(hs[i], rows * row);
      scratch.reserve(xs[i], rows * x_row);
      if (Cell::two_products) scratch.reserve(reset_hs[i], rows * row);
    }
    scratch.reserve(through, B * row);
    scratch.reserve(fresh_h, B * row);
    if (Cell::has_c) scratch.reserve(dc, B * row), scratch.reserve(fresh_c, B * row);
    if (flagged()) scratch.reserve(source, T * B), scratch.reserve(last, B);
    scratch.allocate();
    prefer_large_pages(a.d_xs, T * B * D * sizeof(Real));
    if (flagged()) find_sources(a.sizes, a.flags, source, last);
  }

  void run(const Pool& pool) {
    if (T == 0) clear_weights();
    const Grid grid = this->grid(std::clamp<int64_t>(pool.threads, 1, most_members));
    // In nanoseconds, with the packing at about 4 bytes each.
    const double cost = 3 * grid.cost * double(T) + double(H + D) * double(J * N) * vector_bytes / 4;
    const int wanted = cost < 60e3 ? 1 : grid.rows * grid.columns;
    auto work = [this](Member member) { return this->work(member); };
    run_team(pool, wanted, work);
  }

 private:
  static constexpr int pad = 64 / int(sizeof(Real));

  Grid grid(int64_t members) const {
    const double terms = double(J * N * W) * 1.1 + 100;
    const int64_t tiles = (B + M - 1) / M;
    const double rows = double(B) / double(tiles);
    return choose({tiles, blocks, terms * rows * K * vector_bytes / 64 / 3,
                   double(J * N * W * blocks * K) * vector_bytes},
                  members);
  }

  // A block of steps, as one member sees it.
  struct Block {
    int64_t begin, end, first_time;
    Real *du, *hs, *xs, *reset_hs;
  };

  // Run all steps, or alone some blocks before help comes, or those before the team is
  // late. Return whether they are all.
  bool work(Member member) {
    const Grid grid = this->grid(member.count);
    const int group = member.index / grid.columns, column = member.index % grid.columns;
    Range own{0, 0}, mine{0, 0};
    if (group < grid.rows) {
      own = part(B, group, grid.rows, M);
      mine = part(blocks, column, grid.columns);
    }
    if (last_step == T) {
      pack(member);
      enter(own, mine);
      all.wait(member.count, member.lateness);
    }
    Block later = kept;
    int parity = last_parity;
    bool alone = false;  // the caller of a late team, until the next block
    const auto leaves = [&] {
      if (member.index > 0) return true;
      alone = true, member = one, own = {0, B}, mine = {0, blocks};
      return false;
    };
    for (int64_t begin, end = last_step; end > 0; end = begin, parity ^= 1) {
      if (end < T && (alone || member.help_came())) {
        last_step = end, last_parity = parity, kept = later;
        return false;
      }
      begin = std::max<int64_t>(0, end - steps);
      const Block now{begin, end, a.sizes.reverse ? T - end : begin,
                      du[parity], hs[parity], xs[parity], reset_hs[parity]};
      gather(now, member);
      for (int64_t s = end - 1; s >= begin; s--) {
        run_step(s, now, s + 1 < end ? now : later, own, mine);
        if constexpr (Cell::two_products) {
          if (group < grid.rows && !alone) groups[group].wait(grid.columns, member.lateness);
          for (int64_t i = mine.begin; i < mine.end; i++)
            for_tiles<M>(own.begin, own.end, [&](auto known, int64_t b) {
              reset_tile<decltype(known)::rows>(s, now, b, i);
            });
        }
        if (s == begin || group >= grid.rows || alone) continue;
        const bool late = groups[group].wait(grid.columns, member.lateness);
        // Others than the members of the group would wait for them at the end of the block.
        if (late && grid.columns == member.count && leaves()) return true;
      }
      if (all.wait(member.count, member.lateness) && leaves()) return true;
      add_weights(now, member);
      if (a.d_xs) make_inputs(now, member);
      later = now;
    }
    run_step(-1, later, later, own, mine);
    return true;
  }

  int64_t time(int64_t s) const { return a.sizes.reverse ? T - 1 - s : s; }

  bool flagged() const { return a.flags.valid || a.flags.reset; }
  bool valid(int64_t t, int64_t b) const { return !a.flags.valid || a.flags.valid[t * B + b]; }
  bool starts_fresh(int64_t t, int64_t b) const {
    return a.flags.reset && a.flags.reset[t * B + b] && valid(t, b);
  }

  int32_t source_of(int64_t t, int64_t b) const {
    if (flagged()) return source[t * B + b];
    const int64_t before = a.sizes.reverse ? t + 1 : t - 1;
    return before < 0 || before >= T ? from_initial : int32_t(before);
  }
  const Real* h_before(int64_t t, int64_t b) const {
    const int32_t from = source_of(t, b);
    return before(from, a.sizes.row(from, b), b, a.sizes, a.ys, a.initial.h, a.fresh.h);
  }
  const Real* c_before(int64_t t, int64_t b) const {
    const int32_t from = source_of(t, b);
    return before(from, from * B + b, b, a.sizes, a.cells, a.initial.c, a.fresh.c);
  }

  void pack(Member member) {
    const Range mine = part(blocks, member.index, member.count);
    for (int64_t i = mine.begin; i < mine.end; i++)
      pack_transposed<K>(recurrent_kernel + i * K * W * J * N * W, a.weights.recurrent_kernel, H,
                         panels, Cell::recurrent_order, i);
    const Range ours = part(a.d_xs ? inputs : 0, member.index, member.count);
    for (int64_t i = ours.begin; i < ours.end; i++)
      pack_transposed<K>(kernel + i * K * W * J * N * W, a.weights.kernel, D, panels,
                         Cell::kernel_order, i);
  }

  void enter(Range own, Range mine) {
    for (int64_t b = own.begin; b < own.end; b++)
      for (int64_t unit = mine.begin * K * W; unit < mine.end * K * W; unit += W) {
        const int64_t at = b * row + unit;
        store(through + at, load(a.d_final.h + b * H + unit, H - unit));
        store(fresh_h + at, Vec{});
        if constexpr (Cell::has_c) {
          store(dc + at, load(a.d_final.c + b * H + unit, H - unit));
          store(fresh_c + at, Vec{});
        }
      }
  }

  // Copy what the cotangents of the weights need: x and the h before each step of a
  // block. Rows of skipped steps are zero, whatever x holds there.
  void gather(const Block& now, Member member) {
    const Range mine = part((now.end - now.begin) * B, member.index, member.count);
    for (int64_t i = mine.begin; i < mine.end; i++) {
      const int64_t t = now.first_time + i / B, b = i % B;
      const bool real = valid(t, b);
      if (a.d_kernel) copy(now.xs + i * x_row, a.xs + a.sizes.row(t, b) * D, D, real);
      if (a.d_recurrent_kernel) copy(now.hs + i * row, h_before(t, b), H, real);
      if (Cell::two_products && a.d_recurrent_kernel)
        for (int64_t k = 0; k < H; k++)
          now.reset_hs[i * row + k] = now.hs[i * row + k] *
                                      (real ? a.gates[(t * B + b) * saved * H + k] : Real(0));
    }
  }

  static void copy(Real* to, const Real* from, int64_t count, bool real) {
    if (real)
      std::copy_n(from, count, to);
    else
      std::fill_n(to, count, Real(0));
  }

  void run_step(int64_t s, const Block& now, const Block& next, Range own, Range mine) {
    for (int64_t i = mine.begin; i < mine.end; i++)
      for_tiles<M>(own.begin, own.end, [&](auto known, int64_t b) {
        tile<decltype(known)::rows>(s, now, next, b, i);
      });
  }

  // Row b of panel j of du at time t.
  Real* cotangents(const Block& block, int64_t t, int64_t b, int64_t j) const {
    return block.du + (j * rows + (t - block.first_time) * B + b) * C * W;
  }

  template <int R>
  INLINE void tile(int64_t s, const Block& now, const Block& next, int64_t b, int64_t i) {
    Vec sums[R][K];
#pragma GCC unroll 12
    for (int m = 0; m < R; m++)
#pragma GCC unroll 2
      for (int v = 0; v < K; v++) sums[m][v] = load(through + (b + m) * row + (i * K + v) * W);
    if (s + 1 < T) {
      const Real* from = cotangents(next, time(s + 1), b, 0) + Cell::to_recurrent * V * W;
      const Real* u = recurrent_kernel + i * K * W * J * N * W;
      for (int64_t j = 0; j < J; j++, from += rows * C * W, u += N * W * K * W)
        add_product<K>(sums, Left<Real>{from, C * W, 1}, Panel<Real>{u, K * W, W}, to_h * W);
    }
    Vec kept[R][K];
    ISA::copy<Real>(kept, sums);
#pragma GCC unroll 1
    for (int m = 0; m < R; m++)
#pragma GCC unroll 1
      for (int v = 0; v < K; v++) finish(s, now, b + m, i * K + v, kept[m][v]);
  }

  // The cotangents at one vector of units, from that of the h that step s returns.
  INLINE void finish(int64_t s, const Block& now, int64_t b, int64_t vector, Vec dh) {
    const int64_t j = vector / V, unit = vector * W, count = H - unit, at = b * row + unit;
    if (j >= J) return;
    Vec d_c{};
    if constexpr (Cell::has_c) d_c = load(dc + at);
    if (s + 1 < T && starts_fresh(time(s + 1), b)) {
      store(fresh_h + at, load(fresh_h + at) + dh);
      dh = Vec{};
      if constexpr (Cell::has_c) {
        store(fresh_c + at, load(fresh_c + at) + d_c);
        d_c = Vec{};
      }
    }
    if (s < 0) return leave(b, unit, dh, d_c);
    const int64_t t = time(s), step_row = t * B + b, row_of_y = a.sizes.row(t, b);
    Real* to = cotangents(now, t, b, j) + vector % V * W;
    if (!valid(t, b)) {
      for (int n = 0; n < Cell::cotangents; n++) store(to + n * V * W, Vec{});
    } else {
      Vec gates[saved], y{}, h{}, c{}, c_after{}, d_sums[Cell::cotangents];
      for (int n = 0; n < Cell::saved; n++)
        gates[n] = load(a.gates + (step_row * Cell::saved + n) * H + unit, count);
      if constexpr (Cell::needs_y) y = load(a.ys + row_of_y * H + unit, count);
      if constexpr (Cell::needs_h) h = load(h_before(t, b) + unit, count);
      if constexpr (Cell::has_c) {
        c = load(c_before(t, b) + unit, count);
        c_after = load(a.cells + step_row * H + unit, count);
      }
      dh += load(a.d_ys + row_of_y * H + unit, count);
      Vec direct;
      Cell::gradient(gates, y, h, c, c_after, dh, d_c, d_sums, direct);
      dh = direct;
      for (int n = 0; n < Cell::cotangents; n++) store(to + n * V * W, d_sums[n]);
    }
    store(through + at, dh);
    if constexpr (Cell::has_c) store(dc + at, d_c);
  }

  // d(r h) = dn U_n^T, and what follows from it.
  template <int R>
  INLINE void reset_tile(int64_t s, const Block& now, int64_t b, int64_t i) {
    const int64_t t = time(s);
    Vec sums[R][K] = {}, kept[R][K];
    const Real* from = cotangents(now, t, b, 0) + to_h * W;
    const Real* u = recurrent_kernel + (i * J * N + to_h) * W * K * W;
    for (int64_t j = 0; j < J; j++, from += rows * C * W, u += N * W * K * W)
      add_product<K>(sums, Left<Real>{from, C * W, 1}, Panel<Real>{u, K * W, W}, W);
    ISA::copy<Real>(kept, sums);
#pragma GCC unroll 1
    for (int m = 0; m < R; m++)
#pragma GCC unroll 1
      for (int v = 0; v < K; v++) {
        const int64_t j = i * K + v, unit = j * W, at = (b + m) * row + unit;
        if (j >= J || !valid(t, b + m)) continue;
        const Vec r = load(a.gates + (t * B + b + m) * saved * H + unit, H - unit);
        const Vec h = load(h_before(t, b + m) + unit, H - unit);
        Vec du, direct = load(through + at);
        Cell::reset_gradient(r, h, kept[m][v], du, direct);
        store(through + at, direct);
        store(cotangents(now, t, b + m, j), du);
      }
  }

  // The cotangents of the weights if there are no steps.
  void clear_weights() {
    const std::pair<Real*, int64_t> all[] = {{a.d_kernel, D * G * H},
                                             {a.d_bias, G * H},
                                             {a.d_recurrent_kernel, H * G * H},
                                             {a.d_recurrent_bias, H}};
    for (auto [gradient, size] : all)
      if (gradient) std::fill_n(gradient, size, Real(0));
  }

  // The cotangents of the carries, at the end.
  INLINE void leave(int64_t b, int64_t unit, Vec dh, Vec d_c) {
    const int64_t at = b * H + unit, count = H - unit;
    store(a.d_initial.h + at, dh, count);
    if (a.d_fresh.h) store(a.d_fresh.h + at, load(fresh_h + b * row + unit), count);
    if constexpr (Cell::has_c) {
      store(a.d_initial.c + at, d_c, count);
      if (a.d_fresh.c) store(a.d_fresh.c + at, load(fresh_c + b * row + unit), count);
    }
  }

  // Add the part of a block to the cotangents of the weights and of the biases.
  void add_weights(const Block& now, Member member) {
    // By panels, if they can be shared out evenly, or else by rows of the kernels.
    const bool by_panel = J % member.count == 0 || J >= 4 * member.count;
    const Range mine = by_panel ? part(J, member.index, member.count) : Range{0, J};
    const auto share = [&](int64_t size) {
      return by_panel ? Range{0, size} : part(size, member.index, member.count, P);
    };
    for (int64_t j = mine.begin; j < mine.end; j++) {
      const Real* panel = now.du + j * rows * C * W;
      if (a.d_kernel)
        outer<0, N>(now, a.d_kernel, share(D), now.xs, x_row, panel + Cell::to_kernel * V * W, j,
                    Cell::kernel_order);
      if (a.d_recurrent_kernel) {
        outer<0, to_h>(now, a.d_recurrent_kernel, share(H), now.hs, row,
                       panel + Cell::to_recurrent * V * W, j, Cell::recurrent_order);
        if constexpr (Cell::two_products)
          outer<to_h, N>(now, a.d_recurrent_kernel, share(H), now.reset_hs, row, panel, j,
                         Cell::recurrent_order);
      }
      if (by_panel || j % member.count == member.index) add_biases(now, panel, j);
    }
  }

  // gradient += left^T du for some rows of a kernel and the vectors from `from` to `to` of
  // panel j.
  template <int from, int to>
  void outer(const Block& now, Real* gradient, Range range, const Real* left, int64_t left_row,
             const Real* panel, int64_t j, const int (&order)[G]) {
    constexpr int size = to - from;
    const bool first = now.end == T;
    for_tiles<P>(range.begin, range.end, [&](auto known, int64_t k) {
      constexpr int R = decltype(known)::rows;
      Vec sums[R][size];
      const auto at = [&](int m, int n) {
        return gradient + (k + m) * G * H + panels.column(j, n + from, order[(n + from) / V]);
      };
#pragma GCC unroll 12
      for (int m = 0; m < R; m++)
#pragma GCC unroll 4
        for (int n = 0; n < size; n++)
          sums[m][n] = first ? Vec{} : load(at(m, n), panels.real_lanes(j, n + from));
      add_product<size>(sums, Left<Real>{left + k, 1, left_row},
                        Panel<Real>{panel + from * W, C * W, W}, (now.end - now.begin) * B);
#pragma GCC unroll 12
      for (int m = 0; m < R; m++)
#pragma GCC unroll 4
        for (int n = 0; n < size; n++)
          store(at(m, n), sums[m][n], panels.real_lanes(j, n + from));
    });
  }

  void add_biases(const Block& now, const Real* panel, int64_t j) {
    Vec sums[C] = {};
    for (int64_t i = 0; i < (now.end - now.begin) * B; i++)
      for (int n = 0; n < C; n++) sums[n] += load(panel + (i * C + n) * W);
    const auto add = [&](Real* gradient, int64_t at, int n, Vec sum) {
      const int64_t count = panels.real_lanes(j, n);
      if (now.end != T) sum += load(gradient + at, count);
      store(gradient + at, sum, count);
    };
    for (int n = 0; n < N && a.d_bias; n++)
      add(a.d_bias, panels.column(j, n, n / V), n, sums[n + Cell::to_kernel * V]);
    if (a.d_recurrent_bias) add(a.d_recurrent_bias, panels.unit(j, 0), 0, sums[0]);
  }

  // dx = du W^T for the rows of a block.
  void make_inputs(const Block& now, Member member) {
    const Range mine = part((now.end - now.begin) * B, member.index, member.count, M);
    for (int64_t i = 0; i < inputs; i++)
      for_tiles<M>(mine.begin, mine.end, [&](auto known, int64_t r) {
        constexpr int R = decltype(known)::rows;
        Vec sums[R][K] = {};
        const Real* from = now.du + (r * C + Cell::to_kernel * V) * W;
        const Real* w = kernel + i * K * W * J * N * W;
        for (int64_t j = 0; j < J; j++, from += rows * C * W, w += N * W * K * W)
          add_product<K>(sums, Left<Real>{from, C * W, 1}, Panel<Real>{w, K * W, W}, N * W);
        for (int m = 0; m < R; m++)
          for (int v = 0; v < K; v++) {
            const int64_t column = (i * K + v) * W;
            const int64_t to = a.sizes.row(now.first_time + (r + m) / B, (r + m) % B);
            if (column < D) store(a.d_xs + to * D + column, sums[m][v], D - column);
          }
      });
  }

  const Backward<Real>& a;
  const int64_t T, B, D, H;
  const Panels<Real, G, V> panels;
  const int64_t J, blocks, inputs, row, x_row, steps, rows;
  int64_t last_step = T;      // set by a caller alone, for its team
  int last_parity = 0;
  Block kept{};
  Scratch scratch;
  Real *recurrent_kernel, *kernel, *du[2], *hs[2], *xs[2], *reset_hs[2] = {};
  Real *through, *fresh_h, *dc, *fresh_c;
  int32_t *source, *last;
  Barrier all, groups[most_members];
};

}  // namespace recurrent::ISA
