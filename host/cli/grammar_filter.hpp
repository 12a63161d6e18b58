// The options that hold a text to a grammar, and the filter that does it.
#pragma once

#include "core/decode/generator.hpp"
#include "host/cli/arguments.hpp"
#include "host/cli/text_engine.hpp"

#include <memory>

namespace quiver::cli {

inline constexpr OptionRow kGrammarOptions[] = {
    {.name = "json-schema",
     .value = "FILE",
     .help = "JSON that fits this JSON schema",
     .completes = Completes::file},
    {.name = "regex",
     .value = "PATTERN",
     .help = "Text that fits this regular expression as a whole"},
    {.name = "grammar",
     .value = "FILE",
     .help = "Text that fits this grammar, in Lark's notation",
     .completes = Completes::file},
};

/// Throws Error(usage) where more than one was given.
void check_grammar_options(const Arguments& arguments);

/// The filter for one text, or nullptr where none was asked for. `engine` outlives it. Throws
/// Error(bad_input) for a broken grammar.
std::unique_ptr<TokenFilter> make_grammar_filter(const Arguments& arguments,
                                                 const TextEngine& engine);

}  // namespace quiver::cli
