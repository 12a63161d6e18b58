// Allocation problems for tests.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/quantize/allocation.hpp"
#include "core/quantize/sensitivity_table.hpp"

namespace quiver::test {

/// A unit with widths, sizes and KLs as given.
inline AllocationUnit unit(std::string name, std::uint64_t parameters,
                           std::vector<AllocationChoice> choices) {
  return {std::move(name), Role::other, -1, parameters, std::move(choices)};
}

/// What random problems look like.
struct RandomShape {
  std::size_t units = 8;
  std::vector<int> bits = {2, 3, 4, 5, 6, 8, 16};
  std::uint64_t size_step = 1;  ///< Sizes are multiples of it.
  double noise = 0.5;           ///< Of the logarithm of KLs; 0 = they fall by a law.
};

/// Units with KLs that fall about fourfold a bit and vary by layer over orders of magnitude.
inline AllocationProblem random_problem(std::uint32_t seed, const RandomShape& shape) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, 1);
  std::uniform_int_distribution<std::uint64_t> size(1000, 4'000'000);
  AllocationProblem problem;
  for (std::size_t u = 0; u < shape.units; ++u) {
    AllocationUnit made{"layers." + std::to_string(u / 7) + ".part" + std::to_string(u % 7),
                        Role::other,
                        static_cast<int>(u / 7),
                        0,
                        {}};
    made.parameters = size(random) / shape.size_step * shape.size_step + shape.size_step;
    const double height = std::exp(2 * normal(random));
    for (const int bits : shape.bits) {
      const double kl =
          bits == 16 ? 0 : height * std::exp(-1.35 * bits + shape.noise * normal(random));
      const std::uint64_t bytes =
          bits == 16 ? made.parameters * 2
                     : made.parameters * static_cast<unsigned>(bits) / 8 + made.parameters / 64 * 4;
      made.choices.push_back({bits, bits == 16 ? 0 : 64, bytes, kl});
    }
    problem.units.push_back(std::move(made));
  }
  return problem;
}

}  // namespace quiver::test
