// Makes the random orthogonal maps that vectors are turned by.
#pragma once

#include "kernels.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace quiver::kv_turboquant {

/// How vectors are turned.
enum class RotationKind : std::uint8_t {
  hadamard,    ///< Random signs and a Hadamard transform; an odd factor of the size is turned by a
               ///< random orthogonal matrix of that factor.
  orthogonal,  ///< A random orthogonal matrix.
};

/// The maps of keys and of values of one size. The same at every run and on every machine.
class Rotation {
 public:
  /// `dims` is at most kMostDims, and its part that needs a matrix at most kMostOdd.
  Rotation(RotationKind kind, std::size_t dims);
  Rotation(const Rotation&) = delete;
  Rotation& operator=(const Rotation&) = delete;

  std::size_t dims() const { return keys_.turn.odd * keys_.turn.power; }
  const Turn& keys() const { return keys_.turn; }
  const Turn& values() const { return values_.turn; }

  /// The size of the matrix that vectors of `dims` numbers need.
  static std::size_t matrix_size(RotationKind kind, std::size_t dims);

 private:
  struct Parts {
    std::vector<float> signs;
    std::vector<float> mix;
    std::vector<float> mix_inverse;
    Turn turn;
    Parts(std::uint64_t seed, std::size_t odd, std::size_t power);
  };
  Parts keys_;
  Parts values_;
};

/// The maps of all sizes that were asked for; each is made once and stays.
class Rotations {
 public:
  explicit Rotations(RotationKind kind) : kind_(kind) {}
  ~Rotations();
  Rotations(const Rotations&) = delete;
  Rotations& operator=(const Rotations&) = delete;

  RotationKind kind() const { return kind_; }

  /// Looks without a lock, since every token asks. [any-thread]
  const Rotation& of(int head_dim) const;

 private:
  struct Node {
    Rotation rotation;
    const Node* next;
  };
  const Node* find(std::size_t dims) const;

  RotationKind kind_;
  mutable std::atomic<const Node*> first_ = nullptr;
  mutable std::mutex making_;
};

}  // namespace quiver::kv_turboquant
