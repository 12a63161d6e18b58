// Pictures of a prompt.
#pragma once

#include "core/decode/engine.hpp"
#include "host/cli/arguments.hpp"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <memory>
#include <string>
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

/// Reads pictures and runs the model's tower over them; where they stand in a text is left open.
/// Throws Error(usage) where the model does not look at pictures or this program was built without
/// them, and Error(bad_input) for what is no picture.
std::vector<PromptImage> look_at_pictures(const std::vector<std::string>& files, Engine& engine);

/// Puts what look_at_pictures() gave into a text: the n-th picture at the n-th image token. Throws
/// Error(usage) where their numbers differ.
std::shared_ptr<const PromptImages> place_pictures(const std::vector<PromptImage>& pictures,
                                                   const Engine& engine,
                                                   std::vector<std::int32_t>& text);

/// What a message holds: its text, behind so many pictures.
nlohmann::ordered_json message_content(std::size_t pictures, const std::string& text);

/// Reads the pictures of --image, puts them into the prompt, and runs the model's tower over them;
/// nullptr where there are none. Throws Error(usage) where the model does not look at pictures or
/// this program was built without them, and Error(bad_input) for what is no picture.
std::shared_ptr<const PromptImages> read_prompt_pictures(const Arguments& arguments, Engine& engine,
                                                         std::vector<std::int32_t>& prompt);

}  // namespace quiver::cli
