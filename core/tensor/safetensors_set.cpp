// Finding and joining the safetensors files of a model folder.
#include "core/tensor/safetensors_set.hpp"

#include "core/tensor/file_error.hpp"
#include "core/tensor/mapped_file.hpp"
#include "core/tensor/printable.hpp"
#include "core/tensor/safetensors_index.hpp"

#include <quiver/error.hpp>

#include <algorithm>
#include <set>
#include <system_error>
#include <utility>

namespace quiver {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSingle = "model.safetensors";
constexpr std::string_view kWeights = "weights.safetensors";
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

std::vector<SafetensorsFile> open_by_pattern(const fs::path& folder) {
  std::error_code failure;
  std::vector<fs::path> paths;
  std::vector<fs::path> others;
  fs::directory_iterator entry(folder, failure);
  for (; !failure && entry != fs::directory_iterator(); entry.increment(failure)) {
    const std::string name = entry->path().filename().string();
    if (!name.ends_with(".safetensors")) continue;
    (name.starts_with("model") ? paths : others).push_back(entry->path());
  }
  if (failure) throw file_error("list", folder, failure.value());
  if (paths.empty() && is_there(folder / kWeights)) others = {folder / kWeights};
  if (paths.empty() && others.size() == 1) paths = others;
  if (paths.empty()) {
    throw Error(ErrorCode::bad_input, "there is no model.safetensors and no shard of one",
                printable(folder.native(), 4096), "name a model folder");
  }
  std::sort(paths.begin(), paths.end());
  std::vector<SafetensorsFile> files;
  for (const fs::path& path : paths) files.push_back(SafetensorsFile::open(path));
  return files;
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
  } else {
    files = is_there(folder / kIndex) ? open_shards(folder) : open_by_pattern(folder);
  }
  return join(std::move(files), label);
}

SafetensorsSet SafetensorsSet::join(std::vector<SafetensorsFile> files, const std::string& label) {
  SafetensorsSet set;
  set.label_ = printable(label, 4096);
  set.files_ = std::move(files);
  for (const SafetensorsFile& file : set.files_) {
    for (const TensorView& tensor : file.tensors()) set.tensors_.push_back(&tensor);
  }
  set.by_name_ = set.tensors_;
  std::ranges::sort(set.by_name_, {}, name_of);
  const auto twice = std::ranges::adjacent_find(set.by_name_, {}, name_of);
  if (twice != set.by_name_.end()) {
    throw Error(ErrorCode::bad_input, "two files hold tensor " + in_quotes((*twice)->name),
                set.label_, "remove the file that does not belong to the model");
  }
  return set;
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
}

}  // namespace quiver
