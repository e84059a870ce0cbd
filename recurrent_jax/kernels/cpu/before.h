// SPDX-License-Identifier: Apache-2.0
// Which carry each step of a sequence reads: what the backward loop looks up.

#pragma once

#include "arguments.h"

namespace recurrent {

constexpr int32_t from_initial = -1, from_fresh = -2;

// For each (time, sequence) the time of the step that left the carry it reads, or
// `from_initial`, or `from_fresh`.
inline void find_sources(const Sizes& n, const Flags& flags, int32_t* source, int32_t* last) {
  for (int64_t b = 0; b < n.B; b++) last[b] = from_initial;
  for (int64_t s = 0; s < n.T; s++) {
    const int64_t t = n.reverse ? n.T - 1 - s : s;
    for (int64_t b = 0; b < n.B; b++) {
      const int64_t at = t * n.B + b;
      const bool valid = !flags.valid || flags.valid[at];
      source[at] = valid && flags.reset && flags.reset[at] ? from_fresh : last[b];
      if (valid) last[b] = int32_t(t);
    }
  }
}

// Sequence b of one part of the carry that came from `source`, which has a row over time.
template <class Real>
const Real* before(int32_t source, int64_t row, int64_t b, const Sizes& n, const Real* over_time,
                   const Real* initial, const Real* fresh) {
  if (source >= 0) return over_time + row * n.H;
  return (source == from_initial ? initial : fresh) + b * n.H;
}

}  // namespace recurrent
