// Chooses the kernel table by what the processor and the operating system support.
#include "core/kernels/kernel_table.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <quiver/error.hpp>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace quiver {
namespace {

#if defined(__x86_64__)
struct CpuFeatures {
  bool is_intel = false;
  bool has_avx2 = false;
  bool has_avx2_vnni = false;
  bool has_avx512 = false;
  bool has_avx512_vnni = false;
};

/// cpuid says what the processor has; xgetbv says which registers the system saves on a task
/// switch. Both must agree before wide registers are safe to use.
CpuFeatures cpu_features() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  CpuFeatures features;
  __get_cpuid(0, &eax, &ebx, &ecx, &edx);
  features.is_intel = ebx == signature_INTEL_ebx;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0) return features;
  const bool has_osxsave = (ecx & bit_OSXSAVE) != 0;
  const bool has_fma = (ecx & bit_FMA) != 0 && (ecx & bit_F16C) != 0;
  if (!has_osxsave || !has_fma) return features;
  unsigned xcr0 = 0;
  unsigned xcr0_high = 0;
  __asm__("xgetbv" : "=a"(xcr0), "=d"(xcr0_high) : "c"(0));
  constexpr unsigned kYmm = 0x6;
  constexpr unsigned kZmm = 0xe6;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return features;
  features.has_avx2 = (ebx & bit_AVX2) != 0 && (xcr0 & kYmm) == kYmm;
  constexpr unsigned kAvx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
  features.has_avx512 = features.has_avx2 && (ebx & kAvx512) == kAvx512 && (xcr0 & kZmm) == kZmm;
  constexpr unsigned kAvx512Vnni = 1U << 11U;
  features.has_avx512_vnni = features.has_avx512 && (ecx & kAvx512Vnni) != 0;
  constexpr unsigned kAvxVnni = 1U << 4U;
  if (__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0) {
    features.has_avx2_vnni = features.has_avx2 && (eax & kAvxVnni) != 0;
  }
  return features;
}
#endif

std::vector<const KernelTable*> find_available() {
  std::vector<const KernelTable*> tables;
#if defined(__x86_64__)
  const CpuFeatures features = cpu_features();
  // One row from memory, reading ahead or not: 13.6 and 6.5 GB/s on Emerald Rapids; 30, of one
  // stripe, and 33 on Zen 4.
  const bool reads_ahead = features.is_intel;
  static const KernelTable avx2{"avx2",
                                &avx2_float_kernels(),
                                &avx2_packed_kernels(),
                                &avx2_element_kernels(),
                                &avx2_delta_rule_kernels(),
                                &avx2_image_kernels(),
                                &avx2_code_conv_kernels()};
  static const KernelTable avx2_vnni{"avx2vnni",
                                     &avx2_float_kernels(),
                                     &avx2vnni_packed_kernels(reads_ahead),
                                     &avx2_element_kernels(),
                                     &avx2_delta_rule_kernels(),
                                     &avx2_image_kernels(),
                                     &avx2vnni_code_conv_kernels()};
  static const KernelTable avx512{"avx512",
                                  &avx512_float_kernels(),
                                  &avx512_packed_kernels(reads_ahead),
                                  &avx512_element_kernels(),
                                  &avx512_delta_rule_kernels(),
                                  &avx512_image_kernels(),
                                  &avx512_code_conv_kernels()};
  static const KernelTable avx512_vnni{"avx512vnni",
                                       &avx512_float_kernels(),
                                       &avx512vnni_packed_kernels(reads_ahead),
                                       &avx512_element_kernels(),
                                       &avx512_delta_rule_kernels(),
                                       &avx512_image_kernels(),
                                       &avx512vnni_code_conv_kernels()};
  if (features.has_avx512_vnni) tables.push_back(&avx512_vnni);
  if (features.has_avx512) tables.push_back(&avx512);
  if (features.has_avx2_vnni) tables.push_back(&avx2_vnni);
  if (features.has_avx2) tables.push_back(&avx2);
#elif defined(__aarch64__)
  static const KernelTable neon{"neon",
                                &neon_float_kernels(),
                                &neon_packed_kernels(),
                                &generic_element_kernels(),
                                &neon_delta_rule_kernels(),
                                &generic_image_kernels(),
                                &generic_code_conv_kernels()};
  static const KernelTable neon_dot{"neondot",
                                    &neon_float_kernels(),
                                    &neondot_packed_kernels(),
                                    &generic_element_kernels(),
                                    &neon_delta_rule_kernels(),
                                    &generic_image_kernels(),
                                    &generic_code_conv_kernels()};
  if ((getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0) tables.push_back(&neon_dot);
  tables.push_back(&neon);
#endif
  static const KernelTable generic{"generic",
                                   &generic_float_kernels(),
                                   &generic_packed_kernels(),
                                   &generic_element_kernels(),
                                   &generic_delta_rule_kernels(),
                                   &generic_image_kernels(),
                                   &generic_code_conv_kernels()};
  tables.push_back(&generic);
  return tables;
}

std::string names_of_available() {
  std::string names;
  for (const KernelTable* table : available_kernels()) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", table->name);
  }
  return names;
}

const KernelTable& choose() {
  const char* wanted = std::getenv("QUIVER_ISA");
  if (wanted == nullptr || *wanted == '\0') return *available_kernels().front();
  for (const KernelTable* table : available_kernels()) {
    if (std::string_view(wanted) == table->name) return *table;
  }
  throw Error(ErrorCode::usage, fmt::format("this machine cannot run the kernels '{}'", wanted),
              "QUIVER_ISA", "choose one of " + names_of_available() + ", or unset it");
}

}  // namespace

std::span<const KernelTable* const> available_kernels() {
  static const std::vector<const KernelTable*> tables = find_available();
  return tables;
}

const KernelTable& kernels() {
  static const KernelTable& chosen = choose();
  return chosen;
}

std::string kernel_choice() {
  const bool is_forced = std::getenv("QUIVER_ISA") != nullptr;
  return fmt::format("{} ({}; this machine can run {})", kernels().name,
                     is_forced ? "forced by QUIVER_ISA" : "the widest available",
                     names_of_available());
}

}  // namespace quiver
