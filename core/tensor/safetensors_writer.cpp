// Headers and data of new safetensors files.
#include "core/tensor/safetensors_writer.hpp"

#include "core/tensor/checked_math.hpp"
#include "core/tensor/printable.hpp"
#include "core/tensor/safetensors_header.hpp"

#include <quiver/error.hpp>

#include <nlohmann/json.hpp>

#include <optional>
#include <set>
#include <utility>

namespace quiver {

namespace {

/// The header's length and the header together end at a multiple of this many bytes.
constexpr std::size_t kDataAlignment = 8;

[[noreturn]] void fail(std::string_view tensor, const std::string& what) {
  throw Error(ErrorCode::internal, "tensor " + in_quotes(tensor) + " " + what);
}

std::uint64_t bytes_of(const TensorInfo& tensor) {
  const auto elements = checked_elements(tensor.shape);
  const auto bytes =
      elements ? checked_multiply(*elements, size_bytes(tensor.dtype)) : std::nullopt;
  if (!bytes || tensor.shape.size() > kMaxDimensions) {
    fail(tensor.name, "cannot have the shape " + shape_text(tensor.shape));
  }
  return *bytes;
}

std::string header_of(const std::vector<TensorInfo>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  std::set<std::string_view> names = {"__metadata__"};
  // Built as a list of members: look-up by name in an ordered_json object is linear.
  auto& members = header.get_ref<nlohmann::ordered_json::object_t&>();
  if (!metadata.empty()) members.emplace_back("__metadata__", metadata);
  std::uint64_t begin = 0;
  for (const TensorInfo& tensor : tensors) {
    if (!names.insert(tensor.name).second) fail(tensor.name, "cannot be written twice");
    const auto end = checked_add(begin, bytes_of(tensor));
    if (!end) fail(tensor.name, "makes the file too large");
    members.emplace_back(tensor.name, nlohmann::ordered_json{{"dtype", dtype_name(tensor.dtype)},
                                                             {"shape", tensor.shape},
                                                             {"data_offsets", {begin, *end}}});
    begin = *end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::type_error&) {
    throw Error(ErrorCode::bad_input, "a tensor's name or the metadata is not UTF-8");
  }
  while (text.size() % kDataAlignment != 0) text += ' ';
  if (text.size() > kMaxSafetensorsHeader) {
    throw Error(ErrorCode::bad_input, "the header of the new file would be larger than 100 MiB");
  }
  return text;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(std::filesystem::path path, std::vector<TensorInfo> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : tensors_(std::move(tensors)), file_(std::move(path)) {
  const std::string header = header_of(tensors_, metadata);
  const std::uint64_t length = header.size();
  file_.write(std::as_bytes(std::span(&length, 1)));
  file_.write(std::as_bytes(std::span(header)));
  if (!tensors_.empty()) missing_bytes_ = bytes_of(tensors_.front());
  skip_complete();
}

void SafetensorsWriter::skip_complete() {
  while (current_ < tensors_.size() && missing_bytes_ == 0) {
    ++current_;
    if (current_ < tensors_.size()) missing_bytes_ = bytes_of(tensors_[current_]);
  }
}

void SafetensorsWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  if (current_ == tensors_.size()) fail(name, "is written after the last one");
  if (tensors_[current_].name != name) {
    fail(name, "is written before " + in_quotes(tensors_[current_].name) + " is complete");
  }
  if (bytes.size() > missing_bytes_) fail(name, "is given more bytes than it has");
  file_.write(bytes);
  missing_bytes_ -= bytes.size();
  skip_complete();
}

void SafetensorsWriter::commit() {
  if (current_ < tensors_.size()) fail(tensors_[current_].name, "is not complete");
  file_.commit();
}

}  // namespace quiver
