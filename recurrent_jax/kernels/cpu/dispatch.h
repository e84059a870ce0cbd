// SPDX-License-Identifier: Apache-2.0
// The choice among the kernels compiled for each instruction set.

#pragma once

#include "arguments.h"
#include "pool.h"

namespace recurrent {

struct Kernels {
  void (*forward_float)(const Forward<float>&, const Pool&);
  void (*forward_double)(const Forward<double>&, const Pool&);
  void (*backward_float)(const Backward<float>&, const Pool&);
  void (*backward_double)(const Backward<double>&, const Pool&);
};

namespace baseline {
extern const Kernels kernels;
}
#if defined(__x86_64__) && !defined(RECURRENT_JAX_ONE_ISA)
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}
#endif

void run(const Forward<float>& call, const Pool& pool);
void run(const Forward<double>& call, const Pool& pool);
void run(const Backward<float>& call, const Pool& pool);
void run(const Backward<double>& call, const Pool& pool);

// The instruction set in use.
const char* isa_name();

// Use another one, if the machine has it. Return the one in use.
const char* set_isa(const char* name);

}  // namespace recurrent
