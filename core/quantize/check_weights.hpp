// Looks for weights that are not numbers before long work begins.
#pragma once

#include <cstddef>
#include <functional>

#include "core/model/loaded_model.hpp"
#include "core/threads/thread_pool.hpp"

namespace quiver {

/// Reads every float tensor of the model's checkpoint, the parameters of quantized layers too.
/// Throws Error(bad_input) naming the first that holds a NaN or an infinity. `progress` is called
/// with tensors done and to do.
void check_weights(const LoadedModel& model, ThreadPool& threads,
                   const std::function<void(std::size_t done, std::size_t total)>& progress);

}  // namespace quiver
