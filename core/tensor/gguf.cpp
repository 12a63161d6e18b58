// Opening of GGUF files and look-up of their tensors.
#include "core/tensor/gguf.hpp"

#include "core/tensor/byte_cursor.hpp"
#include "core/tensor/checked_math.hpp"
#include "core/tensor/printable.hpp"
#include "core/tensor/tensor_view.hpp"

#include <quiver/error.hpp>

#include <algorithm>
#include <bit>
#include <numeric>
#include <optional>
#include <utility>

namespace quiver {

namespace {

constexpr std::uint64_t kMaxTensors = 1U << 18;
constexpr std::uint32_t kMaxTensorDimensions = 4;
constexpr std::size_t kMaxNameBytes = 65535;
/// The least a tensor's entry takes: length of the name, number of dimensions, type and offset.
constexpr std::uint64_t kMinTensorBytes = 8 + 4 + 4 + 8;

constexpr std::uint64_t kDefaultAlignment = 32;
constexpr std::uint64_t kMinAlignment = 8;
constexpr std::uint64_t kMaxAlignment = 1U << 20;

[[noreturn]] void fail(const std::string& what, const std::string& where, const char* hint) {
  throw Error(ErrorCode::bad_input, what, where, hint);
}

std::uint32_t read_version(ByteCursor& cursor, const std::string& where) {
  const auto magic = cursor.take(4);
  if (std::string_view(reinterpret_cast<const char*>(magic.data()), 4) != "GGUF") {
    fail("the file does not begin with 'GGUF'", where, "name a GGUF file");
  }
  const auto version = cursor.number<std::uint32_t>();
  // The lower half of a small number is zero only in the other byte order.
  if (version != 0 && (version & 0xFFFFU) == 0) {
    fail("the file is written for big-endian machines", where,
         "fetch or make its little-endian form");
  }
  if (version < 2 || version > 3) {
    fail("the file has the GGUF version " + std::to_string(version) + ", not 2 or 3", where,
         version < 2 ? "convert it with a current tool" : "use a newer release of this program");
  }
  return version;
}

std::uint64_t read_alignment(const GgufMetadata& metadata, const std::string& where) {
  const auto alignment =
      metadata.find<std::uint64_t>("general.alignment").value_or(kDefaultAlignment);
  if (!std::has_single_bit(alignment) || alignment < kMinAlignment || alignment > kMaxAlignment) {
    fail("general.alignment is " + std::to_string(alignment) +
             " in place of a power of two between 8 and 1048576",
         where, "the file is damaged; fetch it again");
  }
  return alignment;
}

/// A tensor's entry before its place in the file is known.
struct PlacedTensor {
  GgufTensor tensor;
  std::uint64_t offset;  // From the beginning of the data.
  std::uint64_t bytes;
};

class TensorListReader {
 public:
  TensorListReader(ByteCursor& cursor, std::uint64_t alignment)
      : cursor_(cursor), alignment_(alignment) {}

  PlacedTensor read() {
    PlacedTensor placed = {};
    GgufTensor& tensor = placed.tensor;
    tensor.name = cursor_.string();
    if (tensor.name.size() > kMaxNameBytes)
      cursor_.fail("has a tensor name longer than 65535 bytes");
    name_ = tensor.name;
    tensor.shape = read_shape();
    const auto type_id = cursor_.number<std::uint32_t>();
    const GgufTypeInfo* info = find_gguf_type(type_id);
    if (info == nullptr) {
      const std::string_view known = gguf_type_name(type_id);
      fail("has the element type " +
           (known.empty() ? std::to_string(type_id) : std::string(known)) +
           ", which cannot be read");
    }
    tensor.type = info->type;
    placed.bytes = size_of(tensor, *info);
    placed.offset = cursor_.number<std::uint64_t>();
    if (placed.offset % alignment_ != 0) {
      fail("begins at byte " + std::to_string(placed.offset) + " of the data, no multiple of " +
           std::to_string(alignment_));
    }
    return placed;
  }

 private:
  std::vector<std::int64_t> read_shape() {
    const auto dimensions = cursor_.number<std::uint32_t>();
    if (dimensions > kMaxTensorDimensions) {
      fail("has " + std::to_string(dimensions) + " dimensions, more than 4");
    }
    std::vector<std::int64_t> shape(dimensions);
    for (std::int64_t& dimension : shape) dimension = cursor_.number<std::int64_t>();
    std::reverse(shape.begin(), shape.end());
    return shape;
  }

  std::uint64_t size_of(const GgufTensor& tensor, const GgufTypeInfo& info) {
    const auto elements = checked_elements(tensor.shape);
    if (!elements || static_cast<std::uint64_t>(tensor.columns()) % info.block_elements != 0) {
      fail("has the impossible shape " + shape_text(tensor.shape) + " for " +
           std::string(info.name));
    }
    const auto bytes = checked_multiply(*elements / info.block_elements, info.block_bytes);
    if (!bytes) fail("has more elements than a file can hold");
    return *bytes;
  }

  [[noreturn]] void fail(const std::string& what) const {
    cursor_.fail("has a tensor " + in_quotes(name_) + " that " + what);
  }

  ByteCursor& cursor_;
  std::uint64_t alignment_;
  std::string_view name_;
};

/// Gives every tensor its bytes; throws where one does not lie in the file or two overlap.
void place(std::vector<PlacedTensor>& tensors, std::span<const std::byte> file,
           std::uint64_t data_begin, const std::string& where) {
  constexpr const char* kHint = "the file is damaged or incomplete; fetch it again";
  const std::uint64_t available = file.size() - std::min<std::uint64_t>(data_begin, file.size());
  std::vector<const PlacedTensor*> by_offset;
  for (PlacedTensor& placed : tensors) {
    if (placed.bytes > available || placed.offset > available - placed.bytes) {
      fail("tensor " + in_quotes(placed.tensor.name) + " takes " + std::to_string(placed.bytes) +
               " bytes from byte " + std::to_string(placed.offset) +
               " of the data on, of which the file has " + std::to_string(available),
           where, kHint);
    }
    if (placed.bytes == 0) continue;
    placed.tensor.data = file.subspan(static_cast<std::size_t>(data_begin + placed.offset),
                                      static_cast<std::size_t>(placed.bytes));
    by_offset.push_back(&placed);
  }
  std::ranges::sort(by_offset, {}, &PlacedTensor::offset);
  for (std::size_t i = 1; i < by_offset.size(); ++i) {
    const PlacedTensor& previous = *by_offset[i - 1];
    if (by_offset[i]->offset < previous.offset + previous.bytes) {
      fail("the tensors " + in_quotes(previous.tensor.name) + " and " +
               in_quotes(by_offset[i]->tensor.name) + " overlap",
           where, kHint);
    }
  }
}

}  // namespace

std::int64_t GgufTensor::rows() const noexcept {
  std::int64_t product = 1;
  for (std::size_t i = 0; i + 1 < shape.size(); ++i) product *= shape[i];
  return product;
}

std::span<const std::byte> GgufTensor::row_bytes(std::int64_t first,
                                                 std::int64_t count) const noexcept {
  const GgufTypeInfo& info = info_of(type);
  const std::size_t row =
      static_cast<std::size_t>(columns()) / info.block_elements * info.block_bytes;
  return data.subspan(static_cast<std::size_t>(first) * row, static_cast<std::size_t>(count) * row);
}

GgufFile GgufFile::open(const std::filesystem::path& path) {
  GgufFile file;
  file.label_ = printable(path.native(), 4096);
  file.mapping_ = MappedFile(path);
  file.read(file.mapping_.bytes());
  return file;
}

GgufFile GgufFile::from_bytes(std::span<const std::byte> bytes, const std::string& label) {
  GgufFile file;
  file.label_ = printable(label, 4096);
  file.read(bytes);
  return file;
}

void GgufFile::read(std::span<const std::byte> bytes) {
  ByteCursor cursor(bytes, label_);
  version_ = read_version(cursor, label_);
  const auto tensor_count = cursor.number<std::uint64_t>();
  const auto key_count = cursor.number<std::uint64_t>();
  metadata_ = GgufMetadata(cursor, key_count, label_);
  const std::uint64_t alignment = read_alignment(metadata_, label_);

  cursor.require_room(tensor_count, kMinTensorBytes, "tensors");
  if (tensor_count > kMaxTensors) cursor.fail("claims more than 262144 tensors");
  TensorListReader reader(cursor, alignment);
  std::vector<PlacedTensor> placed;
  for (std::uint64_t i = 0; i < tensor_count; ++i) placed.push_back(reader.read());
  const std::uint64_t data_begin = (cursor.position() + alignment - 1) / alignment * alignment;
  place(placed, bytes, data_begin, label_);

  for (PlacedTensor& one : placed) tensors_.push_back(std::move(one.tensor));
  by_name_.resize(tensors_.size());
  std::iota(by_name_.begin(), by_name_.end(), 0U);
  const auto name_of = [this](std::uint32_t i) { return tensors_[i].name; };
  std::ranges::sort(by_name_, {}, name_of);
  const auto twice = std::ranges::adjacent_find(by_name_, {}, name_of);
  if (twice != by_name_.end()) {
    cursor.fail("has a tensor " + in_quotes(name_of(*twice)) + " twice");
  }
}

const GgufTensor* GgufFile::find(std::string_view name) const noexcept {
  const auto name_of = [this](std::uint32_t i) { return tensors_[i].name; };
  const auto found = std::ranges::lower_bound(by_name_, name, {}, name_of);
  return found != by_name_.end() && name_of(*found) == name ? &tensors_[*found] : nullptr;
}

const GgufTensor& GgufFile::at(std::string_view name) const {
  const GgufTensor* tensor = find(name);
  if (tensor == nullptr) {
    throw Error(ErrorCode::bad_input, "there is no tensor " + in_quotes(name), label_);
  }
  return *tensor;
}

void GgufFile::release(const GgufTensor& tensor) const noexcept {
  if (mapping_.bytes().empty() || tensor.data.empty()) return;
  mapping_.release(static_cast<std::size_t>(tensor.data.data() - mapping_.bytes().data()),
                   tensor.data.size());
}

}  // namespace quiver
