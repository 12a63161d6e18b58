// A model's quantized matrices in the layout of the integer kernels.
#include "core/model/packed_model.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <quiver/error.hpp>

namespace quiver {
namespace {

constexpr std::size_t kAlignment = 64;

bool is_packable(const StoredMatrix& matrix) {
  return matrix.scheme != nullptr && matrix.part_count == 3 &&
         matrix.scheme->packed_format(matrix.format) == PackedFormat::affine &&
         quiver::is_packable(matrix.format.bits, matrix.format.group_size, matrix.columns);
}

}  // namespace

PackedModel::PackedModel(const LoadedModel& model, const StoredMatrix* extra) : model_(model) {
  for (const LinearPart& part : model.weights().linears()) reserve(part.matrix);
  for (const EmbeddingPart& part : model.weights().embeddings()) reserve(part.matrix);
  if (extra != nullptr) reserve(*extra);
  if (reserved_bytes_ == 0) return;
  void* memory = ::mmap(nullptr, reserved_bytes_, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    throw Error(ErrorCode::resources, "there is no address space for the packed weights",
                model.folder().string(), "free memory, or use --compute exact");
  }
  // Fewer page faults while packing and fewer misses while streaming; only ever a wish.
  ::madvise(memory, reserved_bytes_, MADV_HUGEPAGE);
  memory_ = static_cast<std::byte*>(memory);
}

PackedModel::~PackedModel() {
  if (memory_ != nullptr) ::munmap(memory_, reserved_bytes_);
}

void PackedModel::reserve(const StoredMatrix& matrix) {
  if (!is_packable(matrix)) return;
  Entry entry;
  entry.weights = packed_layout(matrix.rows, matrix.columns, matrix.format.bits,
                                matrix.format.group_size, matrix.dtype);
  entry.offset = reserved_bytes_;
  const std::size_t bytes =
      static_cast<std::size_t>(entry.weights.stripes) * entry.weights.stripe_bytes;
  reserved_bytes_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  entries_.emplace(&matrix, entry);
}

void PackedModel::pack(const StoredMatrix& matrix, Entry& entry, ThreadPool& threads) {
  PackedWeights& weights = entry.weights;
  std::byte* out = memory_ + entry.offset;
  constexpr std::int64_t kStep = 8;
  const auto tasks = static_cast<int>((weights.stripes + kStep - 1) / kStep);
  threads.run(tasks, [&](int task, int) {
    const std::int64_t first = task * kStep;
    const std::int64_t count = std::min(kStep, weights.stripes - first);
    pack_stripes(weights, matrix.parts[0].data(), matrix.parts[1].data(), matrix.parts[2].data(),
                 first, count, out + static_cast<std::size_t>(first) * weights.stripe_bytes);
  });
  weights.data = out;
  packed_bytes_ += static_cast<std::size_t>(weights.stripes) * weights.stripe_bytes;
  if (model_.checkpoint() == nullptr) return;
  for (const auto& part : matrix.parts) model_.checkpoint()->release(part);
}

const PackedWeights* PackedModel::find(const StoredMatrix& matrix, ThreadPool& threads) {
  const auto entry = entries_.find(&matrix);
  if (entry == entries_.end()) return nullptr;
  if (entry->second.weights.data == nullptr) pack(matrix, entry->second, threads);
  return &entry->second.weights;
}

}  // namespace quiver
