// Writes the project of a new plugin, which builds out of tree and passes `plugins check`.
#pragma once

#include "core/plugin/plugin_descriptor.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace quiver {

enum class ProjectLanguage { cpp, c };

struct NewProject {
  OfferKind kind = OfferKind::sampler;
  std::string name;  ///< Of the plugin and of what it offers.
  ProjectLanguage language = ProjectLanguage::cpp;
};

/// Writes the files of a project into `folder`, which is made where it does not exist; gives their
/// paths. Throws Error(usage) for a name that cannot be used, a language that the kind cannot be
/// written in, or a folder that holds anything; Error(resources) where writing fails. [any-thread]
std::vector<std::filesystem::path> write_new_project(const std::filesystem::path& folder,
                                                     const NewProject& project);

}  // namespace quiver
