// Prepares and makes calls through libffi.
#include "core/plugin/c_function.hpp"

#include <quiver/error.hpp>

#include <algorithm>
#include <limits>

namespace quiver {
namespace {

static_assert(sizeof(std::size_t) == sizeof(std::uint64_t), "CType::size is passed as 64 bits");

/// Room for a result. libffi widens integers narrower than a register to ffi_arg.
union Result {
  ffi_arg widened;
  std::uint64_t u64;
};

ffi_type* ffi_type_of(CType type) {
  switch (type) {
    case CType::f32: return &ffi_type_float;
    case CType::f64: return &ffi_type_double;
    case CType::i32: return &ffi_type_sint32;
    case CType::u32: return &ffi_type_uint32;
    case CType::i64: return &ffi_type_sint64;
    case CType::u64:
    case CType::size: return &ffi_type_uint64;
  }
  return &ffi_type_void;
}

ffi_type* ffi_type_of(const CSamplerSpec& spec, const CArgument& argument) {
  switch (argument.kind) {
    case CArgumentKind::logits:
    case CArgumentKind::ids:
    case CArgumentKind::history:
    case CArgumentKind::state: return &ffi_type_pointer;
    case CArgumentKind::count:
    case CArgumentKind::history_length:
    case CArgumentKind::prompt_length: return ffi_type_of(CType::size);
    case CArgumentKind::random: return &ffi_type_double;
    case CArgumentKind::vocabulary_size: return &ffi_type_sint32;
    case CArgumentKind::position: return &ffi_type_uint64;
    case CArgumentKind::parameter: return ffi_type_of(spec.parameters[argument.parameter].type);
  }
  return &ffi_type_void;
}

std::int64_t integral(const Result& result, CType type) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::int64_t>::max();
  switch (type) {
    case CType::i32: return static_cast<std::int32_t>(result.widened);
    case CType::u32: return static_cast<std::uint32_t>(result.widened);
    case CType::i64: return static_cast<std::int64_t>(result.u64);
    default: return static_cast<std::int64_t>(std::min(result.u64, kMost));
  }
}

}  // namespace

CSlot c_slot(CType type, double value) {
  CSlot slot{};
  switch (type) {
    case CType::f32: slot.f32 = static_cast<float>(value); break;
    case CType::f64: slot.f64 = value; break;
    case CType::i32: slot.i32 = static_cast<std::int32_t>(value); break;
    case CType::u32: slot.u32 = static_cast<std::uint32_t>(value); break;
    case CType::i64: slot.i64 = static_cast<std::int64_t>(value); break;
    case CType::u64: slot.u64 = static_cast<std::uint64_t>(value); break;
    case CType::size: slot.size = static_cast<std::size_t>(value); break;
  }
  return slot;
}

CFunction::CFunction(const CSamplerSpec& spec, void* address)
    : address_(reinterpret_cast<void (*)()>(address)),
      has_result_(spec.result != CResultKind::none),
      result_type_(spec.result_type) {
  for (const CArgument& argument : spec.arguments) types_.push_back(ffi_type_of(spec, argument));
  ffi_type* result = has_result_ ? ffi_type_of(result_type_) : &ffi_type_void;
  if (ffi_prep_cif(&cif_, FFI_DEFAULT_ABI, static_cast<unsigned>(types_.size()), result,
                   types_.data()) != FFI_OK) {
    throw Error(ErrorCode::plugin, "the signature cannot be called", spec.symbol,
                "correct the manifest");
  }
}

std::int64_t CFunction::call(const CArgumentBlock& arguments) const {
  std::array<void*, kMaxManifestArguments> values{};
  for (std::size_t i = 0; i < types_.size(); ++i) values[i] = const_cast<CSlot*>(&arguments[i]);
  Result result{.widened = 0};
  result.u64 = 0;
  // A prepared cif is only read; libffi's parameter merely lacks the const.
  ffi_call(const_cast<ffi_cif*>(&cif_), address_, &result, values.data());
  return has_result_ ? integral(result, result_type_) : 0;
}

}  // namespace quiver
