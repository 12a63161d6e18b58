// The file for towers.
#include "core/quantize/tower_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <quiver/error.hpp>
#include <set>

#include "core/tensor/printable.hpp"
#include "core/tensor/safetensors.hpp"
#include "core/tensor/safetensors_writer.hpp"

namespace quiver {
namespace {

/// The part of the model that a tensor belongs to: "model.visual", or "audio_tower".
std::string part_of(std::string_view name) {
  const std::size_t from = name.starts_with("model.") ? std::string_view("model.").size() : 0;
  return std::string(name.substr(0, name.find('.', from)));
}

void compare(std::span<const TensorView* const> towers, const std::filesystem::path& file) {
  const SafetensorsFile written = SafetensorsFile::open(file);
  for (const TensorView* tower : towers) {
    const TensorView* found = written.find(tower_name(tower->name));
    if (found == nullptr || found->dtype != tower->dtype || found->shape != tower->shape ||
        !std::ranges::equal(found->data, tower->data)) {
      throw Error(ErrorCode::internal, "a tensor read back differs from the one written",
                  printable(tower->name), "the disk or the program is at fault; nothing was kept");
    }
    written.release(*found);
  }
}

}  // namespace

std::string tower_name(std::string_view stored) {
  constexpr std::string_view kModel = "model.";
  constexpr std::string_view kVisual = "visual.";
  if (stored.starts_with(kModel)) stored.remove_prefix(kModel.size());
  if (!stored.starts_with(kVisual)) return std::string(stored);
  return "vision_tower." + std::string(stored.substr(kVisual.size()));
}

std::uint64_t tower_bytes(std::span<const TensorView* const> towers) {
  std::uint64_t bytes = 0;
  for (const TensorView* tower : towers) bytes += tower->data.size();
  return bytes;
}

std::string towers_warning(std::span<const TensorView* const> towers) {
  std::set<std::string> parts;
  for (const TensorView* tower : towers) parts.insert(printable(part_of(tower->name)));
  return fmt::format(
      "{} {} of {}, {:.1f} MB, are left out: --keep-unused-modalities keeps them, "
      "--strip-unused-modalities takes them out of config.json too",
      towers.size(), towers.size() == 1 ? "tensor" : "tensors", fmt::join(parts, ", "),
      static_cast<double>(tower_bytes(towers)) / 1e6);
}

void write_towers(std::span<const TensorView* const> towers, const std::filesystem::path& folder,
                  const std::function<bool()>& interrupted) {
  std::vector<TensorInfo> infos;
  std::set<std::string> names;
  for (const TensorView* tower : towers) {
    infos.push_back({tower_name(tower->name), tower->dtype, tower->shape});
    if (names.insert(infos.back().name).second) continue;
    throw Error(ErrorCode::bad_input, "two tensors would get the same name",
                printable(infos.back().name), "convert without --keep-unused-modalities");
  }
  SafetensorsWriter writer(folder / kTowerFile, infos, {{"format", "mlx"}});
  for (std::size_t i = 0; i < towers.size(); ++i) {
    if (interrupted()) throw Error(ErrorCode::interrupted, "interrupted");
    writer.write(infos[i].name, towers[i]->data);
  }
  writer.commit();
  compare(towers, folder / kTowerFile);
}

}  // namespace quiver
