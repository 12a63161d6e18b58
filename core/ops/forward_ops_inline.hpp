// Templates of ForwardOps that several of its files use.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <quiver/error.hpp>

#include "core/ops/forward_ops.hpp"

namespace quiver {

/// A hand-over to another core pays from so many multiply-adds or steps on: about a microsecond's.
inline constexpr std::size_t kWorthSharing = 16384;

/// Sum of squares with sixteen partial sums, added up in one fixed order.
inline float sum_of_squares(const float* x, int count) {
  float sums[16] = {};
  int i = 0;
  for (; i + 16 <= count; i += 16) {
    for (int lane = 0; lane < 16; ++lane) sums[lane] += x[i + lane] * x[i + lane];
  }
  for (int lane = 0; i + lane < count; ++lane) sums[lane] += x[i + lane] * x[i + lane];
  for (int half = 8; half > 0; half /= 2) {
    for (int lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  }
  return sums[0];
}

template <class Body>
void ForwardOps::for_rows(int rows, std::size_t work_per_row, const Body& body) {
  const std::size_t work = static_cast<std::size_t>(rows) * work_per_row;
  const int tasks = std::min<int>(
      rows, static_cast<int>(std::min<std::size_t>(
                work / kWorthSharing, 4U * static_cast<unsigned>(threads_.threads()))));
  if (tasks <= 1) {
    body(0, rows);
    return;
  }
  threads_.run(tasks, [&](int task, int) { body(rows * task / tasks, rows * (task + 1) / tasks); });
}

template <class Function>
Tensor ForwardOps::map(Tensor x, const char* operation, const Function& function) {
  const Tensor result = make(data(x, operation).rows, x.width);
  const Data& in = data(x, operation);
  const Data& out = data(result, operation);
  for_rows(in.rows, static_cast<std::size_t>(in.width) * 8, [&](int first, int last) {
    const float* source = row(in, first);
    float* target = row(out, first);
    const std::size_t count =
        static_cast<std::size_t>(last - first) * static_cast<std::size_t>(in.width);
    for (std::size_t i = 0; i < count; ++i) target[i] = function(source[i]);
  });
  return result;
}

template <class Function>
Tensor ForwardOps::combine(Tensor a, Tensor b, const char* operation, const Function& function) {
  if (a.width != b.width || data(a, operation).rows != data(b, operation).rows) {
    throw Error(ErrorCode::internal,
                fmt::format("{} of tensors of width {} and {}", operation, a.width, b.width),
                operation, "report this to the architecture's author");
  }
  const Tensor result = make(data(a, operation).rows, a.width);
  const Data& left = data(a, operation);
  const Data& right = data(b, operation);
  const Data& out = data(result, operation);
  const std::size_t count =
      static_cast<std::size_t>(left.rows) * static_cast<std::size_t>(left.width);
  for (std::size_t i = 0; i < count; ++i) out.values[i] = function(left.values[i], right.values[i]);
  return result;
}

}  // namespace quiver
