// The part of a vocabulary that drafts are chosen from.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "core/model/stored_matrix.hpp"

namespace quiver {

class LoadedModel;

/// Its file in a model folder: a JSON array of token ids, those that texts use most first.
inline constexpr const char* kDraftVocabularyFile = "draft_vocabulary.json";

/// All token ids of a vocabulary by how often `texts` use them, equals by id: byte-pair encodings
/// number their tokens by falling frequency. [any-thread]
std::vector<std::int32_t> rank_tokens(std::span<const std::vector<std::int32_t>> texts,
                                      int vocabulary);

/// Rows of a model's output matrix, for the tokens that its folder ranks first. A draft head's own
/// layer is small; the matrix behind it can be a third of a model. Tokens beyond these are never
/// drafted, and verified tokens are chosen among all. [any-thread]
class DraftVocabulary {
 public:
  /// The first eighth of the folder's ranking. Nothing where the folder has none or the model's
  /// output matrix cannot be told. Throws Error(bad_input) for a malformed file.
  static std::optional<DraftVocabulary> load(const LoadedModel& model);

  std::span<const std::int32_t> ids() const noexcept { return ids_; }

  /// The output matrix, and those of its rows that belong to the ids.
  const StoredMatrix& whole() const noexcept { return *whole_; }
  const StoredMatrix& part() const noexcept { return part_; }

 private:
  DraftVocabulary(const StoredMatrix& whole, std::vector<std::int32_t> ids);

  const StoredMatrix* whole_;
  std::vector<std::int32_t> ids_;
  std::vector<std::vector<std::byte>> bytes_;
  StoredMatrix part_;
};

}  // namespace quiver
