// SPDX-License-Identifier: Apache-2.0
// The choice among the kernels compiled for each instruction set.

#include "dispatch.h"

#include <cstring>

namespace recurrent {
namespace {

struct Choice {
  const char* name;
  const Kernels* kernels;
};

#if defined(__x86_64__) && !defined(RECURRENT_JAX_ONE_ISA)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
#endif

Choice find(const char* name) {
#if defined(__x86_64__) && !defined(RECURRENT_JAX_ONE_ISA)
  const auto wanted = [&](const char* other) { return !name || !std::strcmp(name, other); };
  if (wanted("avx512") && has_avx512()) return {"avx512", &avx512::kernels};
  if (wanted("avx2") && has_avx2()) return {"avx2", &avx2::kernels};
  return {"baseline", &baseline::kernels};
#else
  (void)name;
#if defined(__aarch64__)
  return {"neon", &baseline::kernels};
#else
  return {"baseline", &baseline::kernels};
#endif
#endif
}

// One pointer, so that a change while kernels run leaves each with one set.
Choice choices[2] = {find(nullptr), {}};
const Choice* chosen = &choices[0];

const Choice& choice() { return *__atomic_load_n(&chosen, __ATOMIC_ACQUIRE); }

}  // namespace

void run(const Forward<float>& call, const Pool& pool) { choice().kernels->forward_float(call, pool); }
void run(const Forward<double>& call, const Pool& pool) { choice().kernels->forward_double(call, pool); }
void run(const Backward<float>& call, const Pool& pool) { choice().kernels->backward_float(call, pool); }
void run(const Backward<double>& call, const Pool& pool) { choice().kernels->backward_double(call, pool); }

const char* isa_name() { return choice().name; }

const char* set_isa(const char* name) {
  choices[1] = find(name);
  __atomic_store_n(&chosen, &choices[1], __ATOMIC_RELEASE);
  return isa_name();
}

}  // namespace recurrent
