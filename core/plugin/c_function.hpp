// One function of a manifest, bound by libffi.
#pragma once

#include "core/plugin/c_sampler_manifest.hpp"

#include <ffi.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace quiver {

/// Room for one argument of any type.
union CSlot {
  float f32;
  double f64;
  std::int32_t i32;
  std::uint32_t u32;
  std::int64_t i64;
  std::uint64_t u64;
  std::size_t size;
  void* pointer;
};

/// The arguments of one call, in the order of CSamplerSpec::arguments.
using CArgumentBlock = std::array<CSlot, kMaxManifestArguments>;

/// `value` as an argument of type `type`.
CSlot c_slot(CType type, double value);

/// A function at a known address with the signature that its manifest states. Nothing can verify
/// that the function really has it. [any-thread]
class CFunction {
 public:
  /// Throws Error(plugin) where libffi refuses the signature.
  CFunction(const CSamplerSpec& spec, void* address);
  // The call interface points into `types_`.
  CFunction(const CFunction&) = delete;
  CFunction& operator=(const CFunction&) = delete;

  /// Calls it. Returns its integral result, saturated to 64 bits with a sign, or 0 where it has
  /// none. Exceptions of a function that is not C after all pass through.
  std::int64_t call(const CArgumentBlock& arguments) const;

 private:
  void (*address_)();
  bool has_result_;
  CType result_type_;
  std::vector<ffi_type*> types_;
  ffi_cif cif_{};
};

}  // namespace quiver
