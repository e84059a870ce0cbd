// SPDX-License-Identifier: Apache-2.0
// A team of threads: who comes in time is in it, and nobody is waited for for long.
//
// No deadlock: a barrier waits for members alone, and a member is a thread that runs. A
// task that comes late, or that the pool runs within the calling thread, leaves at once.
// The state lives until the last task has left, which may be after the caller's return.

#include "team.h"

#include <sched.h>
#include <time.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace recurrent {
namespace {

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// How the processor rounds and treats denormal numbers. Members take it from the caller.
#if defined(__x86_64__)
using Mode = unsigned;
Mode get_mode() { return _mm_getcsr(); }
void set_mode(Mode mode) { _mm_setcsr(mode); }
#elif defined(__aarch64__)
using Mode = uint64_t;
Mode get_mode() {
  Mode mode;
  asm volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
}
void set_mode(Mode mode) { asm volatile("msr fpcr, %0" ::"r"(mode)); }
#else
using Mode = int;
Mode get_mode() { return 0; }
void set_mode(Mode) {}
#endif

int64_t nanoseconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t(now.tv_sec) * 1000000000 + now.tv_nsec;
}

// The address of a thread's own variable names the thread.
thread_local char this_thread;

constexpr uint32_t closed = 1u << 31;

struct Team {
  bool (*work)(void*, Member);
  void* data;
  const char* caller;
  Mode mode;
  uint32_t members;     // how many have come, and `closed`
  uint32_t running;     // members besides the caller that have not finished
  uint32_t references;  // tasks that have not left, and the caller
};

void release(Team* team) {
  if (__atomic_sub_fetch(&team->references, 1, __ATOMIC_ACQ_REL) == 0) delete team;
}

// Become a member, unless the team is closed. Return the index, or 0.
uint32_t join(Team* team) {
  if (team->caller == &this_thread) return 0;
  uint32_t members = __atomic_load_n(&team->members, __ATOMIC_RELAXED);
  while (!(members & closed))
    if (__atomic_compare_exchange_n(&team->members, &members, members + 1, true,
                                    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
      return members;
  return 0;
}

template <class Condition>
void spin_until(const Condition& condition) {
  for (int i = 0; !condition(); i++) {
    if (i < 4096)
      pause();
    else
      sched_yield();
  }
}

void task(void* data) {
  Team* team = static_cast<Team*>(data);
  if (uint32_t index = join(team)) {
    uint32_t members;
    spin_until([&] {
      members = __atomic_load_n(&team->members, __ATOMIC_ACQUIRE);
      return members & closed;
    });
    const Mode mode = get_mode();
    set_mode(team->mode);
    if (team->work) team->work(team->data, {int(index), int(members & ~closed), nullptr});
    set_mode(mode);
    __atomic_sub_fetch(&team->running, 1, __ATOMIC_RELEASE);
  }
  release(team);
}

// Let nobody in any more. Return how many members there are.
uint32_t close(Team* team) {
  uint32_t members = __atomic_load_n(&team->members, __ATOMIC_RELAXED);
  do {
    // Set before the members learn that the team is closed.
    __atomic_store_n(&team->running, members - 1, __ATOMIC_RELAXED);
  } while (!__atomic_compare_exchange_n(&team->members, &members, members | closed, true,
                                        __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
  return members;
}

}  // namespace

void Barrier::spin(uint32_t now) {
  spin_until([&] { return __atomic_load_n(&round_, __ATOMIC_ACQUIRE) != now; });
}

void run_team(const Pool& pool, int wanted, bool (*work)(void*, Member), void* data) {
  if (wanted <= 1) {
    work(data, {0, 1, nullptr});
    return;
  }
  Team* team = new Team{work, data, &this_thread, get_mode(), 1, 0, uint32_t(wanted)};
  for (int i = 1; i < wanted; i++)
    if (!pool.schedule(pool, task, team)) release(team);
  constexpr int64_t patience = 100'000;  // nanoseconds: a sleeping thread wakes in some tens
  const int64_t end = nanoseconds() + patience;
  while (__atomic_load_n(&team->members, __ATOMIC_RELAXED) < uint32_t(wanted) &&
         nanoseconds() < end)
    pause();
  const bool alone = __atomic_load_n(&team->members, __ATOMIC_RELAXED) == 1;
  const bool done = alone && work(data, {0, 1, &team->members});
  // Who came while the caller finished alone finds nothing to do.
  if (done) team->work = nullptr;
  const uint32_t members = close(team);
  if (!done) work(data, {0, int(members), nullptr});
  spin_until([&] { return __atomic_load_n(&team->running, __ATOMIC_ACQUIRE) == 0; });
  release(team);
}

}  // namespace recurrent
