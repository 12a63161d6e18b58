// Pictures of a prompt.
#pragma once

#include "core/decode/engine.hpp"
#include "host/cli/arguments.hpp"

#include <cstdint>
#include <memory>
#include <vector>

namespace quiver::cli {

inline constexpr OptionRow kImageOption{
    .name = "image",
    .value = "FILE",
    .help =
        "Picture for the model to look at: JPEG, PNG or WebP; again for more. Each takes the "
        "place of an image token, or stands in front of the text",
    .is_repeatable = true,
    .completes = Completes::file};

/// Reads the pictures of --image, puts them into the prompt, and runs the model's tower over them;
/// nullptr where there are none. Throws Error(usage) where the model does not look at pictures or
/// this program was built without them, and Error(bad_input) for what is no picture.
std::shared_ptr<const PromptImages> read_prompt_pictures(const Arguments& arguments, Engine& engine,
                                                         std::vector<std::int32_t>& prompt);

}  // namespace quiver::cli
