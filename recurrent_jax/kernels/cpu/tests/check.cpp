// SPDX-License-Identifier: Apache-2.0
// Compare the kernels with the equations, one number after the other, on drawn calls.
//
// check [calls] [seed]: prints what differs, and returns 1 if anything does. `tests/run`
// builds and runs it, also with the sanitizers.

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <limits>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "../dispatch.h"
#include "../team.h"
#include "reference.h"

namespace recurrent {
namespace {

using Random = std::mt19937_64;

// Threads that run tasks in their order, or keep them for ever if there are none.
class Threads {
 public:
  explicit Threads(int count) {
    for (int i = 0; i < count; i++) threads_.emplace_back([this] { serve(); });
  }

  ~Threads() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      closing_ = true;
    }
    changed_.notify_all();
    for (auto& thread : threads_) thread.join();
    for (auto& [task, data] : tasks_) task(data);  // long after the call: they only leave
  }

  void add(void (*task)(void*), void* data) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      tasks_.emplace_back(task, data);
    }
    changed_.notify_one();
  }

 private:
  void serve() {
    for (;;) {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return closing_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      auto [task, data] = tasks_.front();
      tasks_.pop_front();
      lock.unlock();
      task(data);
    }
  }

  std::vector<std::thread> threads_;
  std::deque<std::pair<void (*)(void*), void*>> tasks_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool closing_ = false;
};

// A pool that claims to have `claimed` threads.
Pool pool_of(Threads& threads, int claimed) {
  Pool pool{};
  pool.threads = claimed;
  pool.context = &threads;
  pool.schedule = [](const Pool& pool, void (*task)(void*), void* data) {
    static_cast<Threads*>(const_cast<void*>(pool.context))->add(task, data);
    return true;
  };
  return pool;
}

// Pools that run a task within the caller, or refuse it.
Pool inline_pool() {
  return {4, [](const Pool&, void (*task)(void*), void* data) { task(data); return true; },
          nullptr, nullptr};
}
Pool refusing_pool() {
  return {4, [](const Pool&, void (*)(void*), void*) { return false; }, nullptr, nullptr};
}

// All arrays of one call.
template <class Real>
struct Call {
  Cell cell;
  Sizes n;
  std::vector<char> valid, reset;
  bool has_valid, has_reset, biases, saving;
  unsigned wants;  // which cotangents, by bits
  std::vector<Real> xs, kernel, bias, recurrent_kernel, recurrent_bias, h, c, fresh_h, fresh_c;
  std::vector<Real> d_ys, d_h, d_c;

  Call(Random& random, Cell cell, Sizes n) : cell(cell), n(n) {
    auto draw = [&](double scale, int64_t size) {
      std::normal_distribution<double> normal(0, scale);
      std::vector<Real> values(size);
      for (auto& value : values) value = Real(normal(random));
      return values;
    };
    auto [T, B, D, H, reverse, batch_major] = n;
    const int G = gates(cell);
    has_valid = random() % 2, has_reset = random() % 2, biases = random() % 2;
    saving = true, wants = unsigned(random() % 4 ? 31 : random() % 32);
    for (int64_t i = 0; i < T * B; i++) {
      valid.push_back(random() % 3 != 0);
      reset.push_back(random() % 4 == 0);
    }
    xs = draw(1, T * B * D), bias = draw(1, G * H), recurrent_bias = draw(1, H);
    kernel = draw(1 / std::sqrt(double(D) + 1), D * G * H);
    recurrent_kernel = draw(.7 / std::sqrt(double(H)), H * G * H);
    h = draw(.5, B * H), c = draw(.5, B * H), fresh_h = draw(.5, B * H), fresh_c = draw(.5, B * H);
    d_ys = draw(1, T * B * H), d_h = draw(1, B * H), d_c = draw(1, B * H);
    if (has_valid)  // what a skipped step holds reaches nothing
      for (int64_t i = 0; i < T * B; i++)
        if (!valid[i])
          for (int64_t k = 0; k < D; k++) xs[n.row(i / B, i % B) * D + k] = std::numeric_limits<Real>::quiet_NaN();
  }

  Flags flags() const {
    return {has_valid ? reinterpret_cast<const bool*>(valid.data()) : nullptr,
            has_reset ? reinterpret_cast<const bool*>(reset.data()) : nullptr};
  }
};

template <class Real>
using Arrays = std::vector<std::vector<Real>>;

// The results of forward and backward. `saved` are the residuals, which skipped steps leave.
template <class Real, class F, class B>
Arrays<Real> run_both(const Call<Real>& x, const F& forward, const B& backward) {
  auto [T, B_, D, H, reverse, batch_major] = x.n;
  const int64_t G = gates(x.cell), S = saved_gates(x.cell), size = B_ * H;
  const bool lstm = x.cell == Cell::lstm;
  std::vector<Real> gates_(T * size * S, 7), cells(lstm ? T * size : 0, 7);
  Arrays<Real> r(14);
  auto make = [&](int i, int64_t count, bool wanted = true) {
    r[i].assign(wanted ? count : 0, Real(5));
    return wanted ? r[i].data() : nullptr;
  };
  auto c = [&](const std::vector<Real>& part) { return lstm ? part.data() : nullptr; };
  auto fresh = [&](const std::vector<Real>& part) { return x.has_reset ? part.data() : nullptr; };
  Weights<Real> w{x.kernel.data(), x.biases ? x.bias.data() : nullptr, x.recurrent_kernel.data(),
                  x.biases && x.cell == Cell::gru_after ? x.recurrent_bias.data() : nullptr};
  Forward<Real> f{x.cell, x.n, x.flags(), w, x.xs.data(), {x.h.data(), c(x.c)},
                  {fresh(x.fresh_h), lstm ? fresh(x.fresh_c) : nullptr}, make(0, T * size),
                  {make(1, size), make(2, size, lstm)}, nullptr, nullptr};
  forward(f);  // without residuals
  Arrays<Real> plain = r;
  f.gates = S ? gates_.data() : nullptr, f.cells = lstm ? cells.data() : nullptr;
  forward(f);
  if (plain[0] != r[0])
    std::printf("residuals change the outputs\n"), std::exit(1);
  Backward<Real> b{x.cell, x.n, x.flags(), w, x.xs.data(), f.initial, f.fresh, r[0].data(),
                   gates_.data(), cells.data(), x.d_ys.data(), {x.d_h.data(), c(x.d_c)},
                   make(3, T * B_ * D, x.wants & 1), make(4, D * G * H, x.wants & 2),
                   make(5, G * H, x.wants & 4), make(6, H * G * H, x.wants & 8),
                   make(7, H, (x.wants & 16) && x.cell == Cell::gru_after),
                   {make(8, size), make(9, size, lstm)},
                   {make(10, size, x.has_reset), make(11, size, x.has_reset && lstm)}};
  backward(b);
  return r;
}

template <class Real>
double difference(const Arrays<Real>& a, const Arrays<Real>& b, int* where) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); i++) {
    double scale = 1;
    for (Real value : b[i]) scale = std::max(scale, std::abs(double(value)));
    for (size_t j = 0; j < a[i].size(); j++) {
      double d = std::abs(double(a[i][j]) - double(b[i][j])) / scale;
      if (!(d <= worst)) worst = d == d ? d : 1e9, *where = int(i);
    }
  }
  return worst;
}

template <class Real>
bool check(Random& random, Cell cell, Sizes n, Pool* pools, int pool_count) {
  Call<Real> call(random, cell, n);
  auto want = run_both(
      call, [](const auto& f) { reference::forward(f); }, [](const auto& b) { reference::backward(b); });
  Arrays<Real> first;
  for (int i = 0; i < pool_count; i++) {
    auto got = run_both(
        call, [&](const auto& f) { run(f, pools[i]); }, [&](const auto& b) { run(b, pools[i]); });
    int where = 0;
    const double d = difference(got, want, &where), most = sizeof(Real) == 4 ? 2e-5 : 1e-12;
    if (!i) first = got;
    const bool same = first == got;
    if (d > most || !same) {
      std::printf("%s cell %d T %ld B %ld D %ld H %ld reverse %d batch first %d flags %d %d real%zu pool %d: "
                  "result %d differs by %.1e%s\n",
                  isa_name(), int(cell), long(n.T), long(n.B), long(n.D), long(n.H), n.reverse, n.batch_major,
                  call.has_valid, call.has_reset, sizeof(Real), i, where, d,
                  same ? "" : ", not the same as with pool 0");
      return false;
    }
  }
  return true;
}

// Several callers at once, each with the same call, on one pool of few threads.
bool check_callers(Random& random, Pool pool) {
  Call<float> call(random, Cell::lstm, {30, 20, 5, 40, false, false});
  auto once = [&] {
    return run_both(
        call, [&](const auto& f) { run(f, pool); }, [&](const auto& b) { run(b, pool); });
  };
  const auto want = once();
  std::vector<std::thread> callers;
  bool same[6] = {};
  for (int i = 0; i < 6; i++)
    callers.emplace_back([&, i] {
      same[i] = true;
      for (int k = 0; k < 10; k++) same[i] = same[i] && once() == want;
    });
  for (auto& caller : callers) caller.join();
  return std::all_of(same, same + 6, [](bool ok) { return ok; });
}

int main_(int calls, unsigned seed) {
  Random random(seed);
  int bad = 0;
  Threads two(2), five(5), none(0);
  Pool pools[] = {pool_of(none, 0), pool_of(two, 2), pool_of(five, 5),
                  pool_of(none, 3), inline_pool(),   refusing_pool()};
  const char* sets[] = {"baseline", "neon", "avx2", "avx512"};
  for (int i = 0; i < calls; i++) {
    const char* set = sets[random() % 4];
    if (std::strcmp(set_isa(set), set)) set_isa(nullptr);
    auto up_to = [&](int64_t most) { return int64_t(random() % (most + 1)); };
    Sizes n{up_to(12), up_to(random() % 3 ? 9 : 40), up_to(20), 1 + up_to(random() % 3 ? 20 : 90),
            random() % 2 == 0, random() % 2 == 0};
    const Cell cell = Cell(random() % 5);
    const bool single = random() % 3;
    // Over many steps, rounding brings some sum of relu to the other side of zero. In
    // double precision that is too rare to meet.
    const bool keeps = cell != Cell::relu || !single;
    if (random() % 6 == 0 && keeps) n.T = 40 + up_to(200), n.B = 1 + up_to(2);
    // With every second call, whoever waits for a member finds its team late.
    __atomic_store_n(&usual_wait, random() % 2 ? 0 : 300'000, __ATOMIC_RELAXED);
    bad += !(single ? check<float>(random, cell, n, pools, 6)
                    : check<double>(random, cell, n, pools, 6));
  }
  set_isa(nullptr);
  if (!check_callers(random, pools[1])) std::printf("many callers at once differ\n"), bad++;
  const int64_t late = __atomic_load_n(&late_teams, __ATOMIC_RELAXED);
  if (!late) std::printf("no team was late\n"), bad++;
  std::printf("%d calls, %ld late teams, %d bad\n", calls, long(late), bad);
  return bad != 0;
}

}  // namespace
}  // namespace recurrent

int main(int count, char** arguments) {
  return recurrent::main_(count > 1 ? std::atoi(arguments[1]) : 300,
                          count > 2 ? unsigned(std::atoi(arguments[2])) : 1);
}
