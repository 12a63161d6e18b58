// Numbers for the kernels' benchmarks to work on.
#include "bench/kernel_limits.hpp"

#include <random>

namespace quiver::bench {

std::vector<float> random_floats(std::size_t count) {
  std::mt19937 generator(7);
  std::uniform_real_distribution<float> values(-1, 1);
  std::vector<float> result(count);
  for (float& value : result) value = values(generator);
  return result;
}

}  // namespace quiver::bench
