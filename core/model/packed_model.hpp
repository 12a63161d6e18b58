// A model's quantized matrices in the layout of the integer kernels.
#pragma once

#include <cstddef>
#include <unordered_map>

#include "core/kernels/packed_weights.hpp"
#include "core/model/loaded_model.hpp"
#include "core/threads/thread_pool.hpp"

namespace quiver {

/// Packs each matrix when it is first asked for and hands the memory behind its file's pages back,
/// so that one copy is resident. [one-call-at-a-time]
class PackedModel {
 public:
  /// Reserves address space for all matrices that can be packed; memory is taken as they are. The
  /// model outlives the object. Throws Error(resources).
  /// `extra` is one matrix more, made of the model's; may be nullptr.
  explicit PackedModel(const LoadedModel& model, const StoredMatrix* extra = nullptr);
  ~PackedModel();
  PackedModel(const PackedModel&) = delete;
  PackedModel& operator=(const PackedModel&) = delete;

  /// The packed form of one of the model's matrices, valid as long as this object; nullptr for
  /// those that the kernels do not take.
  const PackedWeights* find(const StoredMatrix& matrix, ThreadPool& threads);

  /// Bytes of what has been packed.
  std::size_t packed_bytes() const noexcept { return packed_bytes_; }

 private:
  struct Entry {
    PackedWeights weights;
    std::size_t offset = 0;
  };
  void reserve(const StoredMatrix& matrix);
  void pack(const StoredMatrix& matrix, Entry& entry, ThreadPool& threads);

  const LoadedModel& model_;
  std::unordered_map<const StoredMatrix*, Entry> entries_;
  std::byte* memory_ = nullptr;
  std::size_t reserved_bytes_ = 0;
  std::size_t packed_bytes_ = 0;
};

}  // namespace quiver
