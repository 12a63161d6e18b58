// The loops over pages of affine codes, a table for each instruction set.
#pragma once

#include "kv-common/pages.hpp"
#include "layout.hpp"

namespace quiver::kv_affine {

/// The loops of one instruction set. Pages are the same in all of them. [any-thread]
struct Kernels {
  /// See KvStrategy; keys and values have kv_heads * head_dim elements.
  void (*write)(const Format& format, const KvShape& shape, std::byte* page, int slot,
                const float* keys, const float* values);
  /// Queries are rounded to 16 bits by group, whose products with the codes are summed without
  /// error; groups are added in order.
  void (*scores)(const Format& format, const kv::ScoresCall& call);
  /// Weights, with the scales folded in, are rounded to 16 bits by page and group, like queries;
  /// what the middle of each group's range adds is summed apart.
  void (*accumulate)(const Format& format, const kv::AccumulateCall& call);
};

extern const Kernels generic_kernels;
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
extern const Kernels avx512vnni_kernels;

}  // namespace quiver::kv_affine
