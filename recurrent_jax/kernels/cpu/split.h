// SPDX-License-Identifier: Apache-2.0
// How the work of a step is split over the members of a team.

#pragma once

#include <algorithm>
#include <cstdint>

namespace recurrent {

struct Range {
  int64_t begin, end;
};

// Part `index` of `count` parts of the numbers below `size`, in whole groups of `group`.
inline Range part(int64_t size, int64_t index, int64_t count, int64_t group = 1) {
  const int64_t groups = (size + group - 1) / group;
  return {std::min(size, groups * index / count * group),
          std::min(size, groups * (index + 1) / count * group)};
}

// A grid of members: each has some sequences and some units. Those with the same
// sequences wait for one another at each step.
struct Grid {
  int rows, columns;
  double cost;  // of a step, about a nanosecond each
};

// The work of a step: `tiles` tiles of rows by `panels` panels of units, the cost of one
// product of a tile with a panel, and the bytes of all panels.
struct Work {
  int64_t tiles, panels;
  double cost, bytes;
};

// The cheapest grid of at most `members` members. Panels beyond the second-level cache
// come anew at each step; then it is better to have fewer panels than fewer rows.
inline Grid choose(const Work& work, int64_t members) {
  constexpr double barrier = 250, cache = 768 << 10, bytes_each = 20;
  Grid best{1, 1, 1e30};
  for (int64_t rows = 1; rows <= std::min(members, work.tiles); rows++) {
    const int64_t columns = std::min(members / rows, work.panels);
    const double panels = double((work.panels + columns - 1) / columns);
    const double bytes = work.bytes * panels / double(work.panels);
    const double cost = double((work.tiles + rows - 1) / rows) * panels * work.cost +
                        (columns > 1 ? barrier : 0) + (bytes > cache ? bytes / bytes_each : 0);
    if (cost < best.cost) best = {int(rows), int(columns), cost};
    const double alone = double((work.tiles + rows - 1) / rows) * double(work.panels) * work.cost +
                         (work.bytes > cache ? work.bytes / bytes_each : 0);
    if (alone < best.cost) best = {int(rows), 1, alone};
  }
  return best;
}

}  // namespace recurrent
