// Which checks there are for a plugin, and what each of them works on.
#pragma once

#include "core/plugin/plugin_entry.hpp"
#include "core/plugin/plugin_library.hpp"

#include <filesystem>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace quiver {

/// Thrown by a check that fails; the text says what was seen.
struct CheckFailed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Thrown by a check that cannot run here; the text says why.
struct CheckSkipped : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Fails the running check with `otherwise` unless `holds`.
inline void require(bool holds, const std::string& otherwise) {
  if (!holds) throw CheckFailed(otherwise);
}

/// The plugin under test.
struct CheckSubject {
  std::filesystem::path file;
  std::filesystem::path config;  ///< For architectures; may be empty.
  PluginOrigin origin = PluginOrigin::elf;
  PluginDescriptor descriptor;
  Refusal refusal;  ///< Why the descriptor or manifest does not hold, if so.
  std::vector<std::filesystem::path> files;  ///< As in PluginEntry.

  /// Loads and initializes it as the host does. Throws Error(plugin).
  std::shared_ptr<PluginLibrary> load() const;
};

/// Describes the plugin at `file` without running any of it. Never throws for a bad file.
CheckSubject check_subject(const std::filesystem::path& file, const std::filesystem::path& config);

/// One named test. Returns a detail for people, often empty; throws CheckFailed or CheckSkipped.
/// Any other exception fails it as well.
struct Check {
  std::string name;
  std::function<std::string(const CheckSubject&)> run;
};

/// Every check that applies, in the order in which they are reported.
std::vector<Check> plan_checks(const CheckSubject& subject);

// The parts of the plan, one a file.
void add_general_checks(const CheckSubject& subject, std::vector<Check>& plan);
void add_architecture_checks(const PluginOffer& offer, std::vector<Check>& plan);
void add_sampler_checks(const PluginOffer& offer, std::vector<Check>& plan);
void add_canvas_checks(const PluginOffer& offer, std::vector<Check>& plan);
void add_quant_checks(const PluginOffer& offer, std::vector<Check>& plan);
void add_quant_encoder_checks(const PluginOffer& offer, std::vector<Check>& plan);
void add_kv_checks(const PluginOffer& offer, std::vector<Check>& plan);

// What each kind does when all of a plugin is to be exercised: makes the offer with its default
// options and works with it a little.
void exercise_architecture(const PluginLibrary& library, const PluginOffer& offer);
void exercise_sampler(const PluginLibrary& library, const PluginOffer& offer);
void exercise_canvas(const PluginLibrary& library, const PluginOffer& offer);
void exercise_quant(const PluginLibrary& library, const PluginOffer& offer);
void exercise_kv(const PluginLibrary& library, const PluginOffer& offer);

}  // namespace quiver
