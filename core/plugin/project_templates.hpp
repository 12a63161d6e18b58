// The files that `plugins new` writes, as they lie in core/plugin/templates.
#pragma once

#include <span>
#include <string_view>

namespace quiver {

/// A text with fields such as @NAME@.
struct ProjectTemplate {
  std::string_view name;  ///< Path below the folder of templates, e.g. "cpp/sampler.cpp".
  std::string_view text;
};

/// All of them; embedded by CMake. [any-thread]
std::span<const ProjectTemplate> project_templates() noexcept;

}  // namespace quiver
