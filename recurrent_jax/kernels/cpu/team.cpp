// SPDX-License-Identifier: Apache-2.0
// A team of threads: who comes in time is in it, and nobody is waited for for long.
//
// No deadlock: a barrier waits for members alone, and a member is a thread that runs. A
// task that comes late, or that the pool runs within the calling thread, leaves at once.
// The state lives until the last task has left, which may be after the caller's return.
//
// On a busy machine a member may be stopped between two barriers. All members then learn
// at the next barrier that the team is late. The caller goes on alone and the others leave.

#include "team.h"

#include <sched.h>
#include <time.h>

#include <algorithm>

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

// The processors on which members run. The scheduler often wakes a thread where its waker
// runs if all processors are busy. Two members there would wait for each other at each step.
class Processors {
 public:
#if defined(__linux__)
  // Move the calling thread to another processor if a member runs on this one.
  void take() {
    const int here = sched_getcpu();
    if (!add(here)) return;
    cpu_set_t allowed, others;
    if (sched_getaffinity(0, sizeof allowed, &allowed)) return;
    CPU_ZERO(&others);
    for (int cpu = 0; cpu < most; cpu++)
      if (CPU_ISSET(cpu, &allowed) && !has(cpu)) CPU_SET(cpu, &others);
    if (!CPU_COUNT(&others) || sched_setaffinity(0, sizeof others, &others)) return;
    sched_setaffinity(0, sizeof allowed, &allowed);  // as it was: it need not stay there
    add(sched_getcpu());
  }

 private:
  static constexpr int most = CPU_SETSIZE;

  bool has(int cpu) const {
    return __atomic_load_n(&words_[cpu / 64], __ATOMIC_RELAXED) >> cpu % 64 & 1;
  }

  // Return whether it was there.
  bool add(int cpu) {
    if (cpu < 0 || cpu >= most) return false;
    const uint64_t bit = uint64_t(1) << cpu % 64;
    return __atomic_fetch_or(&words_[cpu / 64], bit, __ATOMIC_RELAXED) & bit;
  }

  uint64_t words_[most / 64] = {};
#else
  void take() {}
#endif
};

// Until when callers work alone: twenty times as long as the last late team has waited.
int64_t alone_until = 0;

void work_alone_for_a_while(int64_t lost) {
  const int64_t least = 16 * __atomic_load_n(&usual_wait, __ATOMIC_RELAXED);
  const int64_t pause = std::clamp<int64_t>(20 * lost, least, 1'000'000'000);
  __atomic_fetch_add(&late_teams, 1, __ATOMIC_RELAXED);
  __atomic_store_n(&alone_until, nanoseconds() + pause, __ATOMIC_RELAXED);
}

struct Team {
  bool (*work)(void*, Member);
  void* data;
  const char* caller;
  Mode mode;
  Lateness lateness;
  Processors taken;
  uint32_t members;     // how many have come, and `closed`
  uint32_t running;     // members besides the caller that have not finished
  uint32_t references;  // tasks that have not left, and the caller
};

void release(Team* team) {
  if (__atomic_sub_fetch(&team->references, 1, __ATOMIC_ACQ_REL) == 0) delete team;
}

// Become a member, unless the team is closed. Return the index, or 0.
uint32_t join(Team* team) {
  uint32_t members = __atomic_load_n(&team->members, __ATOMIC_RELAXED);
  if (team->caller == &this_thread || members & closed) return 0;
  team->taken.take();
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

// The same, and note how long it took unless that is next to nothing.
template <class Condition>
void wait_until(const Condition& condition, Lateness* lateness) {
  for (int i = 0; i < 64; i++) {
    if (condition()) return;
    pause();
  }
  const int64_t begin = nanoseconds();
  spin_until(condition);
  lateness->note(begin, nanoseconds());
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
    if (team->work)
      team->work(team->data, {int(index), int(members & ~closed), &team->lateness, nullptr, nullptr});
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

bool has_left(const Team* team) { return __atomic_load_n(&team->running, __ATOMIC_ACQUIRE) == 0; }

bool somebody_came(const void* team) {
  return __atomic_load_n(&static_cast<const Team*>(team)->members, __ATOMIC_RELAXED) > 1;
}

// Whether a caller that works alone, perhaps after a late team, may ask for a team.
bool may_ask(const void* late_team) {
  return nanoseconds() >= __atomic_load_n(&alone_until, __ATOMIC_RELAXED) &&
         (!late_team || has_left(static_cast<const Team*>(late_team)));
}

// Run `work` by those who come in time. Return whether it is done. If not, the team is late
// and its members are about to leave.
bool run_once(const Pool& pool, int wanted, Team* team) {
  team->taken.take();
  for (int i = 1; i < wanted; i++)
    if (!pool.schedule(pool, task, team)) release(team);
  constexpr int64_t patience = 100'000;  // nanoseconds: a sleeping thread wakes in some tens
  const int64_t end = nanoseconds() + patience;
  while (__atomic_load_n(&team->members, __ATOMIC_RELAXED) < uint32_t(wanted) &&
         nanoseconds() < end)
    pause();
  const auto work = team->work;
  bool done = !somebody_came(team) && work(team->data, {0, 1, nullptr, somebody_came, team});
  // Who came while the caller finished alone finds nothing to do.
  if (done) team->work = nullptr;
  const uint32_t members = close(team);
  if (!done) done = work(team->data, {0, int(members), &team->lateness, nullptr, nullptr});
  if (done) wait_until([&] { return has_left(team); }, &team->lateness);
  if (team->lateness.late()) work_alone_for_a_while(team->lateness.lost());
  return done;
}

}  // namespace

int64_t usual_wait = 300'000, late_teams = 0;

void Lateness::note(int64_t begin, int64_t end) {
  const int64_t lost = __atomic_add_fetch(&lost_, end - begin, __ATOMIC_RELAXED);
  const int64_t passed = end - start_;
  const int64_t usual = __atomic_load_n(&usual_wait, __ATOMIC_RELAXED);
  if (lost > usual && lost > passed / 4) __atomic_store_n(&late_, true, __ATOMIC_RELAXED);
}

uint32_t Barrier::spin(uint32_t now, Lateness* lateness) {
  uint32_t round = now;
  wait_until([&] { return (round = __atomic_load_n(&round_, __ATOMIC_ACQUIRE)) != now; }, lateness);
  return round;
}

void run_team(const Pool& pool, int wanted, bool (*work)(void*, Member), void* data) {
  if (wanted <= 1) {
    work(data, one);
    return;
  }
  Team* team = nullptr;
  for (bool done = false; !done;) {
    if (!may_ask(team)) {
      done = work(data, {0, 1, nullptr, may_ask, team});
    } else {
      if (team) release(team);
      team = new Team{work, data, &this_thread, get_mode(), Lateness(nanoseconds()), {},
                      1,    0,    uint32_t(wanted)};
      done = run_once(pool, wanted, team);
    }
  }
  if (!team) return;
  // Members that left a late team may still read what `data` holds.
  spin_until([&] { return has_left(team); });
  release(team);
}

}  // namespace recurrent
