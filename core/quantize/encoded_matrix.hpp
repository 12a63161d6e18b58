// A matrix of a model quantized anew, in memory.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <quiver/quant_scheme.hpp>
#include <span>
#include <string>
#include <vector>

#include "core/model/stored_matrix.hpp"
#include "core/threads/thread_pool.hpp"

namespace quiver {

/// Encodes rows of float32 weights as QuantScheme::encode does. `importance` has a value per column
/// (mean squares of the inputs seen), or is empty. [any-thread]
using RowEncoder = std::function<void(std::span<const float> weights, std::int64_t rows,
                                      std::int64_t columns, const QuantFormat& format,
                                      DType parameter_type, std::span<const float> importance,
                                      std::span<const std::span<std::byte>> parts)>;

/// A scheme and the encoder that fills its formats.
struct MatrixEncoder {
  std::shared_ptr<const QuantScheme> scheme;
  RowEncoder encode;
};

/// The stored parts of a matrix with their bytes. Movable: the view points at bytes on the heap.
class EncodedMatrix {
 public:
  /// Quantizes `source` (whose own values may be quantized: then these are what is encoded).
  /// Parameters get the type of the source's. Throws Error(bad_input) naming `name` where weights
  /// are not finite, Error(usage) where the format does not fit. The result does not depend on the
  /// number of threads.
  EncodedMatrix(const StoredMatrix& source, const std::string& name, const QuantFormat& format,
                const MatrixEncoder& encoder, std::span<const float> importance,
                ThreadPool& threads);

  const StoredMatrix& matrix() const noexcept { return matrix_; }

 private:
  StoredMatrix matrix_;
  std::vector<std::vector<std::byte>> parts_;
};

/// Bytes of a matrix of that size in a format, all parts together; 0 where the format does not fit.
std::size_t encoded_bytes(const QuantScheme& scheme, const QuantFormat& format, std::int64_t rows,
                          std::int64_t columns, DType parameter_type);

}  // namespace quiver
