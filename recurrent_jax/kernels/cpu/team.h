// SPDX-License-Identifier: Apache-2.0
// A team of threads that run one function together, and the barrier between its steps.

#pragma once

#include <cstdint>

#include "pool.h"

namespace recurrent {

// How long the threads of a team have waited for one another.
//
// On a machine with other work, a thread may lose its processor in the middle of a step,
// and all others then wait for some milliseconds. A team in which that happens is `late`.
class alignas(64) Lateness {
 public:
  explicit Lateness(int64_t start) : start_(start) {}

  // Note that one thread has waited from `begin` to `end`, in nanoseconds.
  void note(int64_t begin, int64_t end);

  bool late() const { return __atomic_load_n(&late_, __ATOMIC_RELAXED); }
  int64_t lost() const { return __atomic_load_n(&lost_, __ATOMIC_RELAXED); }

 private:
  const int64_t start_;
  int64_t lost_ = 0;
  bool late_ = false;
};

// One thread of a team.
struct Member {
  int index, count;
  Lateness* lateness;          // of the team, or null if there is one thread
  bool (*comes)(const void*);  // for a caller alone: whether it should ask for help now
  const void* of;

  // Whether a caller that works alone could have help now.
  bool help_came() const { return comes && comes(of); }
};

// A thread that works alone.
constexpr Member one{0, 1, nullptr, nullptr, nullptr};

// Waits until all members have come. Spins, then gives its time to other threads.
class alignas(64) Barrier {
 public:
  // Return whether the team is late. All members get the same answer.
  bool wait(int members, Lateness* lateness) {
    if (members == 1) return false;
    const uint32_t now = __atomic_load_n(&round_, __ATOMIC_RELAXED);
    // The last to come has seen what all others wrote, and hands it on with the round.
    if (__atomic_add_fetch(&come_, 1, __ATOMIC_ACQ_REL) != uint32_t(members))
      return spin(now, lateness) & 1;
    __atomic_store_n(&come_, 0, __ATOMIC_RELAXED);
    const uint32_t next = ((now | 1) + 1) | uint32_t(lateness->late());
    __atomic_store_n(&round_, next, __ATOMIC_RELEASE);
    return next & 1;
  }

 private:
  uint32_t spin(uint32_t now, Lateness* lateness);

  alignas(64) uint32_t come_ = 0;
  alignas(64) uint32_t round_ = 0;  // twice the number of the round, and whether it was late
};

// A team that has waited for less time is not late, in nanoseconds. Tests set it to 0.
extern int64_t usual_wait;

// How many teams were late. The tests read it.
extern int64_t late_teams;

// The largest team.
constexpr int most_members = 64;

// Run `work(data, member)` on the calling thread and on up to `wanted - 1` threads of the
// pool, at the same time. The caller waits a short time for them, and then starts with
// those who came. If nobody did, it starts alone. `work` of the caller may stop and return
// false, to be run once more: alone, if its team was late; after `member.help_came()`,
// with all who are there. After a late team, callers work alone for a while.
void run_team(const Pool& pool, int wanted, bool (*work)(void*, Member), void* data);

template <class Function>
void run_team(const Pool& pool, int wanted, Function& function) {
  run_team(
      pool, wanted,
      [](void* data, Member member) { return (*static_cast<Function*>(data))(member); },
      &function);
}

}  // namespace recurrent
