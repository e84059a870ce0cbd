// SPDX-License-Identifier: Apache-2.0
// The part of the C interface of XLA's foreign function calls that the handlers use.
//
// It is declared here, and not included from jaxlib, so that a build needs a compiler and
// nothing else. The names are ours; the layout is that of versions 0.3 to 0.5 (jaxlib 0.10
// to 0.12). XLA gives every structure its size and adds fields at its end only.

#pragma once

#include <cstddef>
#include <cstdint>

namespace recurrent::abi {

constexpr int major_version = 0, minor_version = 3;

enum Type : int { boolean = 1, int32 = 4, int64 = 5, float16 = 10, float32, float64, bfloat16 = 16 };
enum Code : int { invalid_argument = 3, resource_exhausted = 8 };
constexpr int is_buffer = 1, is_scalar = 3, is_string = 4, asks_for_metadata = 1;

struct Context;  // of one execution
struct Error;    // null is success

struct Extension {
  size_t struct_size;
  int type;
  Extension* next;
};

// What every structure begins with.
struct Head {
  size_t struct_size;
  Extension* extensions;
};

struct Version {
  Head head;
  int major, minor;
};

struct Metadata {
  size_t struct_size;
  Version version;
  uint32_t traits;
};

struct MetadataExtension {
  Extension base;
  Metadata* metadata;
};

struct Buffer {
  Head head;
  Type type;
  void* data;
  int64_t rank;
  int64_t* dims;
};

struct Buffers {
  Head head;
  int64_t size;
  int* kinds;
  Buffer** items;
};

struct Text {
  const char* begin;
  size_t size;
};

struct Scalar {
  Type type;
  void* value;
};

struct Attributes {
  Head head;
  int64_t size;
  int* kinds;
  Text** names;
  void** values;
};

struct NewError {
  Head head;
  const char* message;
  Code code;
};

struct OldError {
  Head head;
  Error* error;
};

struct Schedule {
  Head head;
  Context* context;
  void (*task)(void*);
  void* data;
};

struct CountThreads {
  Head head;
  Context* context;
  int64_t* threads;
};

struct Api {
  Head head;
  Version version;
  const void* internal;
  Error* (*create_error)(NewError*);
  void* message_of_error;
  void (*destroy_error)(OldError*);
  void* others[8];
  Error* (*schedule)(Schedule*);
  Error* (*count_threads)(CountThreads*);
};

struct Call {
  Head head;
  const Api* api;
  Context* context;
  int stage;
  Buffers arguments, results;
  Attributes attributes;
};

static_assert(sizeof(void*) == 8 && sizeof(size_t) == 8, "64-bit platforms only");
static_assert(sizeof(Buffer) == 48 && offsetof(Buffer, dims) == 40);
static_assert(offsetof(Call, arguments) == 40 && offsetof(Call, results) == 80);
static_assert(offsetof(Call, attributes) == 120 && sizeof(Call) == 168);
static_assert(offsetof(Api, create_error) == 48 && offsetof(Api, schedule) == 136);

// An argument for a function of the interface, with its size filled in.
template <class Struct>
Struct sized() {
  Struct made{};
  made.head.struct_size = sizeof(Struct);
  return made;
}

}  // namespace recurrent::abi
