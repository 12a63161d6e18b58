// Vectors of the instruction set that a file is built for, under one set of names.
//
// Sixteen numbers, a unit, are handled together: kParts vectors of kLanes. Everything lies in
// unnamed namespaces, because files built for different instruction sets must not share functions.
#pragma once

#include <quiver/kv_strategy.hpp>

#include <cstddef>
#include <cstdint>

#include "kv-common/codes.hpp"

#define QUIVER_KV_INLINE [[gnu::always_inline]] inline

#if defined(__AVX512F__)
#include "kv-common/vectors_avx512.hpp"
#elif defined(__AVX2__)
#include "kv-common/vectors_avx2.hpp"
#else
#include "kv-common/vectors_generic.hpp"
#endif

namespace quiver::kv {
namespace {

constexpr int kTokens = KvStrategy::kTokens;
constexpr int kUnit = 16;                 ///< Numbers that are handled together.
constexpr int kParts = kUnit / kLanes;    ///< Vectors that they fill.
constexpr int kBlocks = kTokens / kUnit;  ///< Units of tokens in a page.

// Loops over sums have "GCC unroll": arrays stay in registers only where every index is known
// before the compiler decides where they live.

/// Sums that a loop keeps in registers, and queries that share what it reads: enough sums to hide
/// the latency of an addition, and registers left for what is read.
constexpr int kSums = kLanes == 16 ? 16 : 8;
constexpr int kMostQueries = kLanes == 16 ? 8 : kLanes == 8 ? 4 : 2;

/// Units beside each other for a number of queries.
constexpr int units_beside(int queries) {
  const int units = kSums / (queries * kParts);
  return units < 1 ? 1 : units > kBlocks ? kBlocks : units;
}

/// How many of `left` queries the next pass takes: one of the numbers that loops exist for.
constexpr int queries_of_pass(int left) {
  if (left >= 8 && kMostQueries >= 8) return 8;
  const int most = kMostQueries < 4 ? kMostQueries : 4;
  return left < most ? left : most;
}

/// Sum of a unit, added up by halves: the same bits whatever the lanes.
QUIVER_KV_INLINE float total(const Vec (&unit)[kParts]) {
  Vec sums[kParts];
#pragma GCC unroll 8
  for (int p = 0; p < kParts; ++p) sums[p] = unit[p];
#pragma GCC unroll 8
  for (int half = kParts / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (int p = 0; p < half; ++p) sums[p] = add(sums[p], sums[p + half]);
  }
  return total(sums[0]);
}

/// A number that a template takes from an argument.
template <int kValue>
struct Number {
  static constexpr int value = kValue;
};

/// Calls body(Number<queries>, first query) until all queries had their pass.
template <class Body>
QUIVER_KV_INLINE void for_passes(int count, const Body& body) {
  for (int query = 0; query < count;) {
    const int pass = queries_of_pass(count - query);
    if (pass == 1) body(Number<1>{}, query);
    if (pass == 2) body(Number<2>{}, query);
    if constexpr (kMostQueries >= 4) {
      if (pass == 3) body(Number<3>{}, query);
      if (pass == 4) body(Number<4>{}, query);
    }
    if constexpr (kMostQueries >= 8) {
      if (pass == 8) body(Number<8>{}, query);
    }
    query += pass;
  }
}

}  // namespace
}  // namespace quiver::kv
