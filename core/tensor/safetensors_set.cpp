// Finding and joining the files of a model folder that hold its tensors.
#include "core/tensor/safetensors_set.hpp"

#include "core/tensor/file_error.hpp"
#include "core/tensor/mapped_file.hpp"
#include "core/tensor/printable.hpp"
#include "core/tensor/safetensors_index.hpp"

#include <quiver/error.hpp>

#include <algorithm>
#include <iterator>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

namespace quiver {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSingle = "model.safetensors";
constexpr std::string_view kWeights = "weights.safetensors";
constexpr std::string_view kArchive = "weights.npz";
constexpr std::string_view kIndex = "model.safetensors.index.json";
/// Far above what the largest models need (a name of 100 bytes for each of 100,000 tensors).
constexpr std::size_t kMaxIndexBytes = 100 * 1024 * 1024;

std::string_view name_of(const TensorView* tensor) noexcept {
  return tensor->name;
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

std::map<std::string, std::string> read_index(const fs::path& path) {
  const MappedFile file(path);
  const std::string where = printable(path.native(), 4096);
  const std::span<const std::byte> bytes = file.bytes();
  if (bytes.size() > kMaxIndexBytes) {
    throw Error(ErrorCode::bad_input, "the shard list is larger than 100 MiB", where);
  }
  return parse_safetensors_index({reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                                 where);
}

/// Opens the shards of an index and checks that each holds what the index says.
std::vector<SafetensorsFile> open_shards(const fs::path& folder) {
  const fs::path index_path = folder / kIndex;
  const std::map<std::string, std::string> index = read_index(index_path);
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : index) shards.insert(shard);
  std::map<std::string_view, std::size_t> file_of_shard;
  std::vector<SafetensorsFile> files;
  for (const std::string& shard : shards) {
    if (!is_there(folder / shard)) {
      throw Error(
          ErrorCode::bad_input,
          "the shard " + in_quotes(shard) + " is missing, which " + std::string(kIndex) + " names",
          printable(folder.native(), 4096), "fetch the missing file");
    }
    file_of_shard[shard] = files.size();
    files.push_back(SafetensorsFile::open(folder / shard));
  }
  for (const auto& [tensor, shard] : index) {
    if (files[file_of_shard[shard]].find(tensor) == nullptr) {
      throw Error(ErrorCode::bad_input,
                  "tensor " + in_quotes(tensor) + " is not in " + in_quotes(shard) + ", where " +
                      std::string(kIndex) + " puts it",
                  printable(folder.native(), 4096), "fetch the folder again");
    }
  }
  return files;
}

/// Files of the folder whose names end in `suffix`, by name.
std::vector<fs::path> files_ending_in(const fs::path& folder, std::string_view suffix) {
  std::error_code failure;
  std::vector<fs::path> paths;
  fs::directory_iterator entry(folder, failure);
  for (; !failure && entry != fs::directory_iterator(); entry.increment(failure)) {
    if (entry->path().filename().string().ends_with(suffix)) paths.push_back(entry->path());
  }
  if (failure) throw file_error("list", folder, failure.value());
  std::ranges::sort(paths);
  return paths;
}

/// Those that begin with "model", else the one of that name, else the only one.
std::vector<fs::path> choose_by_pattern(const fs::path& folder) {
  const std::vector<fs::path> all = files_ending_in(folder, ".safetensors");
  std::vector<fs::path> models;
  std::ranges::copy_if(all, std::back_inserter(models), [](const fs::path& path) {
    return path.filename().string().starts_with("model");
  });
  if (!models.empty()) return models;
  if (is_there(folder / kWeights)) return {folder / kWeights};
  return all.size() == 1 ? all : std::vector<fs::path>();
}

std::optional<fs::path> choose_archive(const fs::path& folder) {
  if (is_there(folder / kArchive)) return folder / kArchive;
  const std::vector<fs::path> all = files_ending_in(folder, ".npz");
  return all.size() == 1 ? std::optional(all.front()) : std::nullopt;
}

}  // namespace

SafetensorsSet SafetensorsSet::open(const fs::path& folder) {
  const std::string label = printable(folder.native(), 4096);
  std::error_code failure;
  const fs::file_status status = fs::status(folder, failure);
  if (failure && status.type() != fs::file_type::not_found) {
    throw file_error("inspect", folder, failure.value());
  }
  if (!fs::exists(status)) {
    throw Error(ErrorCode::bad_input, "there is no such folder", label, "check the path");
  }
  if (!fs::is_directory(status)) {
    throw Error(ErrorCode::bad_input, "is not a folder", label, "name a model folder");
  }
  std::vector<SafetensorsFile> files;
  if (is_there(folder / kSingle)) {
    files.push_back(SafetensorsFile::open(folder / kSingle));
  } else if (is_there(folder / kIndex)) {
    files = open_shards(folder);
  } else {
    for (const fs::path& path : choose_by_pattern(folder)) {
      files.push_back(SafetensorsFile::open(path));
    }
  }
  if (!files.empty()) return join(std::move(files), label);
  const std::optional<fs::path> archive = choose_archive(folder);
  if (!archive) {
    throw Error(ErrorCode::bad_input, "there is no model.safetensors and no shard of one", label,
                "name a model folder");
  }
  SafetensorsSet set;
  set.label_ = label;
  set.archives_.push_back(NpzFile::open(*archive));
  set.add(set.archives_.back().tensors());
  set.sort_names();
  return set;
}

SafetensorsSet SafetensorsSet::join(std::vector<SafetensorsFile> files, const std::string& label) {
  SafetensorsSet set;
  set.label_ = printable(label, 4096);
  set.files_ = std::move(files);
  for (const SafetensorsFile& file : set.files_) set.add(file.tensors());
  set.sort_names();
  return set;
}

void SafetensorsSet::add(std::span<const TensorView> tensors) {
  for (const TensorView& tensor : tensors) tensors_.push_back(&tensor);
}

void SafetensorsSet::sort_names() {
  by_name_ = tensors_;
  std::ranges::sort(by_name_, {}, name_of);
  const auto twice = std::ranges::adjacent_find(by_name_, {}, name_of);
  if (twice != by_name_.end()) {
    throw Error(ErrorCode::bad_input, "two files hold tensor " + in_quotes((*twice)->name), label_,
                "remove the file that does not belong to the model");
  }
}

const TensorView* SafetensorsSet::find(std::string_view name) const noexcept {
  const auto found = std::ranges::lower_bound(by_name_, name, {}, name_of);
  return found != by_name_.end() && (*found)->name == name ? *found : nullptr;
}

const TensorView& SafetensorsSet::at(std::string_view name) const {
  const TensorView* tensor = find(name);
  if (tensor == nullptr) {
    throw Error(ErrorCode::bad_input, "there is no tensor " + in_quotes(name), label_);
  }
  return *tensor;
}

void SafetensorsSet::release(const TensorView& tensor) const noexcept {
  for (const SafetensorsFile& file : files_) file.release(tensor);
  for (const NpzFile& archive : archives_) archive.release(tensor);
}

}  // namespace quiver
