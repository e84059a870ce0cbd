// SPDX-License-Identifier: Apache-2.0
// The threads that a kernel may borrow: those of XLA, or in the tests others.

#pragma once

#include <cstdint>

#include "abi.h"

namespace recurrent {

struct Pool {
  int64_t threads;  // of the pool; the calling thread may or may not be one of them
  // Run `task(data)` on some thread, now or later, maybe in the caller. False: it never runs.
  bool (*schedule)(const Pool& pool, void (*task)(void*), void* data);
  const void *api, *context;
};

// The pool of the execution that called a handler. It has no threads if XLA has none.
Pool xla_pool(const abi::Api* api, abi::Context* context);

}  // namespace recurrent
