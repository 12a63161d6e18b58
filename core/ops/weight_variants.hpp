// Other matrices in place of some of a model's, for some of the segments of a pass.
#pragma once

#include <map>
#include <set>
#include <utility>

#include "core/model/stored_matrix.hpp"

namespace quiver {

/// Copies of one text can run in one pass, each with weights of its own: segments say which variant
/// they belong to (Segment::variant), and this table which matrices a variant replaces. Matrices
/// that no variant replaces are read once for all of them. [any-thread] while nobody changes it.
class WeightVariants {
 public:
  /// `other` stands for `matrix` in segments of `variant`. Both outlive the table; `other` has the
  /// same rows and columns.
  void replace(int variant, const StoredMatrix& matrix, const StoredMatrix& other) {
    own_[{&matrix, variant}] = &other;
    replaced_.insert(&matrix);
  }

  /// `other` stands for `matrix` in all segments whose variant has no replacement of its own.
  void replace_everywhere(const StoredMatrix& matrix, const StoredMatrix& other) {
    common_[&matrix] = &other;
    replaced_.insert(&matrix);
  }

  /// Whether something stands for `matrix` in some segment.
  bool replaces(const StoredMatrix& matrix) const { return replaced_.contains(&matrix); }

  /// What segments of `variant` compute with.
  const StoredMatrix& find(int variant, const StoredMatrix& matrix) const {
    if (const auto own = own_.find({&matrix, variant}); own != own_.end()) return *own->second;
    const auto common = common_.find(&matrix);
    return common != common_.end() ? *common->second : matrix;
  }

 private:
  std::map<std::pair<const StoredMatrix*, int>, const StoredMatrix*> own_;
  std::map<const StoredMatrix*, const StoredMatrix*> common_;
  std::set<const StoredMatrix*> replaced_;
};

}  // namespace quiver
