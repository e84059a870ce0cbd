// SPDX-License-Identifier: Apache-2.0
// The handlers that XLA calls: they check every array before a kernel touches it.
// README.md lists the arguments.

#include <initializer_list>
#include <new>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>

#include "abi.h"
#include "arguments.h"
#include "dispatch.h"
#include "pool.h"

namespace recurrent {
namespace {

using Shape = std::initializer_list<int64_t>;

struct Refused {
  std::string why;
};

template <class Dims>
std::string text(const Dims& dims) {
  std::ostringstream out;
  out << '(';
  size_t i = 0;
  for (int64_t d : dims) out << (i++ ? ", " : "") << d;
  out << (i == 1 ? ",)" : ")");
  return out.str();
}

std::string text(abi::Type type) {
  switch (type) {
    case abi::boolean: return "bool";
    case abi::int32: return "int32";
    case abi::int64: return "int64";
    case abi::float16: return "float16";
    case abi::float32: return "float32";
    case abi::float64: return "float64";
    case abi::bfloat16: return "bfloat16";
  }
  return "of number " + std::to_string(static_cast<int>(type));
}

struct Dims {
  const int64_t* first;
  size_t rank;

  const int64_t* begin() const { return first; }
  const int64_t* end() const { return first + rank; }
  size_t size() const { return rank; }
  int64_t operator[](size_t i) const { return first[i]; }
};

// An argument or a result.
struct Array {
  const abi::Buffer* buffer;

  Dims dimensions() const { return {buffer->dims, static_cast<size_t>(buffer->rank)}; }
  abi::Type element_type() const { return buffer->type; }
  void* untyped_data() const { return buffer->data; }
};

// The arguments or the results of a call, read one after the other.
class Reader {
 public:
  Reader(const char* handler, const char* kind, const abi::Buffers& buffers)
      : handler_(handler), kind_(kind), buffers_(buffers) {}

  Array next(const char* name, size_t rank) {
    name_ = name;
    if (at_ == buffers_.size) refuse("is missing");
    if (buffers_.kinds[at_] != abi::is_buffer) refuse("is not an array");
    Array array{buffers_.items[at_++]};
    if (array.dimensions().size() != rank)
      refuse("needs " + std::to_string(rank) + " axes, got shape " + text(array.dimensions()));
    return array;
  }

  // The data of the next array, or null if it is empty and may be.
  template <class Value>
  Value* next(const char* name, Shape shape, bool may_be_empty = false) {
    Array array = next(name, shape.size());
    need_type(array, type_of<Value>());
    Dims dims = array.dimensions();
    size_t i = 0, same = 0, empty = 0;
    for (int64_t size : shape) {
      same += dims[i] == size;
      empty += dims[i++] == 0;
    }
    if (may_be_empty && empty == shape.size()) return nullptr;
    if (same != shape.size())
      refuse("needs shape " + text(shape) + ", got " + text(dims));
    return static_cast<Value*>(array.untyped_data());
  }

  void need_type(Array array, abi::Type type) {
    if (array.element_type() == type) return;
    refuse("needs dtype " + text(type) + ", got " + text(array.element_type()));
  }

  void end() {
    if (at_ != buffers_.size)
      throw Refused{std::string(handler_) + ": needs " + std::to_string(at_) + " " + kind_ +
                    "s, got " + std::to_string(buffers_.size)};
  }

  [[noreturn]] void refuse(const std::string& why) {
    throw Refused{std::string(handler_) + ": the " + kind_ + " " + name_ + " " + why};
  }

 private:
  template <class Value>
  static constexpr abi::Type type_of() {
    using Plain = std::remove_const_t<Value>;
    if (std::is_same_v<Plain, bool>) return abi::boolean;
    return std::is_same_v<Plain, float> ? abi::float32 : abi::float64;
  }

  const char *handler_, *kind_, *name_ = "";
  const abi::Buffers& buffers_;
  int64_t at_ = 0;
};

// The attributes that say in which order arrays are run and stored.
struct Order {
  bool reverse, batch_major;
};

// The arguments that forward and backward share.
template <class Real, class Call>
void read_inputs(Reader& in, Call& call, Order order, bool biases) {
  auto xs = in.next("xs", 3);
  in.need_type(xs, std::is_same_v<Real, float> ? abi::float32 : abi::float64);
  const int64_t T = xs.dimensions()[order.batch_major], B = xs.dimensions()[!order.batch_major];
  const int64_t D = xs.dimensions()[2];
  call.xs = static_cast<const Real*>(xs.untyped_data());
  auto kernel = in.next("kernel", 2);
  in.need_type(kernel, xs.element_type());
  const int64_t columns = kernel.dimensions()[1], G = gates(call.cell), H = columns / G;
  if (kernel.dimensions()[0] != D || columns % G || H < 1)
    in.refuse("needs shape (" + std::to_string(D) + ", " + std::to_string(G) + " * H), got " +
              text(kernel.dimensions()));
  call.weights.kernel = static_cast<const Real*>(kernel.untyped_data());
  if (biases) call.weights.bias = in.next<const Real>("bias", {G * H}, true);
  call.weights.recurrent_kernel = in.next<const Real>("recurrent_kernel", {H, G * H});
  if (biases && G == 3)
    call.weights.recurrent_bias = in.next<const Real>("recurrent_bias", {H}, true);
  call.flags.valid = in.next<const bool>("valid", {T, B}, true);
  call.flags.reset = in.next<const bool>("reset", {T, B}, true);
  const bool c = call.cell == Cell::lstm;
  call.initial.h = in.next<const Real>("h", {B, H});
  if (c) call.initial.c = in.next<const Real>("c", {B, H});
  const bool fresh = call.flags.reset && B;
  call.fresh.h = in.next<const Real>("fresh h", {B, H}, !fresh);
  if (c) call.fresh.c = in.next<const Real>("fresh c", {B, H}, !fresh);
  call.sizes = {T, B, D, H, order.reverse, order.batch_major};
}

template <class Real>
void forward(const char* name, Pool& pool, Cell cell, Order order,
             const abi::Call& frame) {
  Forward<Real> call{};
  call.cell = cell;
  Reader in(name, "argument", frame.arguments), out(name, "result", frame.results);
  read_inputs<Real>(in, call, order, true);
  in.end();
  const auto [T, B, D, H, reversed, batch_major] = call.sizes;
  const int64_t outer = batch_major ? B : T, inner = batch_major ? T : B;
  call.ys = out.next<Real>("ys", {outer, inner, H});
  call.final.h = out.next<Real>("final h", {B, H});
  if (cell == Cell::lstm) call.final.c = out.next<Real>("final c", {B, H});
  if (saved_gates(cell))
    call.gates = out.next<Real>("gates", {T, B, saved_gates(cell) * H}, true);
  if (cell == Cell::lstm) {
    call.cells = out.next<Real>("cells", {T, B, H}, true);
    if (!call.cells != !call.gates) out.refuse("is empty where gates is not, or the other way");
  }
  out.end();
  run(call, pool);
}

template <class Real>
void backward(const char* name, Pool& pool, Cell cell, Order order,
              const abi::Call& frame) {
  Backward<Real> call{};
  call.cell = cell;
  Reader in(name, "argument", frame.arguments), out(name, "result", frame.results);
  read_inputs<Real>(in, call, order, false);
  const auto [T, B, D, H, reversed, batch_major] = call.sizes;
  const int64_t G = gates(cell);
  const bool c = cell == Cell::lstm, fresh = call.flags.reset && B;
  const int64_t outer = batch_major ? B : T, inner = batch_major ? T : B;
  call.ys = in.next<const Real>("ys", {outer, inner, H});
  if (saved_gates(cell))
    call.gates = in.next<const Real>("gates", {T, B, saved_gates(cell) * H});
  if (c) call.cells = in.next<const Real>("cells", {T, B, H});
  call.d_ys = in.next<const Real>("cotangent of ys", {outer, inner, H});
  call.d_final.h = in.next<const Real>("cotangent of the final h", {B, H});
  if (c) call.d_final.c = in.next<const Real>("cotangent of the final c", {B, H});
  in.end();
  call.d_xs = out.next<Real>("cotangent of xs", {outer, inner, D}, true);
  call.d_kernel = out.next<Real>("cotangent of kernel", {D, G * H}, true);
  call.d_bias = out.next<Real>("cotangent of bias", {G * H}, true);
  call.d_recurrent_kernel = out.next<Real>("cotangent of recurrent_kernel", {H, G * H}, true);
  if (G == 3) call.d_recurrent_bias = out.next<Real>("cotangent of recurrent_bias", {H}, true);
  call.d_initial.h = out.next<Real>("cotangent of h", {B, H});
  if (c) call.d_initial.c = out.next<Real>("cotangent of c", {B, H});
  call.d_fresh.h = out.next<Real>("cotangent of fresh h", {B, H}, !fresh);
  if (c) call.d_fresh.c = out.next<Real>("cotangent of fresh c", {B, H}, !fresh);
  out.end();
  run(call, pool);
}

using Run = void(const char*, Pool&, Cell, Order, const abi::Call&);

abi::Error* error(const abi::Call& frame, abi::Code code, const std::string& message) {
  auto made = abi::sized<abi::NewError>();
  made.message = message.c_str();
  made.code = code;
  return frame.api->create_error(&made);
}

// The attribute of a name, or an error if it is missing or of another kind.
const void* attribute(const char* handler, const abi::Attributes& all, std::string_view name,
                      int kind) {
  for (int64_t i = 0; i < all.size; ++i)
    if (std::string_view(all.names[i]->begin, all.names[i]->size) == name && all.kinds[i] == kind)
      return all.values[i];
  throw Refused{std::string(handler) + ": the attribute " + std::string(name) +
                " is missing or of another type"};
}

bool flag(const char* handler, const abi::Attributes& all, std::string_view name) {
  auto* scalar = static_cast<const abi::Scalar*>(attribute(handler, all, name, abi::is_scalar));
  if (scalar->type != abi::boolean)
    throw Refused{std::string(handler) + ": the attribute " + std::string(name) + " must be bool"};
  return *static_cast<const bool*>(scalar->value);
}

using Choose = Cell(const char*, const abi::Attributes&);

Cell lstm(const char*, const abi::Attributes&) { return Cell::lstm; }

Cell gru(const char* handler, const abi::Attributes& all) {
  return flag(handler, all, "reset_after") ? Cell::gru_after : Cell::gru_before;
}

Cell elman(const char* handler, const abi::Attributes& all) {
  auto* given = static_cast<const abi::Text*>(attribute(handler, all, "activation", abi::is_string));
  const std::string_view activation(given->begin, given->size);
  if (activation == "tanh") return Cell::tanh;
  if (activation == "relu") return Cell::relu;
  throw Refused{std::string(handler) + ": activation is tanh or relu, got " +
                std::string(activation)};
}

// Answer XLA, which asks for the version of a handler before it calls it.
bool told_version(const abi::Call& frame) {
  for (auto* one = frame.head.extensions; one; one = one->next)
    if (one->type == abi::asks_for_metadata) {
      auto& version = reinterpret_cast<abi::MetadataExtension*>(one)->metadata->version;
      version.major = abi::major_version;
      version.minor = abi::minor_version;
      return true;
    }
  return false;
}

// Run a handler for the dtype of its first argument, and turn what it throws into an error.
abi::Error* call(const char* name, Choose* choose, Run* in_float, Run* in_double,
                 const abi::Call& frame) {
  if (told_version(frame)) return nullptr;
  try {
    const Order order{flag(name, frame.attributes, "reverse"),
                      flag(name, frame.attributes, "batch_major")};
    const Cell cell = choose(name, frame.attributes);
    const abi::Type type = Reader(name, "argument", frame.arguments).next("xs", 3).element_type();
    if (type != abi::float32 && type != abi::float64)
      throw Refused{std::string(name) + ": the argument xs needs dtype float32 or float64"};
    Pool pool = xla_pool(frame.api, frame.context);
    (type == abi::float32 ? in_float : in_double)(name, pool, cell, order, frame);
    return nullptr;
  } catch (const Refused& refused) {
    return error(frame, abi::invalid_argument, refused.why);
  } catch (const std::bad_alloc&) {
    return error(frame, abi::resource_exhausted,
                 std::string(name) + ": no memory for the temporary arrays");
  }
}

}  // namespace

#define HANDLER(symbol, cell, direction)                                                \
  extern "C" __attribute__((visibility("default"))) abi::Error* symbol(abi::Call* frame) { \
    return call(#symbol, cell, direction<float>, direction<double>, *frame);            \
  }

HANDLER(rj_lstm_forward, lstm, forward)
HANDLER(rj_lstm_backward, lstm, backward)
HANDLER(rj_gru_forward, gru, forward)
HANDLER(rj_gru_backward, gru, backward)
HANDLER(rj_elman_forward, elman, forward)
HANDLER(rj_elman_backward, elman, backward)

extern "C" {
__attribute__((visibility("default"))) int rj_version() { return 2; }

__attribute__((visibility("default"))) int rj_ffi_version() {
  return 1000 * abi::major_version + abi::minor_version;
}

__attribute__((visibility("default"))) const char* rj_isa() { return isa_name(); }

__attribute__((visibility("default"))) const char* rj_set_isa(const char* name) {
  return set_isa(name);
}
}

}  // namespace recurrent
