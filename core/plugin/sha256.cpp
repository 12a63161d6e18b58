// SHA-256, by OpenSSL.
#include "core/plugin/sha256.hpp"

#include <quiver/error.hpp>

#include <openssl/evp.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace quiver {
namespace {

void require(int result) {
  if (result != 1) throw Error(ErrorCode::internal, "SHA-256 is not available in libcrypto");
}

}  // namespace

struct Sha256::Context {
  struct Free {
    void operator()(EVP_MD_CTX* digest) const { EVP_MD_CTX_free(digest); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> digest{EVP_MD_CTX_new()};
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  if (context_->digest == nullptr) throw std::bad_alloc();
  require(EVP_DigestInit_ex(context_->digest.get(), EVP_sha256(), nullptr));
}

Sha256::~Sha256() = default;

void Sha256::add(std::span<const std::byte> bytes) {
  require(EVP_DigestUpdate(context_->digest.get(), bytes.data(), bytes.size()));
}

std::string Sha256::finish() {
  constexpr char kDigits[] = "0123456789abcdef";
  unsigned char sum[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  require(EVP_DigestFinal_ex(context_->digest.get(), sum, &size));
  std::string text;
  text.reserve(std::size_t{2} * size);
  for (unsigned i = 0; i < size; ++i) {
    text += kDigits[sum[i] >> 4U];
    text += kDigits[sum[i] & 15U];
  }
  return text;
}

std::string sha256_hex(std::string_view text) {
  Sha256 sum;
  sum.add(std::as_bytes(std::span(text)));
  return sum.finish();
}

std::string sha256_hex(const ByteSource& source) {
  Sha256 sum;
  std::vector<std::byte> block(std::size_t{1} << 18U);
  for (std::uint64_t offset = 0; offset < source.size(); offset += block.size()) {
    const auto part =
        std::span(block).first(std::min<std::uint64_t>(block.size(), source.size() - offset));
    if (!source.read(offset, part)) {
      throw Error(ErrorCode::bad_input, "a file cannot be read to its end");
    }
    sum.add(part);
  }
  return sum.finish();
}

}  // namespace quiver
