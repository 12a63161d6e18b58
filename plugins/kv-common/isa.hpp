// Which of the kernels that a plugin was built with this machine runs.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace quiver::kv {

/// Instruction sets that page loops are built for, each including those before it.
enum class Isa : std::uint8_t { generic, avx2, avx512, avx512vnni };

/// The widest that the processor and the operating system support. [any-thread]
inline Isa widest_isa() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Isa::generic;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) {
    return Isa::avx2;
  }
  return __builtin_cpu_supports("avx512vnni") ? Isa::avx512vnni : Isa::avx512;
#else
  return Isa::generic;
#endif
}

/// The instruction set to use: the widest, or a lower one that QUIVER_ISA names. Names that are
/// unknown here are left to the host, which refuses those that mean nothing. [any-thread]
inline Isa chosen_isa() {
  const Isa widest = widest_isa();
  const char* wanted = std::getenv("QUIVER_ISA");
  if (wanted == nullptr) return widest;
  const std::string_view name = wanted;
  Isa asked = widest;
  if (name == "generic") asked = Isa::generic;
  if (name == "avx2" || name == "avx2vnni") asked = Isa::avx2;
  if (name == "avx512") asked = Isa::avx512;
  return asked < widest ? asked : widest;
}

}  // namespace quiver::kv
