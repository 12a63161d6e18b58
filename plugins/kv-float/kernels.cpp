// The loops over pages of floating point numbers; built once for each instruction set.
#include "kernels.hpp"

#include "kv-common/halves.hpp"
#include "kv-common/loops.hpp"

namespace quiver::kv_float {
namespace {

using kv::kParts;
using kv::kTokens;
using kv::kUnit;
using kv::Vec;

struct F32 {
  using Stored = float;
  static constexpr std::size_t kUnitBytes = sizeof(Stored) * kUnit;
  QUIVER_KV_INLINE void unit(const std::byte* from, Vec (&out)[kParts]) const {
    const auto* stored = reinterpret_cast<const Stored*>(from);
#pragma GCC unroll 8
    for (int p = 0; p < kParts; ++p) out[p] = kv::load(stored + p * kv::kLanes);
  }
  QUIVER_KV_INLINE static Stored round(float value) {
    return value;
  }
};

struct F16 {
  using Stored = std::uint16_t;
  static constexpr std::size_t kUnitBytes = sizeof(Stored) * kUnit;
  QUIVER_KV_INLINE void unit(const std::byte* from, Vec (&out)[kParts]) const {
    const auto* stored = reinterpret_cast<const Stored*>(from);
#pragma GCC unroll 8
    for (int p = 0; p < kParts; ++p) out[p] = kv::from_f16(stored + p * kv::kLanes);
  }
  QUIVER_KV_INLINE static Stored round(float value) {
    return kv::to_f16(value);
  }
};

struct Bf16 {
  using Stored = std::uint16_t;
  static constexpr std::size_t kUnitBytes = sizeof(Stored) * kUnit;
  QUIVER_KV_INLINE void unit(const std::byte* from, Vec (&out)[kParts]) const {
    const auto* stored = reinterpret_cast<const Stored*>(from);
#pragma GCC unroll 8
    for (int p = 0; p < kParts; ++p) out[p] = kv::from_bf16(stored + p * kv::kLanes);
  }
  QUIVER_KV_INLINE static Stored round(float value) {
    return kv::to_bf16(value);
  }
};

const std::byte* head_keys(Element element, const KvShape& shape, const std::byte* page, int head) {
  return page + key_bytes(element, shape) * static_cast<std::size_t>(head);
}

const std::byte* head_values(Element element, const KvShape& shape, const std::byte* page,
                             int head) {
  return page + key_bytes(element, shape) * static_cast<std::size_t>(shape.kv_heads) +
         value_bytes(element, shape) * static_cast<std::size_t>(head);
}

template <class Type>
void write_page(Element element, const KvShape& shape, std::byte* page, int slot, const float* keys,
                const float* values) {
  using Stored = typename Type::Stored;
  const auto dims = static_cast<std::size_t>(shape.head_dim);
  const std::size_t row = row_numbers(shape);
  const auto token = static_cast<std::size_t>(slot);
  for (int head = 0; head < shape.kv_heads; ++head) {
    auto* to_keys =
        reinterpret_cast<Stored*>(const_cast<std::byte*>(head_keys(element, shape, page, head)));
    auto* to_values =
        reinterpret_cast<Stored*>(const_cast<std::byte*>(head_values(element, shape, page, head)));
    to_keys += token / kUnit * dims * kUnit + token % kUnit;
    to_values += token * row;
    for (std::size_t d = 0; d < dims; ++d) {
      to_keys[d * kUnit] = Type::round(keys[d]);
      to_values[d] = Type::round(values[d]);
    }
    for (std::size_t d = dims; d < row; ++d) to_values[d] = Stored{};
    keys += dims;
    values += dims;
  }
}

template <class Type>
kv::HeadValues values_of(Element element, const kv::Slots& slots, const kv::PageSlots& page) {
  return {head_values(element, slots.shape, page.page, slots.kv_head),
          row_numbers(slots.shape) * sizeof(typename Type::Stored), page.first, page.last};
}

/// The keys of a page that is read next, if any is.
kv::ReadNext keys_next(Element element, const kv::Slots& slots, const std::byte* page) {
  if (page == nullptr) return {};
  return {
      {}, head_keys(element, slots.shape, page, slots.kv_head), key_bytes(element, slots.shape)};
}

template <class Type>
void score_pages(Element element, const kv::ScoresCall& call) {
  const kv::Slots& slots = call.slots;
  const auto dims = static_cast<std::size_t>(slots.shape.head_dim);
  kv::ReadNext values;
  kv::for_pages(slots, [&](const kv::PageSlots& page, const kv::PageSlots& following) {
    if (values.values.values == nullptr) values.values = values_of<Type>(element, slots, page);
    const kv::HeadKeys head{head_keys(element, slots.shape, page.page, slots.kv_head),
                            dims * Type::kUnitBytes,
                            dims,
                            page.first,
                            page.last,
                            nullptr,
                            slots.stride};
    kv::score_head(Type{}, head, call.queries, call.query_count, call.scores + page.at,
                   following.page == nullptr ? values : keys_next(element, slots, following.page));
  });
}

template <class Type>
void accumulate_pages(Element element, const kv::AccumulateCall& call) {
  const kv::Slots& slots = call.slots;
  const auto dims = static_cast<std::size_t>(slots.shape.head_dim);
  kv::for_pages(slots, [&](const kv::PageSlots& page, const kv::PageSlots& following) {
    const kv::HeadValues head = values_of<Type>(element, slots, page);
    const kv::ReadNext next = following.page == nullptr
                                  ? keys_next(element, slots, call.next)
                                  : kv::ReadNext{values_of<Type>(element, slots, following)};
    kv::PartAhead part = next.part();
    kv::for_passes(call.query_count, [&](auto pass, int query) {
      const kv::Weights weights{call.weights + query * slots.stride + page.at, slots.stride};
      kv::add_dims<decltype(pass)::value>(Type{}, head, dims, weights,
                                          call.output + static_cast<std::size_t>(query) * dims,
                                          query == 0, next, part);
    });
    part.take_rest();
  });
}

void write(Element element, const KvShape& shape, std::byte* page, int slot, const float* keys,
           const float* values) {
  switch (element) {
    case Element::f32: return write_page<F32>(element, shape, page, slot, keys, values);
    case Element::f16: return write_page<F16>(element, shape, page, slot, keys, values);
    case Element::bf16: return write_page<Bf16>(element, shape, page, slot, keys, values);
  }
}

void scores(Element element, const kv::ScoresCall& call) {
  switch (element) {
    case Element::f32: return score_pages<F32>(element, call);
    case Element::f16: return score_pages<F16>(element, call);
    case Element::bf16: return score_pages<Bf16>(element, call);
  }
}

void accumulate(Element element, const kv::AccumulateCall& call) {
  switch (element) {
    case Element::f32: return accumulate_pages<F32>(element, call);
    case Element::f16: return accumulate_pages<F16>(element, call);
    case Element::bf16: return accumulate_pages<Bf16>(element, call);
  }
}

}  // namespace

const Kernels QUIVER_KV_TABLE = {write, scores, accumulate};

}  // namespace quiver::kv_float
