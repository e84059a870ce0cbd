// SPDX-License-Identifier: Apache-2.0
// Vectors of the instruction set that this file is compiled for.
//
// The kernels are compiled once for each instruction set, each time in a namespace of
// its own (ISA), so that the linker never mixes their functions.

#pragma once

#include <cstdint>
#include <cstring>

#define INLINE inline __attribute__((always_inline))

namespace recurrent::ISA {

#if defined(__AVX512F__)
constexpr int vector_bytes = 64, registers = 32;
#elif defined(__AVX2__)
constexpr int vector_bytes = 32, registers = 16;
#elif defined(__aarch64__)
constexpr int vector_bytes = 16, registers = 32;
#else
constexpr int vector_bytes = 16, registers = 16;
#endif

template <class Real>
struct Vectors;

template <>
struct Vectors<float> {
  typedef float Vector __attribute__((vector_size(vector_bytes)));
  typedef int32_t Integers __attribute__((vector_size(vector_bytes)));
  typedef float Unaligned __attribute__((vector_size(vector_bytes), aligned(4), may_alias));
};

template <>
struct Vectors<double> {
  typedef double Vector __attribute__((vector_size(vector_bytes)));
  typedef int64_t Integers __attribute__((vector_size(vector_bytes)));
  typedef double Unaligned __attribute__((vector_size(vector_bytes), aligned(8), may_alias));
};

template <class Real>
using Vector = typename Vectors<Real>::Vector;
template <class Real>
using Integers = typename Vectors<Real>::Integers;

// Lanes of a vector.
template <class Real>
constexpr int lanes = vector_bytes / int(sizeof(Real));

template <class Real>
INLINE Vector<Real> load(const Real* p) {
  return *reinterpret_cast<const typename Vectors<Real>::Unaligned*>(p);
}

template <class Real>
INLINE void store(Real* p, Vector<Real> v) {
  *reinterpret_cast<typename Vectors<Real>::Unaligned*>(p) = v;
}

template <class Real>
INLINE Vector<Real> broadcast(Real x) {
  return x - Vector<Real>{};  // x - 0 is x, also for -0 and NaN
}

// The first `count` lanes, where an array ends within a vector. The others are zero.
template <class Real>
__attribute__((noinline)) Vector<Real> load_some(const Real* p, int64_t count) {
  Vector<Real> v{};
  for (int64_t i = 0; i < count; i++) v[i] = p[i];
  return v;
}

template <class Real>
__attribute__((noinline)) void store_some(Real* p, Vector<Real> v, int64_t count) {
  for (int64_t i = 0; i < count; i++) p[i] = v[i];
}

template <class Real>
INLINE Vector<Real> load(const Real* p, int64_t count) {
  return count >= lanes<Real> ? load(p) : load_some(p, count);
}

template <class Real>
INLINE void store(Real* p, Vector<Real> v, int64_t count) {
  if (count >= lanes<Real>)
    store(p, v);
  else
    store_some(p, v, count);
}

// Copy the sums of a tile out of their registers, for code that loops over its rows.
template <class Real, int M, int N>
INLINE void copy(Vector<Real> (&to)[M][N], const Vector<Real> (&from)[M][N]) {
#pragma GCC unroll 12
  for (int m = 0; m < M; m++)
#pragma GCC unroll 8
    for (int n = 0; n < N; n++) to[m][n] = from[m][n];
}

}  // namespace recurrent::ISA
