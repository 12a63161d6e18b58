// Looks for weights that are not numbers before long work begins.
#include "core/quantize/check_weights.hpp"

#include <algorithm>
#include <atomic>
#include <quiver/error.hpp>
#include <string>
#include <vector>

#include "core/model/checkpoint.hpp"
#include "core/model/stored_matrix.hpp"

namespace quiver {
namespace {

constexpr std::int64_t kTaskElements = std::int64_t{1} << 18U;

bool is_float(DType type) {
  return type == DType::f32 || type == DType::f16 || type == DType::bf16;
}

bool is_finite(DType type, std::span<const std::byte> bytes, ThreadPool& threads) {
  const std::size_t size = size_bytes(type);
  const auto elements = static_cast<std::int64_t>(bytes.size() / size);
  std::atomic<bool> is_finite{true};
  const auto tasks = static_cast<int>((elements + kTaskElements - 1) / kTaskElements);
  threads.run(tasks, [&](int task, int) {
    const std::int64_t first = task * kTaskElements;
    std::vector<float> values(static_cast<std::size_t>(std::min(kTaskElements, elements - first)));
    decode_floats(type, bytes.data() + static_cast<std::size_t>(first) * size, values.size(),
                  values.data());
    // The sum of x * 0 is 0 unless some x is not finite.
    float sum = 0;
    for (const float value : values) sum += value * 0.0F;
    if (!(sum == 0.0F)) is_finite = false;
  });
  return is_finite;
}

}  // namespace

void check_weights(const LoadedModel& model, ThreadPool& threads,
                   const std::function<void(std::size_t done, std::size_t total)>& progress) {
  const std::vector<std::string> names = model.checkpoint()->names();
  for (std::size_t i = 0; i < names.size(); ++i) {
    progress(i, names.size());
    const ModelTensor& tensor = *model.checkpoint()->find(names[i]);
    if (!is_float(tensor.dtype)) continue;
    for (const auto& part : tensor.parts()) {
      if (!is_finite(tensor.dtype, part, threads)) {
        throw Error(ErrorCode::bad_input, "a weight is not a finite number", names[i],
                    "use an undamaged checkpoint");
      }
      model.checkpoint()->release(part);
    }
  }
}

}  // namespace quiver
