// What a conversion has measured so far, kept on disk so that it can go on after an interruption.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "core/quantize/sensitivity.hpp"

namespace quiver {

/// A JSON file that is written anew, as a whole, with every result. Numbers survive to the bit.
/// A file without results is removed with the object: there is nothing to go on with.
/// [one-call-at-a-time]
class SweepCheckpoint {
 public:
  /// `settings` is everything that the results depend on. With `resumes` the file's results are
  /// taken over: Error(usage) naming what differs where it was written under other settings,
  /// Error(bad_input) where it is damaged; without a file there is nothing to take over. Without
  /// `resumes` an existing file is refused (Error(usage)) unless `replaces`.
  SweepCheckpoint(std::filesystem::path file, nlohmann::json settings, bool resumes, bool replaces);
  SweepCheckpoint(const SweepCheckpoint&) = delete;
  SweepCheckpoint& operator=(const SweepCheckpoint&) = delete;
  ~SweepCheckpoint();

  /// Where the checkpoint of a conversion into `folder` lies: beside it.
  static std::filesystem::path place(const std::filesystem::path& folder);

  /// What has been measured of a layer, or nullptr.
  const WidthDivergences* find(const std::string& layer) const;
  void add(const std::string& layer, const WidthDivergences& kl);

  /// The divergence of a whole allocation that has been measured, by any text that stands for it.
  std::optional<double> find_allocation(const std::string& key) const;
  void add_allocation(const std::string& key, double kl);

  /// Removes the file: the conversion is complete.
  void remove() noexcept;

 private:
  void read(const nlohmann::json& json);
  void save() const;

  std::filesystem::path file_;
  nlohmann::json settings_;
  std::map<std::string, WidthDivergences> layers_;
  std::map<std::string, double> allocations_;
};

}  // namespace quiver
