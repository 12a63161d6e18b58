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

/// Its file in a model folder: a JSON array of the token ids that drafts are chosen from.
inline constexpr const char* kDraftVocabularyFile = "draft_vocabulary.json";

/// The eighth of a vocabulary, and no fewer than 4096 tokens, that `texts` use most, in that order;
/// of equals those of lower id, since byte-pair encodings number their tokens by falling frequency.
/// [any-thread]
std::vector<std::int32_t> frequent_tokens(std::span<const std::span<const std::int32_t>> texts,
                                          int vocabulary);

/// Rows of a model's output matrix, for the tokens of its folder's list. A draft head's own layer
/// is small; the matrix behind it can be a third of a model. Tokens beyond these are never drafted,
/// and verified tokens are chosen among all. [any-thread]
class DraftVocabulary {
 public:
  /// Nothing where the folder has no list, or one of all tokens, or where the model's output matrix
  /// cannot be told. Throws Error(bad_input) for a malformed file.
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
