// SPDX-License-Identifier: Apache-2.0
// XLA's own threads, through its foreign function interface.

#include "pool.h"

namespace recurrent {
namespace {

bool failed(const abi::Api* api, abi::Error* error) {
  if (!error) return false;
  auto old = abi::sized<abi::OldError>();
  old.error = error;
  api->destroy_error(&old);
  return true;
}

bool schedule(const Pool& pool, void (*task)(void*), void* data) {
  auto* api = static_cast<const abi::Api*>(pool.api);
  auto asked = abi::sized<abi::Schedule>();
  asked.context = static_cast<abi::Context*>(const_cast<void*>(pool.context));
  asked.task = task;
  asked.data = data;
  return !failed(api, api->schedule(&asked));
}

}  // namespace

Pool xla_pool(const abi::Api* api, abi::Context* context) {
  int64_t threads = 0;
  auto asked = abi::sized<abi::CountThreads>();
  asked.context = context;
  asked.threads = &threads;
  if (failed(api, api->count_threads(&asked))) threads = 0;
  return {threads, schedule, api, context};
}

}  // namespace recurrent
