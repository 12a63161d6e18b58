// Pictures put into the tokens of a text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <quiver/image_encoder.hpp>
#include <string>
#include <vector>

#include "core/decode/engine.hpp"
#include "core/image/patches.hpp"
#include "core/image/picture.hpp"

namespace quiver {

/// How the model wants its pictures: what its family says, with the sizes, means and deviations of
/// the folder's preprocessor_config.json where it has one. Throws Error(usage) where the model does
/// not look at pictures, and Error(bad_input) for a malformed file. [any-thread]
ImageSpec image_spec(const LoadedModel& model);

/// A picture as the model's tower takes it: resized, cut, normalised. `where` names it in errors.
/// Throws Error(bad_input) for one whose sides are too far apart. [any-thread]
Patches prepare_picture(const Picture& picture, const ImageSpec& spec, const std::string& where);

/// A picture with its name for messages.
struct NamedPicture {
  Picture picture;
  std::string where;
};

/// Runs the tower over a picture; where it stands in a text is left open. Throws as
/// prepare_picture(). [one-call-at-a-time]
PromptImage encode_picture(Engine& engine, const ImageSpec& spec, const NamedPicture& picture);

/// Puts pictures into `tokens`, `hidden` values a token. The n-th run of image tokens is for the
/// n-th picture: one token, which becomes as many as the picture has squares of patches, or already
/// as many. Where there is none at all, the pictures go in front of the text, each between the
/// tokens that begin and end one. nullptr where there are no pictures. Throws Error(usage) where
/// the numbers do not fit. [any-thread]
std::shared_ptr<const PromptImages> place_pictures(const ImageSpec& spec,
                                                   std::vector<PromptImage> pictures, int hidden,
                                                   std::vector<std::int32_t>& tokens);

}  // namespace quiver
