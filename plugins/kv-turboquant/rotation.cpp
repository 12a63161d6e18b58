// Random signs and random orthogonal matrices, from counters.
#include "rotation.hpp"

#include <cmath>
#include <numbers>

namespace quiver::kv_turboquant {
namespace {

// Keys and values are turned differently, so that their errors have nothing in common.
constexpr std::uint64_t kKeySeed = 42;
constexpr std::uint64_t kValueSeed = 542;

/// SplitMix64: Steele, Lea and Flood, OOPSLA 2014.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t bits() {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31U);
  }

  /// A normal number, by Box and Muller.
  double normal() {
    const double radius = std::sqrt(-2 * std::log(1 - uniform()));
    return radius * std::cos(2 * std::numbers::pi * uniform());
  }

 private:
  double uniform() { return static_cast<double>(bits() >> 11U) * 0x1p-53; }

  std::uint64_t state_;
};

/// Row-major. Rows of normal numbers made orthogonal one after the other (Gram and Schmidt): every
/// orthogonal matrix is equally likely. Twice, because once leaves errors of rounding.
std::vector<float> orthogonal(Random& random, std::size_t size) {
  std::vector<double> rows(size * size);
  for (double& number : rows) number = random.normal();
  for (std::size_t i = 0; i < size; ++i) {
    double* row = rows.data() + i * size;
    for (int round = 0; round < 2; ++round) {
      for (std::size_t j = 0; j < i; ++j) {
        const double* other = rows.data() + j * size;
        double dot = 0;
        for (std::size_t k = 0; k < size; ++k) dot += row[k] * other[k];
        for (std::size_t k = 0; k < size; ++k) row[k] -= dot * other[k];
      }
      double squares = 0;
      for (std::size_t k = 0; k < size; ++k) squares += row[k] * row[k];
      for (std::size_t k = 0; k < size; ++k) row[k] /= std::sqrt(squares);
    }
  }
  return {rows.begin(), rows.end()};
}

}  // namespace

Rotation::Parts::Parts(std::uint64_t seed, std::size_t odd, std::size_t power)
    : signs(odd * power), mix_inverse(odd * odd), turn{} {
  Random random(seed);
  for (float& sign : signs) sign = (random.bits() >> 63U) == 0 ? 1.0F : -1.0F;
  mix = orthogonal(random, odd);
  for (std::size_t i = 0; i < odd; ++i) {
    for (std::size_t j = 0; j < odd; ++j) mix_inverse[j * odd + i] = mix[i * odd + j];
  }
  turn = {odd, power, signs.data(), mix.data(), mix_inverse.data()};
}

Rotation::Rotation(RotationKind kind, std::size_t dims)
    : keys_(kKeySeed, matrix_size(kind, dims), dims / matrix_size(kind, dims)),
      values_(kValueSeed, matrix_size(kind, dims), dims / matrix_size(kind, dims)) {}

std::size_t Rotation::matrix_size(RotationKind kind, std::size_t dims) {
  std::size_t size = dims;
  while (kind == RotationKind::hadamard && size % 2 == 0) size /= 2;
  return size;
}

Rotations::~Rotations() {
  for (const Node* node = first_.load(); node != nullptr;) {
    const Node* next = node->next;
    delete node;
    node = next;
  }
}

const Rotations::Node* Rotations::find(std::size_t dims) const {
  const Node* node = first_.load(std::memory_order_acquire);
  while (node != nullptr && node->rotation.dims() != dims) node = node->next;
  return node;
}

const Rotation& Rotations::of(int head_dim) const {
  const auto dims = static_cast<std::size_t>(head_dim);
  if (const Node* node = find(dims)) return node->rotation;
  const std::lock_guard lock(making_);
  if (const Node* node = find(dims)) return node->rotation;
  const Node* made = new Node{{kind_, dims}, first_.load()};
  first_.store(made, std::memory_order_release);
  return made->rotation;
}

}  // namespace quiver::kv_turboquant
