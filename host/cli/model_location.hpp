// Where the model that a user named lies.
#pragma once

#include <filesystem>
#include <string>

namespace quiver::cli {

/// MODEL as a path: itself where it exists, else, for owner/name, the newest snapshot of the local
/// Hugging Face cache (HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub). A file is
/// given back as it is. Throws Error(bad_input) where there is nothing. [any-thread]
std::filesystem::path find_model(const std::string& model);

/// The same for commands that need the weights: always a folder.
std::filesystem::path find_model_folder(const std::string& model);

/// Whether a path is a folder with a model's weights, beside its config. [any-thread]
bool has_weights(const std::filesystem::path& path);

/// Folder of the local Hugging Face cache; empty where the user has no home. [any-thread]
std::filesystem::path hub_cache();

}  // namespace quiver::cli
