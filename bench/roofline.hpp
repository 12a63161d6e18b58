// What this machine can do at most, measured in the same run as the kernels that are compared with
// it.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace quiver::bench {

/// Best of nine timings of `body`, in seconds: other work on the machine only ever slows one down.
template <class Body>
double best_seconds(const Body& body) {
  double best = 1e30;
  for (int repetition = 0; repetition < 9; ++repetition) {
    const auto start = std::chrono::steady_clock::now();
    body();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    best = std::min(best, elapsed.count());
  }
  return best;
}

namespace detail {

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

}  // namespace detail

/// Multiply-adds of one thread as floating-point operations per second, with the registers that a
/// kernel table of that name uses: "avx512" or "avx2"; plain C++ for any other.
inline double peak_flops(std::string_view table) {
  double (*run)() = detail::scalar_flops;
#if defined(__x86_64__)
  if (table == "avx2") run = detail::avx2_flops;
  if (table == "avx512") run = detail::avx512_flops;
#else
  static_cast<void>(table);
#endif
  double operations = 0;
  const double seconds = best_seconds([&] { operations = run(); });
  return operations / seconds;
}

/// Bytes a second that one thread reads from memory: 256 MiB, more than any cache here holds.
inline double peak_read_bytes() {
  constexpr std::size_t kWords = (std::size_t{256} << 20U) / sizeof(std::uint64_t);
  const std::vector<std::uint64_t> words(kWords, 0x0123456789abcdefU);
  std::uint64_t sum = 0;
  const double seconds = best_seconds([&] {
    std::uint64_t parts[16] = {};
    for (std::size_t i = 0; i < kWords; i += 16) {
      for (std::size_t lane = 0; lane < 16; ++lane) parts[lane] ^= words[i + lane];
    }
    for (const std::uint64_t part : parts) sum ^= part;
    __asm__ volatile("" : "+r"(sum));
  });
  return static_cast<double>(kWords * sizeof(std::uint64_t)) / seconds;
}

}  // namespace quiver::bench
