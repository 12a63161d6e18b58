// The options that say what a model reads.
#pragma once

#include "host/cli/arguments.hpp"
#include "host/cli/picture_prompt.hpp"
#include "host/cli/text_engine.hpp"

#include <cstdint>
#include <vector>

namespace quiver::cli {

inline constexpr OptionRow kPromptOptions[] = {
    {.name = "prompt", .value = "TEXT", .help = "Text to continue"},
    {.name = "chat",
     .value = "TEXT",
     .help = "Message to answer, put into the model's chat template"},
    {.name = "system", .value = "TEXT", .help = "System message in front of that of --chat"},
    {.name = "file",
     .value = "FILE",
     .help = "Text to continue, from a file; - is stdin",
     .completes = Completes::file},
    {.name = "ids", .value = "N,N,..", .help = "Token ids to continue"},
    kImageOption,
};

/// Throws Error(usage) unless the options ask for exactly one prompt.
void check_prompt_options(const Arguments& arguments);

/// The tokens of the prompt that was asked for. `engine` gives the tokenizer where it is text. With
/// --chat the template is shown the pictures of --image, in front of the message.
std::vector<std::int32_t> read_prompt(const Arguments& arguments, const TextEngine& engine);

}  // namespace quiver::cli
