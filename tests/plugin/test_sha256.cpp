// SHA-256 against the vectors of FIPS 180-4.
#include "core/plugin/sha256.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace quiver {
namespace {

TEST(Sha256, GivesTheStandardsExamples) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, OfASourceIsThatOfItsBytesWhateverTheBlocks) {
  // A million times "a" is the standard's long example, and four blocks of ours.
  const std::string text(1'000'000, 'a');
  const MemoryBytes source(std::as_bytes(std::span(text)));
  EXPECT_EQ(sha256_hex(source), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

}  // namespace
}  // namespace quiver
