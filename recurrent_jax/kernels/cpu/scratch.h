// SPDX-License-Identifier: Apache-2.0
// The temporary memory of one call: one piece, handed out in parts of whole cache lines.

#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace recurrent {

// Ask for large pages where a large array is about to be written for the first time. It
// is a hint: an array of many small pages costs one fault for each.
inline void prefer_large_pages(void* p, int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t page = uintptr_t(1) << 21;
  const uintptr_t begin = (uintptr_t(p) + page - 1) & -page, end = (uintptr_t(p) + bytes) & -page;
  if (p && begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)p, (void)bytes;
#endif
}

class Scratch {
 public:
  // Reserve `count` values at `*p`, which `allocate` sets.
  template <class Value>
  void reserve(Value*& p, int64_t count) {
    if (parts_ == most) std::abort();
    part_[parts_++] = {reinterpret_cast<void**>(&p), bytes_};
    bytes_ += (count * int64_t(sizeof(Value)) + 63) / 64 * 64;
  }

  void allocate() {
    const int64_t align = bytes_ >= (int64_t(1) << 22) ? int64_t(1) << 21 : 64;
    bytes_ = (bytes_ + align) / align * align;
    memory_ = static_cast<char*>(std::aligned_alloc(align, bytes_));
    if (!memory_) throw std::bad_alloc();
    prefer_large_pages(memory_, bytes_);
    for (int i = 0; i < parts_; i++) *part_[i].p = memory_ + part_[i].offset;
  }

  Scratch() = default;
  Scratch(const Scratch&) = delete;
  ~Scratch() { std::free(memory_); }

 private:
  static constexpr int most = 24;
  struct Part {
    void** p;
    int64_t offset;
  };
  Part part_[most];
  int parts_ = 0;
  int64_t bytes_ = 0;
  char* memory_ = nullptr;
};

}  // namespace recurrent
