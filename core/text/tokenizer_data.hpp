// What a Tokenizer shares with its copies and with the classes built on it. Private to core/text.
#pragma once

#include <memory>
#include <mutex>

#include "core/text/decode_plan.hpp"
#include "core/text/quiver_text.h"
#include "core/text/tokenizer.hpp"

namespace quiver::text {

struct Tokenizer::Data {
  struct Free {
    void operator()(qt_tokenizer* tokenizer) const noexcept { qt_tokenizer_free(tokenizer); }
    void operator()(qt_vocabulary* vocabulary) const noexcept { qt_vocabulary_free(vocabulary); }
  };

  std::unique_ptr<qt_tokenizer, Free> handle;
  DecodePlan plan;
  TokenizerConfig config;

  /// The tokens as grammars need them. Takes time and memory, so it is made for the first grammar.
  /// [any-thread]
  const qt_vocabulary* vocabulary() const;

 private:
  mutable std::once_flag once_;
  mutable std::unique_ptr<qt_vocabulary, Free> vocabulary_;
};

}  // namespace quiver::text
