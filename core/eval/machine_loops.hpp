// Loops that only read memory, or only multiply and add: what no kernel of this machine can exceed.
// Each counts for one thread; several threads run one each.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#define QUIVER_LOOP_TARGET(isa) __attribute__((target(isa)))
#else
#define QUIVER_LOOP_TARGET(isa)
#endif

namespace quiver {

/// Reads a buffer and returns something that depends on every byte of it.
using ReadLoop = std::uint64_t (*)(std::span<const std::byte> bytes);

/// Computes for some milliseconds and returns its operations, two for each multiply-add.
using ArithmeticLoop = double (*)();

struct ReadLimit {
  const char* name;
  ReadLoop loop;
};

struct ArithmeticLimit {
  const char* name;
  ArithmeticLoop loop;
};

namespace machine_loops {

constexpr int kRounds = 2'000'000;

// Chains that do not wait for one another, enough to hide the latency of a multiply-add (4 or 5
// cycles on two ports, so at least 10), kept in registers by the empty assembly.

inline double scalar_flops() {
  float chains[12];
  for (int i = 0; i < 12; ++i) chains[i] = 1.0F + static_cast<float>(i);
  for (int round = 0; round < kRounds; ++round) {
    for (float& chain : chains) chain = chain * 0.999999F + 1e-6F;
    __asm__ volatile("" : : "r"(chains) : "memory");
  }
  return 2.0 * 12 * kRounds;
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) inline double avx2_flops() {
  const __m256 factor = _mm256_set1_ps(0.999999F);
  const __m256 addend = _mm256_set1_ps(1e-6F);
  __m256 a = factor, b = factor, c = factor, d = factor, e = factor, f = factor;
  __m256 g = factor, h = factor, i = factor, j = factor, k = factor, l = factor;
  for (int round = 0; round < kRounds; ++round) {
    a = _mm256_fmadd_ps(a, factor, addend), b = _mm256_fmadd_ps(b, factor, addend);
    c = _mm256_fmadd_ps(c, factor, addend), d = _mm256_fmadd_ps(d, factor, addend);
    e = _mm256_fmadd_ps(e, factor, addend), f = _mm256_fmadd_ps(f, factor, addend);
    g = _mm256_fmadd_ps(g, factor, addend), h = _mm256_fmadd_ps(h, factor, addend);
    i = _mm256_fmadd_ps(i, factor, addend), j = _mm256_fmadd_ps(j, factor, addend);
    k = _mm256_fmadd_ps(k, factor, addend), l = _mm256_fmadd_ps(l, factor, addend);
    __asm__ volatile("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d), "+x"(e), "+x"(f));
    __asm__ volatile("" : "+x"(g), "+x"(h), "+x"(i), "+x"(j), "+x"(k), "+x"(l));
  }
  return 2.0 * 8 * 12 * kRounds;
}

__attribute__((target("avx512f"))) inline double avx512_flops() {
  const __m512 factor = _mm512_set1_ps(0.999999F);
  const __m512 addend = _mm512_set1_ps(1e-6F);
  __m512 a = factor, b = factor, c = factor, d = factor, e = factor, f = factor;
  __m512 g = factor, h = factor, i = factor, j = factor, k = factor, l = factor;
  for (int round = 0; round < kRounds; ++round) {
    a = _mm512_fmadd_ps(a, factor, addend), b = _mm512_fmadd_ps(b, factor, addend);
    c = _mm512_fmadd_ps(c, factor, addend), d = _mm512_fmadd_ps(d, factor, addend);
    e = _mm512_fmadd_ps(e, factor, addend), f = _mm512_fmadd_ps(f, factor, addend);
    g = _mm512_fmadd_ps(g, factor, addend), h = _mm512_fmadd_ps(h, factor, addend);
    i = _mm512_fmadd_ps(i, factor, addend), j = _mm512_fmadd_ps(j, factor, addend);
    k = _mm512_fmadd_ps(k, factor, addend), l = _mm512_fmadd_ps(l, factor, addend);
    __asm__ volatile("" : "+v"(a), "+v"(b), "+v"(c), "+v"(d), "+v"(e), "+v"(f));
    __asm__ volatile("" : "+v"(g), "+v"(h), "+v"(i), "+v"(j), "+v"(k), "+v"(l));
  }
  return 2.0 * 16 * 12 * kRounds;
}
#endif

typedef long long Words __attribute__((vector_size(32), may_alias));

/// `kStreams` places of the buffer, equally far apart, are read a cache line at a time in turn;
/// `kAhead` > 0 asks for the line that many bytes further on. Which of these is fastest differs
/// from machine to machine, so the limit is the best of several.
template <std::size_t kStreams, std::size_t kAhead>
QUIVER_LOOP_TARGET("avx2")
std::uint64_t read_streams(std::span<const std::byte> bytes) {
  constexpr std::size_t kLine = 64;
  constexpr std::size_t kLines = kStreams < 4 ? 4 / kStreams : 1;  // at least four lines a round
  constexpr std::size_t kSums = 2 * kLines * kStreams < 8 ? 2 * kLines * kStreams : 8;
  const std::size_t stream_bytes = bytes.size() / kStreams / (kLine * kLines) * (kLine * kLines);
  Words sums[kSums] = {};
  for (std::size_t at = 0; at < stream_bytes; at += kLine * kLines) {
#pragma GCC unroll 8
    for (std::size_t i = 0; i < kStreams * kLines; ++i) {
      const std::byte* line = bytes.data() + i / kLines * stream_bytes + at + i % kLines * kLine;
      if constexpr (kAhead > 0) __builtin_prefetch(line + kAhead);
      const auto* words = reinterpret_cast<const Words*>(line);
      sums[2 * i % kSums] ^= words[0];
      sums[(2 * i + 1) % kSums] ^= words[1];
    }
  }
  Words all = {};
  for (const Words& sum : sums) all ^= sum;
  return static_cast<std::uint64_t>(all[0] ^ all[1] ^ all[2] ^ all[3]);
}

#if defined(__x86_64__)
/// The same with one load for each line, where registers are as long: up to a tenth faster than two
/// (Emerald Rapids).
template <std::size_t kStreams, std::size_t kAhead>
QUIVER_LOOP_TARGET("avx512f")
std::uint64_t read_lines(std::span<const std::byte> bytes) {
  constexpr std::size_t kLine = 64;
  constexpr std::size_t kLines = kStreams < 4 ? 4 / kStreams : 1;
  constexpr std::size_t kRound = kStreams * kLines;
  const std::size_t stream_bytes = bytes.size() / kStreams / (kLine * kLines) * (kLine * kLines);
  __m512i sums[kRound] = {};
  for (std::size_t at = 0; at < stream_bytes; at += kLine * kLines) {
#pragma GCC unroll 8
    for (std::size_t i = 0; i < kRound; ++i) {
      const std::byte* line = bytes.data() + i / kLines * stream_bytes + at + i % kLines * kLine;
      if constexpr (kAhead > 0) __builtin_prefetch(line + kAhead);
      sums[i] = _mm512_xor_si512(sums[i], _mm512_loadu_si512(line));
    }
  }
  __m512i all = {};
#pragma GCC unroll 8
  for (const __m512i& sum : sums) all = _mm512_xor_si512(all, sum);
  std::uint64_t result = 0;
  for (int i = 0; i < 8; ++i) result ^= static_cast<std::uint64_t>(all[i]);
  return result;
}
#endif

/// The same in plain C++, for processors without those registers.
inline std::uint64_t read_words(std::span<const std::byte> bytes) {
  const auto* words = reinterpret_cast<const std::uint64_t*>(bytes.data());
  const std::size_t count = bytes.size() / sizeof(std::uint64_t) / 8 * 8;
  std::uint64_t sums[8] = {};
  for (std::size_t at = 0; at < count; at += 8) {
    for (std::size_t i = 0; i < 8; ++i) sums[i] ^= words[at + i];
  }
  std::uint64_t all = 0;
  for (const std::uint64_t sum : sums) all ^= sum;
  return all;
}

#if defined(__x86_64__)

// The empty assembly keeps the compiler from adding up equal terms before the loop runs.

/// Unsigned by signed bytes, widened to 32 bits at once: what 8-bit codes allow.
QUIVER_LOOP_TARGET("avx2") inline double avx2_dot8() {
  const __m256i codes = _mm256_set1_epi8(3);
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i activations = _mm256_set1_epi8(5);
  __m256i sums[8] = {};
  for (int round = 0; round < kRounds; ++round) {
#pragma GCC unroll 8
    for (__m256i& sum : sums) {
      __asm__ volatile("" : "+x"(activations));
      const __m256i products = _mm256_maddubs_epi16(codes, activations);
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(products, ones));
    }
  }
  for (__m256i& sum : sums) __asm__ volatile("" : : "x"(sum));
  return 2.0 * 32 * 8 * kRounds;
}

/// Eight products are added in 16 bits before they are widened: 8 * 2 * 15 * 127 = 30480 fits, so
/// 4-bit codes allow it.
QUIVER_LOOP_TARGET("avx2") inline double avx2_dot4() {
  const __m256i codes = _mm256_set1_epi8(3);
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i activations = _mm256_set1_epi8(5);
  __m256i sums[4] = {};
  for (int round = 0; round < kRounds / 4; ++round) {
#pragma GCC unroll 4
    for (__m256i& sum : sums) {
      __m256i products = _mm256_maddubs_epi16(codes, activations);
#pragma GCC unroll 7
      for (int i = 1; i < 8; ++i) {
        __asm__ volatile("" : "+x"(activations));
        products = _mm256_add_epi16(products, _mm256_maddubs_epi16(codes, activations));
      }
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(products, ones));
    }
  }
  for (__m256i& sum : sums) __asm__ volatile("" : : "x"(sum));
  return 2.0 * 32 * 8 * 4 * (kRounds / 4);
}

/// 16-bit activations: pairs of products added up in 32 bits.
QUIVER_LOOP_TARGET("avx2") inline double avx2_dot16() {
  const __m256i codes = _mm256_set1_epi16(3);
  __m256i activations = _mm256_set1_epi16(5);
  __m256i sums[8] = {};
  for (int round = 0; round < kRounds; ++round) {
#pragma GCC unroll 8
    for (__m256i& sum : sums) {
      __asm__ volatile("" : "+x"(activations));
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(codes, activations));
    }
  }
  for (__m256i& sum : sums) __asm__ volatile("" : : "x"(sum));
  return 2.0 * 16 * 8 * kRounds;
}

/// The two above in the long registers, for processors without VNNI.
QUIVER_LOOP_TARGET("avx512f,avx512bw") inline double avx512_dot4() {
  const __m512i codes = _mm512_set1_epi8(3);
  const __m512i ones = _mm512_set1_epi16(1);
  __m512i activations = _mm512_set1_epi8(5);
  __m512i sums[4] = {};
  for (int round = 0; round < kRounds / 4; ++round) {
#pragma GCC unroll 4
    for (__m512i& sum : sums) {
      __m512i products = _mm512_maddubs_epi16(codes, activations);
#pragma GCC unroll 7
      for (int i = 1; i < 8; ++i) {
        __asm__ volatile("" : "+v"(activations));
        products = _mm512_add_epi16(products, _mm512_maddubs_epi16(codes, activations));
      }
      sum = _mm512_add_epi32(sum, _mm512_madd_epi16(products, ones));
    }
  }
  for (__m512i& sum : sums) __asm__ volatile("" : : "v"(sum));
  return 2.0 * 64 * 8 * 4 * (kRounds / 4);
}

QUIVER_LOOP_TARGET("avx512f,avx512bw") inline double avx512_dot16() {
  const __m512i codes = _mm512_set1_epi16(3);
  __m512i activations = _mm512_set1_epi16(5);
  __m512i sums[8] = {};
  for (int round = 0; round < kRounds; ++round) {
#pragma GCC unroll 8
    for (__m512i& sum : sums) {
      __asm__ volatile("" : "+v"(activations));
      sum = _mm512_add_epi32(sum, _mm512_madd_epi16(codes, activations));
    }
  }
  for (__m512i& sum : sums) __asm__ volatile("" : : "v"(sum));
  return 2.0 * 32 * 8 * kRounds;
}

/// Both code widths: vpdpbusd multiplies, widens and adds at once.
QUIVER_LOOP_TARGET("avx512f,avx512bw,avx512vnni") inline double avx512vnni_dot() {
  const __m512i codes = _mm512_set1_epi8(3);
  __m512i activations = _mm512_set1_epi8(5);
  __m512i sums[12] = {};
  for (int round = 0; round < kRounds; ++round) {
#pragma GCC unroll 12
    for (__m512i& sum : sums) {
      __asm__ volatile("" : "+v"(activations));
      sum = _mm512_dpbusd_epi32(sum, codes, activations);
    }
  }
  for (__m512i& sum : sums) __asm__ volatile("" : : "v"(sum));
  return 2.0 * 64 * 12 * kRounds;
}

/// Not every compiler's __builtin_cpu_supports knows its name.
inline bool has_avx2vnni() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  const bool is_known = __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0;
  return is_known && (eax & 1U << 4U) != 0 && __builtin_cpu_supports("avx2");
}

/// The same in the short registers of processors without AVX-512.
QUIVER_LOOP_TARGET("avx2,avxvnni") inline double avx2vnni_dot() {
  const __m256i codes = _mm256_set1_epi8(3);
  __m256i activations = _mm256_set1_epi8(5);
  __m256i sums[12] = {};
  for (int round = 0; round < kRounds; ++round) {
#pragma GCC unroll 12
    for (__m256i& sum : sums) {
      __asm__ volatile("" : "+x"(activations));
      sum = _mm256_dpbusd_avx_epi32(sum, codes, activations);
    }
  }
  for (__m256i& sum : sums) __asm__ volatile("" : : "x"(sum));
  return 2.0 * 32 * 12 * kRounds;
}

#endif

}  // namespace machine_loops

/// Patterns of reading; the limit of the memory is the best of them. [any-thread]
inline std::vector<ReadLimit> read_limits() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2")) return {{"read plainly", machine_loops::read_words}};
#endif
  std::vector<ReadLimit> limits = {
      {"read 1 stream", machine_loops::read_streams<1, 0>},
      {"read 1 stream, 512 ahead", machine_loops::read_streams<1, 512>},
      {"read 4 streams", machine_loops::read_streams<4, 0>},
      {"read 4 streams, 512 ahead", machine_loops::read_streams<4, 512>},
      {"read 8 streams", machine_loops::read_streams<8, 0>},
      {"read 8 streams, 512 ahead", machine_loops::read_streams<8, 512>}};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) {
    limits.push_back({"read 1 stream by lines", machine_loops::read_lines<1, 0>});
    limits.push_back({"read 2 streams by lines", machine_loops::read_lines<2, 0>});
    limits.push_back({"read 4 streams by lines", machine_loops::read_lines<4, 0>});
    limits.push_back({"read 4 streams by lines, 512 ahead", machine_loops::read_lines<4, 512>});
    limits.push_back({"read 8 streams by lines", machine_loops::read_lines<8, 0>});
  }
#endif
  return limits;
}

/// Arithmetic that this processor can do, at least one. [any-thread]
inline std::vector<ArithmeticLimit> arithmetic_limits() {
#if defined(__x86_64__)
  std::vector<ArithmeticLimit> limits = {{"fma generic", machine_loops::scalar_flops}};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    limits.push_back({"fma avx2", machine_loops::avx2_flops});
    limits.push_back({"int8 dot avx2", machine_loops::avx2_dot8});
    limits.push_back({"int4 dot avx2", machine_loops::avx2_dot4});
    limits.push_back({"int16 dot avx2", machine_loops::avx2_dot16});
  }
  if (__builtin_cpu_supports("avx512f"))
    limits.push_back({"fma avx512", machine_loops::avx512_flops});
  if (__builtin_cpu_supports("avx512bw")) {
    limits.push_back({"int4 dot avx512", machine_loops::avx512_dot4});
    limits.push_back({"int16 dot avx512", machine_loops::avx512_dot16});
  }
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni")) {
    limits.push_back({"int8 or int4 dot avx512vnni", machine_loops::avx512vnni_dot});
  }
  if (machine_loops::has_avx2vnni()) {
    limits.push_back({"int8 or int4 dot avx2vnni", machine_loops::avx2vnni_dot});
  }
  return limits;
#else
  return {{"fma generic", machine_loops::scalar_flops}};
#endif
}

}  // namespace quiver
