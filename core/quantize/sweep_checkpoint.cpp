// What a conversion has measured so far, kept on disk so that it can go on after an interruption.
#include "core/quantize/sweep_checkpoint.hpp"

#include <charconv>
#include <quiver/error.hpp>

#include "core/model/json_file.hpp"
#include "core/model/staging_folder.hpp"
#include "core/quantize/quantized_folder.hpp"
#include "core/tensor/printable.hpp"

namespace quiver {
namespace {

constexpr const char* kFormat = "quiver-sweep-1";
constexpr std::size_t kSizeLimit = std::size_t{256} << 20U;

Error damaged(const std::filesystem::path& file) {
  return Error(ErrorCode::bad_input, "the checkpoint of the conversion is damaged",
               printable(file.native(), 4096), "remove it and start again");
}

/// Names of the settings that differ, for people.
std::string differences(const nlohmann::json& a, const nlohmann::json& b) {
  std::string names;
  const auto add = [&](const std::string& name) { names += (names.empty() ? "" : ", ") + name; };
  for (const auto& [name, value] : a.items()) {
    if (!b.contains(name) || b.at(name) != value) add(name);
  }
  for (const auto& [name, value] : b.items()) {
    if (!a.contains(name)) add(name);
  }
  return names;
}

}  // namespace

SweepCheckpoint::SweepCheckpoint(std::filesystem::path file, nlohmann::json settings, bool resumes,
                                 bool replaces)
    : file_(std::move(file)), settings_(std::move(settings)) {
  remove_leftovers(file_);
  std::error_code error;
  if (!std::filesystem::exists(file_, error)) {
    save();  // a place that cannot be written fails now
    return;
  }
  const std::string where = printable(file_.native(), 4096);
  if (!resumes) {
    if (replaces) {
      save();
      return;
    }
    throw Error(ErrorCode::usage, "a conversion to this folder was interrupted", where,
                "go on with --resume, or start again with --force");
  }
  const nlohmann::json json = read_json_file(file_, kSizeLimit);
  try {
    if (json.at("format") != kFormat) throw damaged(file_);
    const std::string differing = differences(json.at("settings"), settings_);
    if (!differing.empty()) {
      throw Error(ErrorCode::usage,
                  "the interrupted conversion had other settings: " + printable(differing), where,
                  "use the same ones, or start again with --force");
    }
    read(json);
  } catch (const nlohmann::json::exception&) {
    throw damaged(file_);
  }
}

SweepCheckpoint::~SweepCheckpoint() {
  if (layers_.empty() && allocations_.empty()) remove();
}

std::filesystem::path SweepCheckpoint::place(const std::filesystem::path& folder) {
  std::filesystem::path tidy = std::filesystem::absolute(folder).lexically_normal();
  if (!tidy.has_filename()) tidy = tidy.parent_path();
  tidy += ".sweep.json";
  return tidy;
}

void SweepCheckpoint::read(const nlohmann::json& json) {
  for (const auto& [name, widths] : json.at("layers").items()) {
    WidthDivergences& kl = layers_[name];
    for (const auto& [text, value] : widths.items()) {
      int bits = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bits);
      if (error != std::errc() || end != text.data() + text.size()) throw damaged(file_);
      kl[bits] = value.get<double>();
    }
  }
  for (const auto& [key, value] : json.at("allocations").items()) {
    allocations_[key] = value.get<double>();
  }
}

const WidthDivergences* SweepCheckpoint::find(const std::string& layer) const {
  const auto found = layers_.find(layer);
  return found == layers_.end() ? nullptr : &found->second;
}

void SweepCheckpoint::add(const std::string& layer, const WidthDivergences& kl) {
  layers_[layer] = kl;
  save();
}

std::optional<double> SweepCheckpoint::find_allocation(const std::string& key) const {
  const auto found = allocations_.find(key);
  return found == allocations_.end() ? std::nullopt : std::optional(found->second);
}

void SweepCheckpoint::add_allocation(const std::string& key, double kl) {
  allocations_[key] = kl;
  save();
}

void SweepCheckpoint::save() const {
  nlohmann::json layers = nlohmann::json::object();
  for (const auto& [name, widths] : layers_) {
    for (const auto& [bits, kl] : widths) layers[name][std::to_string(bits)] = kl;
  }
  write_json_file(file_, {{"format", kFormat},
                          {"settings", settings_},
                          {"layers", layers},
                          {"allocations", allocations_}});
}

void SweepCheckpoint::remove() noexcept {
  std::error_code ignored;
  std::filesystem::remove(file_, ignored);
}

}  // namespace quiver
