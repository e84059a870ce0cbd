// SPDX-License-Identifier: Apache-2.0
// A team of threads that run one function together, and the barrier between its steps.

#pragma once

#include <cstdint>

#include "pool.h"

namespace recurrent {

// Waits until `members` threads have come. Spins, then gives its time to other threads.
class alignas(64) Barrier {
 public:
  void wait(int members) {
    if (members == 1) return;
    const uint32_t now = __atomic_load_n(&round_, __ATOMIC_RELAXED);
    // The last to come has seen what all others wrote, and hands it on with the round.
    if (__atomic_add_fetch(&come_, 1, __ATOMIC_ACQ_REL) == uint32_t(members)) {
      __atomic_store_n(&come_, 0, __ATOMIC_RELAXED);
      __atomic_store_n(&round_, now + 1, __ATOMIC_RELEASE);
    } else {
      spin(now);
    }
  }

 private:
  void spin(uint32_t now);

  alignas(64) uint32_t come_ = 0;
  alignas(64) uint32_t round_ = 0;
};

// The largest team.
constexpr int most_members = 64;

// One thread of a team.
struct Member {
  int index, count;
  const uint32_t* arrived;  // how many threads are there, to a caller that is alone

  // Whether a caller that works alone could have help now.
  bool help_came() const {
    return count == 1 && arrived && __atomic_load_n(arrived, __ATOMIC_RELAXED) > 1;
  }
};

// Run `work(data, member)` on the calling thread and on up to `wanted - 1` threads of the
// pool, at the same time. The caller waits a short time for them, and then starts with
// those who came. If nobody did, it starts alone: `work` may then stop, after
// `member.help_came()`, and return false to be run once more, by all who are there.
void run_team(const Pool& pool, int wanted, bool (*work)(void*, Member), void* data);

template <class Function>
void run_team(const Pool& pool, int wanted, Function& function) {
  run_team(
      pool, wanted,
      [](void* data, Member member) { return (*static_cast<Function*>(data))(member); },
      &function);
}

}  // namespace recurrent
