// SHA-256, by OpenSSL.
#pragma once

#include "core/plugin/byte_source.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace quiver {

/// A sum that grows with what is added. FIPS 180-4. [one-call-at-a-time]
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void add(std::span<const std::byte> bytes);

  /// The sum of all that was added, as 64 hexadecimal digits. Ends the use of this object.
  std::string finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

/// The sum of a text. [any-thread]
std::string sha256_hex(std::string_view text);

/// The sum of a whole source; throws Error(bad_input) where it cannot be read. [any-thread]
std::string sha256_hex(const ByteSource& source);

}  // namespace quiver
