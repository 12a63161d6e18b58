// Opening of safetensors files and look-up of their tensors.
#include "core/tensor/safetensors.hpp"

#include "core/tensor/printable.hpp"
#include "core/tensor/safetensors_header.hpp"

#include <quiver/error.hpp>

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>
#include <utility>

namespace quiver {

namespace {

/// The header's length stands in front of it, as 8 little-endian bytes.
constexpr std::size_t kLengthBytes = 8;

std::string_view header_text(std::span<const std::byte> bytes, const std::string& where) {
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorCode::bad_input, what, where,
                "the file is damaged, incomplete or no safetensors file");
  };
  if (bytes.size() < kLengthBytes) {
    fail("the file has " + std::to_string(bytes.size()) + " bytes, too few for a header");
  }
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length > kMaxSafetensorsHeader) {
    fail("the header claims " + std::to_string(length) + " bytes, more than " +
         std::to_string(kMaxSafetensorsHeader));
  }
  const std::size_t available = bytes.size() - kLengthBytes;
  if (length > available) {
    fail("the header claims " + std::to_string(length) + " bytes where the file has " +
         std::to_string(available));
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes,
                              static_cast<std::size_t>(length));
  if (text.empty() || text.front() != '{') fail("the header does not begin with '{'");
  return text;
}

}  // namespace

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  SafetensorsFile file;
  file.label_ = printable(path.native(), 4096);
  file.mapping_ = MappedFile(path);
  file.read(file.mapping_.bytes());
  return file;
}

SafetensorsFile SafetensorsFile::from_bytes(std::span<const std::byte> bytes,
                                            const std::string& label) {
  SafetensorsFile file;
  file.label_ = printable(label, 4096);
  file.read(bytes);
  return file;
}

void SafetensorsFile::read(std::span<const std::byte> bytes) {
  const std::string_view text = header_text(bytes, label_);
  const std::span<const std::byte> data = bytes.subspan(kLengthBytes + text.size());
  SafetensorsHeader header = parse_safetensors_header(text, data.size(), label_);
  metadata_ = std::move(header.metadata);
  names_.reserve(header.entries.size());
  tensors_.reserve(header.entries.size());
  for (SafetensorsEntry& entry : header.entries) {
    names_.push_back(std::move(entry.tensor.name));
    tensors_.push_back({names_.back(), entry.tensor.dtype, std::move(entry.tensor.shape),
                        data.subspan(static_cast<std::size_t>(entry.begin),
                                     static_cast<std::size_t>(entry.end - entry.begin))});
  }
  const auto name_of = [this](std::uint32_t i) { return tensors_[i].name; };
  by_name_.resize(tensors_.size());
  std::iota(by_name_.begin(), by_name_.end(), 0U);
  std::ranges::sort(by_name_, {}, name_of);
  const auto twice = std::ranges::adjacent_find(by_name_, {}, name_of);
  if (twice != by_name_.end()) {
    throw Error(ErrorCode::bad_input,
                "the header gives tensor " + in_quotes(name_of(*twice)) + " twice", label_,
                "write the file again");
  }
}

const TensorView* SafetensorsFile::find(std::string_view name) const noexcept {
  const auto name_of = [this](std::uint32_t i) { return tensors_[i].name; };
  const auto found = std::ranges::lower_bound(by_name_, name, {}, name_of);
  if (found == by_name_.end() || name_of(*found) != name) return nullptr;
  return &tensors_[*found];
}

const TensorView& SafetensorsFile::at(std::string_view name) const {
  const TensorView* tensor = find(name);
  if (tensor == nullptr) {
    throw Error(ErrorCode::bad_input, "there is no tensor " + in_quotes(name), label_);
  }
  return *tensor;
}

void SafetensorsFile::release(const TensorView& tensor) const noexcept {
  const std::span<const std::byte> all = mapping_.bytes();
  const std::byte* begin = tensor.data.data();
  // Compared as std::less does, because the view may point into another file.
  const std::less<const std::byte*> before;
  if (all.empty() || before(begin, all.data()) || !before(begin, all.data() + all.size())) return;
  mapping_.release(static_cast<std::size_t>(begin - all.data()), tensor.data.size());
}

}  // namespace quiver
