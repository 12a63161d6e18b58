// The values of imported tensors: order of rows, element types, affine groups.
#include <algorithm>
#include <cmath>
#include <quiver/error.hpp>

#include "core/model/gguf_tensors.hpp"
#include "core/tensor/gguf_affine.hpp"
#include "core/tensor/half.hpp"
#include "core/tensor/printable.hpp"

namespace quiver {
namespace {

/// Whole numbers of the largest blocks (256), and a MiB as float32.
constexpr std::size_t kPieceElements = 1U << 18;

using Sink = std::function<void(std::span<const std::byte>)>;

std::size_t piece_bytes(const GgufTypeInfo& info) {
  return kPieceElements / info.block_elements * info.block_bytes;
}

/// The stored row that becomes row `index` when pairs return to halves.
std::size_t stored_row(std::size_t index, std::size_t rows_of_head) {
  const std::size_t half = rows_of_head / 2;
  const std::size_t in_head = index % rows_of_head;
  return index - in_head + in_head % half * 2 + in_head / half;
}

/// Collects rows into pieces; rows longer than a piece are handed on in several.
class Gatherer {
 public:
  Gatherer(std::size_t capacity, const Sink& sink) : capacity_(capacity), sink_(sink) {
    buffer_.reserve(capacity);
  }

  void add(std::span<const std::byte> row) {
    while (!row.empty()) {
      const std::size_t count = std::min(row.size(), capacity_ - buffer_.size());
      buffer_.insert(buffer_.end(), row.begin(), row.begin() + static_cast<std::ptrdiff_t>(count));
      row = row.subspan(count);
      if (buffer_.size() == capacity_) flush();
    }
  }

  void flush() {
    if (!buffer_.empty()) sink_(buffer_);
    buffer_.clear();
  }

 private:
  std::size_t capacity_;
  const Sink& sink_;
  std::vector<std::byte> buffer_;
};

/// Whether the bytes go over as they are.
bool is_copy(GgufType from, DType to) {
  switch (from) {
    case GgufType::f32: return to == DType::f32;
    case GgufType::f16: return to == DType::f16;
    case GgufType::bf16: return to == DType::bf16;
    case GgufType::i8:
    case GgufType::i16:
    case GgufType::i32:
    case GgufType::i64: return true;
    default: return false;
  }
}

void convert_dense(const ImportedTensor& tensor, const Sink& sink) {
  const GgufType type = tensor.source->type;
  const GgufTypeInfo& info = info_of(type);
  const TensorInfo& output = tensor.outputs.front();
  if (is_copy(type, output.dtype)) return for_each_piece(*tensor.source, tensor.heads, sink);
  std::vector<float> values;
  std::vector<float> rounded;
  std::vector<std::byte> bytes;
  for_each_piece(*tensor.source, tensor.heads, [&](std::span<const std::byte> piece) {
    values.resize(piece.size() / info.block_bytes * info.block_elements);
    rounded.resize(values.size());
    bytes.resize(values.size() * size_bytes(output.dtype));
    dequantize(type, piece, values);
    from_float(values, output.dtype, bytes);
    to_float(output.dtype, bytes, rounded);
    if (!std::ranges::all_of(rounded, [](float value) { return std::isfinite(value); })) {
      throw Error(ErrorCode::bad_input,
                  "tensor " + in_quotes(tensor.source->name) + " holds a value that " +
                      std::string(dtype_name(output.dtype)) + " cannot represent",
                  {}, "choose --dtype f32 or bf16; if that fails too, the file is damaged");
    }
    sink(bytes);
  });
}

void convert_affine(const ImportedTensor& tensor, std::size_t index, const Sink& sink) {
  const GgufType type = tensor.source->type;
  const DType scale_type = tensor.outputs[1].dtype;
  std::vector<std::uint32_t> codes;
  std::vector<std::byte> scales;
  std::vector<std::byte> biases;
  for_each_piece(*tensor.source, tensor.heads, [&](std::span<const std::byte> piece) {
    const std::size_t blocks = piece.size() / info_of(type).block_bytes;
    codes.resize(blocks * static_cast<std::size_t>(tensor.bits));
    scales.resize(blocks * size_bytes(scale_type));
    biases.resize(scales.size());
    if (!affine_from_blocks(type, piece, scale_type, codes, scales, biases)) {
      throw Error(ErrorCode::internal, "the scales of a tensor changed while it was read",
                  printable(tensor.source->name));
    }
    sink(index == 0   ? std::as_bytes(std::span(codes))
         : index == 1 ? std::span<const std::byte>(scales)
                      : std::span<const std::byte>(biases));
  });
}

}  // namespace

void for_each_piece(const GgufTensor& tensor, int heads, const Sink& sink) {
  const GgufTypeInfo& info = info_of(tensor.type);
  const std::size_t capacity = piece_bytes(info);
  if (heads == 0) {
    for (std::size_t at = 0; at < tensor.data.size(); at += capacity) {
      sink(tensor.data.subspan(at, std::min(capacity, tensor.data.size() - at)));
    }
    return;
  }
  const bool is_vector = tensor.shape.size() < 2;
  const auto rows = static_cast<std::size_t>(is_vector ? tensor.elements() : tensor.rows());
  if (tensor.data.empty()) return;
  const std::size_t row_bytes = tensor.data.size() / rows;
  const std::size_t rows_of_head = rows / static_cast<std::size_t>(heads);
  Gatherer gatherer(capacity, sink);
  for (std::size_t i = 0; i < rows; ++i) {
    gatherer.add(tensor.data.subspan(stored_row(i, rows_of_head) * row_bytes, row_bytes));
  }
  gatherer.flush();
}

void convert_tensor(const ImportedTensor& tensor, std::size_t index, const Sink& sink) {
  if (tensor.bits > 0) {
    convert_affine(tensor, index, sink);
  } else {
    convert_dense(tensor, sink);
  }
}

}  // namespace quiver
