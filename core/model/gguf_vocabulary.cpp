// Reading and checking of GGUF vocabularies.
#include "core/model/gguf_vocabulary.hpp"

#include <algorithm>
#include <cmath>
#include <quiver/error.hpp>
#include <tuple>

#include "core/tensor/printable.hpp"
#include "core/tensor/utf8.hpp"

namespace quiver {
namespace {

// Four times and more what the largest published vocabularies have. They bound the time that
// cutting hostile pieces takes: bytes of text times bytes of a token.
constexpr std::size_t kMaxTokens = 1U << 20;
constexpr std::size_t kMaxTokenBytes = 1024;
constexpr std::size_t kMaxTextBytes = 32U << 20;
constexpr std::size_t kMaxMerges = 1U << 21;

constexpr std::string_view kVisibleSpace = "\xE2\x96\x81";  // U+2581

[[noreturn]] void fail(const GgufFile& file, const std::string& what,
                       const char* hint = "the file is damaged; fetch it again") {
  throw Error(ErrorCode::bad_input, what, file.label(), hint);
}

std::string respell(std::string_view text) {
  std::string spelled;
  for (const char c : text) {
    if (c == ' ') {
      spelled += kVisibleSpace;
    } else {
      spelled += c;
    }
  }
  return spelled;
}

std::vector<std::int32_t> read_types(const GgufFile& file, std::size_t count) {
  constexpr std::string_view kKey = "tokenizer.ggml.token_type";
  auto types = file.metadata().find_array<std::int32_t>(kKey);
  if (!types) return std::vector<std::int32_t>(count, 1);
  if (types->size() != count) {
    fail(file, "the file has " + std::to_string(count) + " tokens and types for " +
                   std::to_string(types->size()));
  }
  return std::move(*types);
}

/// Converters fill vocabularies up with "[PAD<id>]", of various types; these are never meant.
bool is_filler(std::string_view text, std::size_t id) {
  return text.starts_with("[PAD") && text == "[PAD" + std::to_string(id) + "]";
}

void check_token(const GgufFile& file, std::string_view text, std::int32_t type, std::size_t id) {
  const std::string name = "token " + std::to_string(id);
  if (text.size() > kMaxTokenBytes) fail(file, name + " is longer than 1024 bytes");
  if (!is_utf8(text)) fail(file, name + " is not UTF-8");
  if (type < 1 || type > 6) fail(file, name + " has the unknown type " + std::to_string(type));
}

bool takes_part_in_merges(GgufTokenType type) {
  return type == GgufTokenType::normal || type == GgufTokenType::user_defined ||
         type == GgufTokenType::unused;
}

struct ScoredMerge {
  float score;
  std::uint16_t left_length;  // In code points.
  std::uint16_t right_length;
  Merge merge;
};

/// All cuts of a piece into two pieces, sorted by the ids of the parts.
void cut(const GgufVocabulary& vocabulary, std::string_view piece, float score,
         std::vector<ScoredMerge>& merges) {
  const auto find_part = [&](std::string_view part) {
    const std::int32_t id = vocabulary.find(part);
    const bool is_part =
        id >= 0 && takes_part_in_merges(vocabulary[static_cast<std::size_t>(id)].type);
    return is_part ? id : -1;
  };
  std::vector<std::size_t> starts;  // Of the code points.
  for (std::size_t i = 0; i < piece.size(); i += utf8_length(piece.substr(i))) starts.push_back(i);
  const auto first = static_cast<std::ptrdiff_t>(merges.size());
  for (std::size_t i = 1; i < starts.size(); ++i) {
    const std::int32_t left = find_part(piece.substr(0, starts[i]));
    if (left < 0) continue;
    const std::int32_t right = find_part(piece.substr(starts[i]));
    if (right < 0) continue;
    merges.push_back({score,
                      static_cast<std::uint16_t>(i),
                      static_cast<std::uint16_t>(starts.size() - i),
                      {left, right}});
  }
  std::sort(merges.begin() + first, merges.end(),
            [](const ScoredMerge& a, const ScoredMerge& b) { return a.merge < b.merge; });
}

}  // namespace

GgufVocabulary::GgufVocabulary(const GgufFile& file, bool respells_spaces) {
  const auto texts = file.metadata().strings("tokenizer.ggml.tokens");
  if (texts.empty()) fail(file, "the file lists no tokens");
  if (texts.size() > kMaxTokens) fail(file, "the file lists more than 2^20 tokens");
  const std::vector<std::int32_t> types = read_types(file, texts.size());
  std::size_t bytes = 0;
  ids_.reserve(texts.size());
  for (std::size_t id = 0; id < texts.size(); ++id) {
    std::string_view text = texts[id];
    check_token(file, text, types[id], id);
    bytes += text.size();
    if (bytes > kMaxTextBytes) fail(file, "the tokens are longer than 32 MiB together");
    if (respells_spaces && text.find(' ') != std::string_view::npos) {
      text = respelled_.emplace_back(respell(text));
    }
    const auto type =
        is_filler(text, id) ? GgufTokenType::unused : static_cast<GgufTokenType>(types[id]);
    tokens_.push_back({text, type});
    ids_.emplace(text, static_cast<std::int32_t>(id));
  }
}

std::int32_t GgufVocabulary::find(std::string_view text) const noexcept {
  const auto found = ids_.find(text);
  return found != ids_.end() ? found->second : -1;
}

std::vector<Merge> listed_merges(const GgufFile& file, const GgufVocabulary& vocabulary) {
  const auto lines = file.metadata().strings("tokenizer.ggml.merges");
  if (lines.size() > kMaxMerges) fail(file, "the file lists more than 2^21 merges");
  std::vector<Merge> merges;
  merges.reserve(lines.size());
  for (const std::string_view line : lines) {
    // A space in front belongs to the first token: no token is empty.
    const std::size_t space = line.find(' ', 1);
    const bool is_pair = space != std::string_view::npos && space + 1 < line.size() &&
                         line.size() <= 2 * kMaxTokenBytes + 1;
    const std::string_view left = line.substr(0, is_pair ? space : 0);
    const std::string_view right = line.substr(is_pair ? space + 1 : 0);
    const Merge merge{vocabulary.find(left), vocabulary.find(right)};
    if (!is_pair || merge.first < 0 || merge.second < 0 ||
        vocabulary.find(std::string(left) + std::string(right)) < 0) {
      fail(file, "the merge " + in_quotes(line) + " does not join two tokens to a third");
    }
    merges.push_back(merge);
  }
  return merges;
}

std::vector<Merge> merges_from_scores(const GgufFile& file, const GgufVocabulary& vocabulary) {
  const auto scores = file.metadata().get_array<float>("tokenizer.ggml.scores");
  if (scores.size() != vocabulary.size()) {
    fail(file, "the file has " + std::to_string(vocabulary.size()) + " tokens and scores for " +
                   std::to_string(scores.size()));
  }
  std::vector<ScoredMerge> scored;
  for (std::size_t id = 0; id < vocabulary.size(); ++id) {
    const GgufToken& token = vocabulary[id];
    if (!std::isfinite(scores[id])) {
      fail(file, "the score of token " + std::to_string(id) + " is not a finite number");
    }
    const bool is_first = vocabulary.find(token.text) == static_cast<std::int32_t>(id);
    if (!is_first || !takes_part_in_merges(token.type)) continue;
    cut(vocabulary, token.text, scores[id], scored);
    if (scored.size() > kMaxMerges) fail(file, "the pieces imply more than 2^21 merges");
  }
  std::ranges::stable_sort(scored, [](const ScoredMerge& a, const ScoredMerge& b) {
    return std::tie(a.score, a.left_length, a.right_length) >
           std::tie(b.score, b.left_length, b.right_length);
  });
  std::vector<Merge> merges;
  merges.reserve(scored.size());
  for (const ScoredMerge& one : scored) merges.push_back(one.merge);
  return merges;
}

}  // namespace quiver
