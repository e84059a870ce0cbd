// SPDX-License-Identifier: Apache-2.0
// The equations of the cells, one number after the other: what the kernels are tested against.

#pragma once

#include <cmath>
#include <vector>

#include "../arguments.h"

namespace recurrent::reference {

template <class Real>
Real sigmoid(Real x) {
  return 1 / (1 + std::exp(-x));
}

// Where the carry before a step comes from: a step, the initial or the fresh carry.
constexpr int64_t from_initial = -1, from_fresh = -2;

// For each (step, sequence) in the order of running: the index of the step whose carry it reads.
inline std::vector<int64_t> sources(const Sizes& n, const Flags& flags) {
  std::vector<int64_t> source(n.T * n.B), last(n.B, from_initial);
  for (int64_t s = 0; s < n.T; s++) {
    int64_t t = n.reverse ? n.T - 1 - s : s;
    for (int64_t b = 0; b < n.B; b++) {
      bool valid = !flags.valid || flags.valid[t * n.B + b];
      bool reset = valid && flags.reset && flags.reset[t * n.B + b];
      source[t * n.B + b] = reset ? from_fresh : last[b];
      if (valid) last[b] = t;
    }
  }
  return source;
}

// One sequence b of an array over time, an initial and a fresh carry.
template <class Real>
const Real* before(int64_t source, int64_t row, const Sizes& n, int64_t b, const Real* over_time,
                   const Real* initial, const Real* fresh) {
  if (source == from_initial) return initial + b * n.H;
  if (source == from_fresh) return fresh + b * n.H;
  return over_time + row * n.H;
}

// z + a K for one row.
template <class Real>
void add_product(Real* z, const Real* a, const Real* kernel, int64_t rows, int64_t columns) {
  for (int64_t k = 0; k < rows; k++)
    for (int64_t j = 0; j < columns; j++) z[j] += a[k] * kernel[k * columns + j];
}

template <class Real>
void forward(const Forward<Real>& a) {
  const auto [T, B, D, H, reverse, batch_major] = a.sizes;
  const int G = gates(a.cell);
  const bool lstm = a.cell == Cell::lstm, gru = G == 3;
  std::vector<Real> h(a.initial.h, a.initial.h + B * H), c(B * H);
  if (lstm) c.assign(a.initial.c, a.initial.c + B * H);
  const Real* U = a.weights.recurrent_kernel;
  for (int64_t s = 0; s < T; s++) {
    int64_t t = reverse ? T - 1 - s : s;
    for (int64_t b = 0; b < B; b++) {
      int64_t row = t * B + b, outer = a.sizes.row(t, b);  // in what is given and returned
      Real *y = a.ys + outer * H, *hb = h.data() + b * H, *cb = c.data() + b * H;
      if (a.flags.valid && !a.flags.valid[row]) {
        for (int64_t j = 0; j < H; j++) y[j] = 0;
        continue;
      }
      if (a.flags.reset && a.flags.reset[row])
        for (int64_t j = 0; j < H; j++) {
          hb[j] = a.fresh.h[b * H + j];
          if (lstm) cb[j] = a.fresh.c[b * H + j];
        }
      std::vector<Real> z(G * H, 0), u(G * H, 0), next(H);
      if (a.weights.bias) z.assign(a.weights.bias, a.weights.bias + G * H);
      add_product(z.data(), a.xs + outer * D, a.weights.kernel, D, G * H);
      if (a.weights.recurrent_bias)
        for (int64_t j = 0; j < H; j++) u[2 * H + j] = a.weights.recurrent_bias[j];
      add_product(u.data(), hb, U, H, G * H);
      if (a.cell == Cell::gru_before)
        for (int64_t j = 0; j < H; j++) u[2 * H + j] = 0;
      Real* saved = a.gates ? a.gates + row * saved_gates(a.cell) * H : nullptr;
      if (a.cell == Cell::gru_before) {
        for (int64_t k = 0; k < H; k++) {
          Real rh = sigmoid(z[k] + u[k]) * hb[k];
          for (int64_t j = 0; j < H; j++) u[2 * H + j] += rh * U[k * G * H + 2 * H + j];
        }
      }
      for (int64_t j = 0; j < H; j++) {
        if (lstm) {
          Real i = sigmoid(z[j] + u[j]), f = sigmoid(z[H + j] + u[H + j]);
          Real g = std::tanh(z[2 * H + j] + u[2 * H + j]), o = sigmoid(z[3 * H + j] + u[3 * H + j]);
          cb[j] = f * cb[j] + i * g;
          next[j] = o * std::tanh(cb[j]);
          if (saved) {
            saved[j] = i, saved[H + j] = f, saved[2 * H + j] = g, saved[3 * H + j] = o;
            a.cells[row * H + j] = cb[j];
          }
        } else if (gru) {
          Real r = sigmoid(z[j] + u[j]), k = sigmoid(z[H + j] + u[H + j]), q = u[2 * H + j];
          Real n = std::tanh(z[2 * H + j] + (a.cell == Cell::gru_after ? r * q : q));
          next[j] = (1 - k) * n + k * hb[j];
          if (saved) {
            saved[j] = r, saved[H + j] = k, saved[2 * H + j] = n;
            if (a.cell == Cell::gru_after) saved[3 * H + j] = q;
          }
        } else {
          Real v = z[j] + u[j];
          next[j] = a.cell == Cell::tanh ? std::tanh(v) : v > 0 || v != v ? v : 0;
        }
      }
      for (int64_t j = 0; j < H; j++) hb[j] = y[j] = next[j];
    }
  }
  for (int64_t j = 0; j < B * H; j++) {
    a.final.h[j] = h[j];
    if (lstm) a.final.c[j] = c[j];
  }
}

template <class Real>
void backward(const Backward<Real>& a) {
  const auto [T, B, D, H, reverse, batch_major] = a.sizes;
  const int G = gates(a.cell), S = saved_gates(a.cell);
  const bool lstm = a.cell == Cell::lstm, gru = G == 3, after = a.cell == Cell::gru_after;
  auto zero = [](Real* p, int64_t n) {
    if (p)
      for (int64_t j = 0; j < n; j++) p[j] = 0;
  };
  zero(a.d_kernel, D * G * H), zero(a.d_bias, G * H), zero(a.d_recurrent_kernel, H * G * H);
  zero(a.d_recurrent_bias, H), zero(a.d_xs, T * B * D);
  zero(a.d_fresh.h, B * H), zero(a.d_fresh.c, B * H);
  std::vector<Real> dh(a.d_final.h, a.d_final.h + B * H), dc(B * H, 0);
  if (lstm) dc.assign(a.d_final.c, a.d_final.c + B * H);
  const std::vector<int64_t> source = sources(a.sizes, a.flags);
  const Real *U = a.weights.recurrent_kernel, *W = a.weights.kernel;
  for (int64_t s = T - 1; s >= 0; s--) {
    int64_t t = reverse ? T - 1 - s : s;
    for (int64_t b = 0; b < B; b++) {
      int64_t row = t * B + b, outer = a.sizes.row(t, b);
      if (a.flags.valid && !a.flags.valid[row]) continue;
      const int64_t from = source[row];
      const Real* h =
          before(from, a.sizes.row(from, b), a.sizes, b, a.ys, a.initial.h, a.fresh.h);
      const Real* c =
          lstm ? before(from, from * B + b, a.sizes, b, a.cells, a.initial.c, a.fresh.c) : nullptr;
      Real *dhb = dh.data() + b * H, *dcb = dc.data() + b * H;
      std::vector<Real> dz(G * H), du, back(H, 0), drh(H, 0);
      const Real* gate = a.gates + row * S * H;
      for (int64_t j = 0; j < H; j++) {
        Real d = dhb[j] + a.d_ys[outer * H + j];
        if (lstm) {
          Real i = gate[j], f = gate[H + j], g = gate[2 * H + j], o = gate[3 * H + j];
          Real tc = std::tanh(a.cells[row * H + j]), dcell = dcb[j] + d * o * (1 - tc * tc);
          dz[j] = dcell * g * i * (1 - i), dz[H + j] = dcell * c[j] * f * (1 - f);
          dz[2 * H + j] = dcell * i * (1 - g * g), dz[3 * H + j] = d * tc * o * (1 - o);
          dcb[j] = dcell * f;
        } else if (gru) {
          Real k = gate[H + j], n = gate[2 * H + j];
          dz[H + j] = d * (h[j] - n) * k * (1 - k);
          dz[2 * H + j] = d * (1 - k) * (1 - n * n);
          back[j] = d * k;
        } else {
          Real y = a.ys[outer * H + j];
          dz[j] = a.cell == Cell::tanh ? d * (1 - y * y) : y > 0 ? d : 0;
        }
      }
      du = dz;
      if (gru)
        for (int64_t j = 0; j < H; j++) {
          Real r = gate[j];
          if (after) {
            dz[j] = dz[2 * H + j] * gate[3 * H + j] * r * (1 - r);
            du[2 * H + j] = dz[2 * H + j] * r;
          } else {
            for (int64_t k = 0; k < H; k++) drh[j] += dz[2 * H + k] * U[j * G * H + 2 * H + k];
            dz[j] = drh[j] * h[j] * r * (1 - r);
            back[j] += drh[j] * r;
          }
          du[j] = dz[j];
        }
      for (int64_t k = 0; k < H; k++) {
        int64_t to = a.cell == Cell::gru_before ? 2 * H : G * H;
        for (int64_t j = 0; j < to; j++) back[k] += du[j] * U[k * G * H + j];
        if (a.d_recurrent_kernel)
          for (int64_t j = 0; j < G * H; j++)
            a.d_recurrent_kernel[k * G * H + j] += (j < to ? h[k] : gate[k] * h[k]) * du[j];
      }
      for (int64_t j = 0; j < G * H; j++) {
        for (int64_t k = 0; k < D; k++) {
          if (a.d_kernel) a.d_kernel[k * G * H + j] += a.xs[outer * D + k] * dz[j];
          if (a.d_xs) a.d_xs[outer * D + k] += dz[j] * W[k * G * H + j];
        }
        if (a.d_bias) a.d_bias[j] += dz[j];
        if (a.d_recurrent_bias && j >= 2 * H) a.d_recurrent_bias[j - 2 * H] += du[j];
      }
      for (int64_t j = 0; j < H; j++) {
        bool fresh = source[row] == from_fresh;
        dhb[j] = fresh ? 0 : back[j];
        if (fresh) a.d_fresh.h[b * H + j] += back[j];
        if (lstm && fresh) a.d_fresh.c[b * H + j] += dcb[j], dcb[j] = 0;
      }
    }
  }
  for (int64_t j = 0; j < B * H; j++) {
    a.d_initial.h[j] = dh[j];
    if (lstm) a.d_initial.c[j] = dc[j];
  }
}

}  // namespace recurrent::reference
