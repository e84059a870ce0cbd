// SPDX-License-Identifier: Apache-2.0
// The logistic function and tanh of vectors.

#pragma once

#include "vectors.h"

namespace recurrent::ISA {

template <class Real>
struct Exponential;

// ln 2 in two parts, the first exact in few bits, and what stands in the exponent's bits.
template <>
struct Exponential<float> {
  static constexpr float high = 0x1.62e4p-1f, low = 0x1.7f7d1cp-20f;
  static constexpr float limit = 87.0f;
  static constexpr float round = 0x1.8p23f;  // adding it rounds to a whole number
  static constexpr int bits = 23, bias = 127, terms = 7;
};

template <>
struct Exponential<double> {
  static constexpr double high = 0x1.62e42fefp-1, low = 0x1.473de6af278edp-34;
  static constexpr double limit = 708.0;
  static constexpr double round = 0x1.8p52;
  static constexpr int bits = 52, bias = 1023, terms = 13;
};

// exp(x) = 2^n exp(r) with r = x - n ln 2, |r| <= ln 2 / 2, and p = exp(r) - 1 by its series.
template <class Real>
struct Split {
  Vector<Real> power, p;  // 2^n, exp(r) - 1
};

constexpr double factorial(int k) { return k < 2 ? 1 : k * factorial(k - 1); }

// 1 + r/2! + r^2/3! + ... + r^(terms-1)/terms!
template <class Real, int k = 1>
INLINE Vector<Real> series(Vector<Real> r) {
  const Vector<Real> term = broadcast(Real(1 / factorial(k)));
  if constexpr (k == Exponential<Real>::terms)
    return term;
  else
    return series<Real, k + 1>(r) * r + term;
}

template <class Real>
INLINE Split<Real> split(Vector<Real> x) {
  using E = Exponential<Real>;
  const Vector<Real> limit = broadcast(E::limit);
  x = x > limit ? limit : x;  // keeps NaN
  x = x < -limit ? -limit : x;
  Vector<Real> shifted = x * Real(1.4426950408889634) + E::round;
  Vector<Real> n = shifted - E::round;
  Vector<Real> r = x - n * E::high - n * E::low;
  Integers<Real> whole = (Integers<Real>)shifted - (Integers<Real>)broadcast(E::round);
  auto power = (Vector<Real>)((whole + E::bias) << E::bits);
  return {power, r * series<Real>(r)};
}

// 1 / (1 + exp(-x))
template <class Real>
INLINE Vector<Real> sigmoid(Vector<Real> x) {
  auto [power, p] = split<Real>(-x);
  return Real(1) / (Real(1) + (power * p + power));
}

// tanh(x) = e / (e + 2) with e = exp(2x) - 1, which is exact also near zero
template <class Real>
INLINE Vector<Real> tanh(Vector<Real> x) {
  const Vector<Real> limit = broadcast(Real(sizeof(Real) == 4 ? 10 : 20));  // tanh is +-1
  x = x > limit ? limit : x;
  x = x < -limit ? -limit : x;
  auto [power, p] = split<Real>(x + x);
  Vector<Real> e = power * p + (power - Real(1));
  return e / (e + Real(2));
}

}  // namespace recurrent::ISA
