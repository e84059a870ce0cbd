// SPDX-License-Identifier: Apache-2.0
// The kernels for one instruction set, which the including file names as ISA.

#include "backward.h"
#include "dispatch.h"
#include "elman.h"
#include "forward.h"
#include "gru.h"
#include "lstm.h"

namespace recurrent::ISA {

template <class Loop, class Call>
void run_loop(const Call& call, const Pool& pool) {
  Loop loop(call);
  loop.run(pool);
}

template <class Real>
void run(const Forward<Real>& call, const Pool& pool) {
  switch (call.cell) {
    case Cell::lstm: return run_loop<ForwardLoop<Lstm<Real>>>(call, pool);
    case Cell::gru_after: return run_loop<ForwardLoop<Gru<Real>>>(call, pool);
    case Cell::gru_before: return run_loop<ForwardLoop<GruBefore<Real>>>(call, pool);
    case Cell::tanh: return run_loop<ForwardLoop<Elman<Real, false>>>(call, pool);
    case Cell::relu: return run_loop<ForwardLoop<Elman<Real, true>>>(call, pool);
  }
}

template <class Real>
void run(const Backward<Real>& call, const Pool& pool) {
  switch (call.cell) {
    case Cell::lstm: return run_loop<BackwardLoop<Lstm<Real>>>(call, pool);
    case Cell::gru_after: return run_loop<BackwardLoop<Gru<Real>>>(call, pool);
    case Cell::gru_before: return run_loop<BackwardLoop<GruBefore<Real>>>(call, pool);
    case Cell::tanh: return run_loop<BackwardLoop<Elman<Real, false>>>(call, pool);
    case Cell::relu: return run_loop<BackwardLoop<Elman<Real, true>>>(call, pool);
  }
}

const Kernels kernels = {run<float>, run<double>, run<float>, run<double>};

}  // namespace recurrent::ISA
