// The instruction sets of this machine that matter to kernels.
#pragma once

#include <string>
#include <vector>

namespace quiver::cli {

/// Names as compilers write them, e.g. "avx2"; empty on machines that need none named. [any-thread]
std::vector<std::string> cpu_features();

}  // namespace quiver::cli
