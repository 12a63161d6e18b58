// Bytes that are read at offsets: of a file, or of memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace quiver {

/// Something of a known size that can be read anywhere. [any-thread]
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual std::uint64_t size() const = 0;

  /// Fills `bytes` from `offset` on; false where not all of them exist or can be read.
  virtual bool read(std::uint64_t offset, std::span<std::byte> bytes) const = 0;
};

class MemoryBytes final : public ByteSource {
 public:
  explicit MemoryBytes(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::uint64_t size() const override { return bytes_.size(); }

  bool read(std::uint64_t offset, std::span<std::byte> bytes) const override {
    if (offset > bytes_.size() || bytes.size() > bytes_.size() - offset) return false;
    if (!bytes.empty()) std::memcpy(bytes.data(), bytes_.data() + offset, bytes.size());
    return true;
  }

 private:
  std::span<const std::byte> bytes_;
};

/// An open file. Plain reads rather than a mapping: a file that shrinks meanwhile is an error here,
/// not a SIGBUS.
class FileBytes final : public ByteSource {
 public:
  /// `descriptor` must stay open and is not closed.
  FileBytes(int descriptor, std::uint64_t size) : descriptor_(descriptor), size_(size) {}

  std::uint64_t size() const override { return size_; }
  bool read(std::uint64_t offset, std::span<std::byte> bytes) const override;

 private:
  int descriptor_;
  std::uint64_t size_;
};

}  // namespace quiver
