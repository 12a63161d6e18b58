// The part of a vocabulary that drafts are chosen from.
#include "core/decode/draft_vocabulary.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <quiver/error.hpp>

#include "core/model/json_file.hpp"
#include "core/model/loaded_model.hpp"

namespace quiver {
namespace {

constexpr int kShare = 8;
constexpr int kLeast = 4096;

/// The matrix that a text model's logits come from: its head, or the embedding that stands for it.
const StoredMatrix* output_matrix(const WeightStore& weights) {
  for (const LinearPart& part : weights.linears()) {
    if (part.role == Role::head) return &part.matrix;
  }
  return weights.embeddings().empty() ? nullptr : &weights.embeddings().front().matrix;
}

/// Ids of the vocabulary, none of them twice.
std::vector<std::int32_t> read_ids(const std::filesystem::path& file, std::int64_t vocabulary) {
  const nlohmann::json json = read_json_file(file);
  const auto refuse = [&](const char* what) {
    return Error(ErrorCode::bad_input, what, file.string(), "delete the file or convert again");
  };
  if (!json.is_array()) throw refuse("not a list of token ids");
  std::vector<bool> is_seen(static_cast<std::size_t>(vocabulary));
  std::vector<std::int32_t> ids;
  for (const nlohmann::json& entry : json) {
    const bool is_id = entry.is_number_integer() && entry.get<std::int64_t>() >= 0 &&
                       entry.get<std::int64_t>() < vocabulary;
    if (!is_id || is_seen[entry.get<std::size_t>()]) {
      throw refuse("an entry is no token id of the model, or stands there twice");
    }
    is_seen[entry.get<std::size_t>()] = true;
    ids.push_back(entry.get<std::int32_t>());
  }
  return ids;
}

}  // namespace

std::vector<std::int32_t> frequent_tokens(std::span<const std::span<const std::int32_t>> texts,
                                          int vocabulary) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(vocabulary));
  for (const auto text : texts) {
    for (const std::int32_t id : text) {
      if (id >= 0 && id < vocabulary) ++counts[static_cast<std::size_t>(id)];
    }
  }
  std::vector<std::int32_t> ids(counts.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::ranges::stable_sort(ids, std::ranges::greater(),
                           [&](std::int32_t id) { return counts[static_cast<std::size_t>(id)]; });
  ids.resize(static_cast<std::size_t>(std::min(vocabulary, std::max(kLeast, vocabulary / kShare))));
  return ids;
}

DraftVocabulary::DraftVocabulary(const StoredMatrix& whole, std::vector<std::int32_t> ids)
    : whole_(&whole), ids_(std::move(ids)), part_(whole) {
  part_.rows = static_cast<std::int64_t>(ids_.size());
  part_.pieces = {};
  const auto gather = [&](std::size_t row_bytes, const auto& row_of) {
    auto& bytes = bytes_.emplace_back(row_bytes * ids_.size());
    for (std::size_t i = 0; i < ids_.size(); ++i) {
      std::copy_n(row_of(static_cast<std::size_t>(ids_[i])), row_bytes,
                  bytes.data() + i * row_bytes);
    }
    return std::span<const std::byte>(bytes);
  };
  bytes_.reserve(QuantScheme::kMaxParts);  // so that spans of them stay
  if (whole.scheme == nullptr) {
    const std::size_t row_bytes = static_cast<std::size_t>(whole.columns) * size_bytes(whole.dtype);
    part_.dense = gather(row_bytes, [&](std::size_t row) {
      return whole.dense_row(static_cast<std::int64_t>(row));
    });
  }
  for (int i = 0; i < whole.part_count; ++i) {
    const auto all = whole.parts[static_cast<std::size_t>(i)];
    const std::size_t row_bytes = all.size() / static_cast<std::size_t>(whole.rows);
    part_.parts[static_cast<std::size_t>(i)] =
        gather(row_bytes, [&](std::size_t row) { return all.data() + row * row_bytes; });
  }
}

std::optional<DraftVocabulary> DraftVocabulary::load(const LoadedModel& model) {
  const auto file = model.folder() / kDraftVocabularyFile;
  std::error_code ignored;
  const StoredMatrix* whole = output_matrix(model.weights());
  if (whole == nullptr || !whole->has_data() || !std::filesystem::is_regular_file(file, ignored)) {
    return std::nullopt;
  }
  std::vector<std::int32_t> ids = read_ids(file, whole->rows);
  if (ids.empty() || static_cast<std::int64_t>(ids.size()) == whole->rows) return std::nullopt;
  return DraftVocabulary(*whole, std::move(ids));
}

}  // namespace quiver
