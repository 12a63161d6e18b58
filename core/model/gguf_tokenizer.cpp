// Rebuilding of tokenizers.
#include "core/model/gguf_tokenizer.hpp"

#include <algorithm>
#include <optional>
#include <quiver/error.hpp>
#include <string_view>
#include <utility>

#include "core/model/gguf_config.hpp"
#include "core/model/gguf_vocabulary.hpp"
#include "core/tensor/printable.hpp"
#include "core/tensor/utf8.hpp"

namespace quiver {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kVisibleSpace = "\xE2\x96\x81";  // U+2581

/// One of the family's rows by its name; an unknown name is refused with the list of known ones.
template <class Row>
const Row& find_row(const GgufFile& file, std::span<const Row> rows, std::string_view name,
                    const char* what) {
  std::string known;
  for (const Row& row : rows) {
    if (row.name == name) return row;
    known += (known.empty() ? "" : ", ") + std::string(row.name);
  }
  throw Error(ErrorCode::bad_input,
              std::string("the ") + what + " " + in_quotes(name) + " cannot be rebuilt",
              file.label(), "known are " + known + "; use the original model");
}

Json merge_list(const GgufVocabulary& vocabulary, const std::vector<Merge>& merges) {
  Json list = Json::array();
  auto& items = list.get_ref<Json::array_t&>();
  items.reserve(merges.size());
  const auto text = [&](std::int32_t id) {
    return std::string(vocabulary[static_cast<std::size_t>(id)].text);
  };
  // Pairs rather than "a b": they hold any token.
  for (const auto& [left, right] : merges) {
    items.push_back(Json::array({text(left), text(right)}));
  }
  return list;
}

Json bpe_model(const GgufVocabulary& vocabulary, const std::vector<Merge>& merges) {
  Json texts = Json::object();
  // As a list of members: look-up by name in an ordered object is linear.
  auto& members = texts.get_ref<Json::object_t&>();
  members.reserve(vocabulary.size());
  for (std::size_t id = 0; id < vocabulary.size(); ++id) {
    const std::string_view text = vocabulary[id].text;
    if (vocabulary.find(text) == static_cast<std::int32_t>(id)) members.emplace_back(text, id);
  }
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", false},
          {"vocab", std::move(texts)},
          {"merges", merge_list(vocabulary, merges)}};
}

Json byte_level(bool uses_pattern) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", uses_pattern}};
}

Json pre_tokenizer(const GgufPretokenizer& rules) {
  Json steps = Json::array();
  if (rules.splits_digits) steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
  for (const char* pattern : rules.patterns) {
    if (pattern == nullptr) break;
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", pattern}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  }
  steps.push_back(byte_level(rules.uses_built_in_pattern));
  if (steps.size() == 1) return steps.front();
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

Json replace(std::string_view from, std::string_view to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

class Rebuilder {
 public:
  Rebuilder(const GgufFile& file, const GgufImport& family)
      : file_(file),
        algorithm_(
            find_row(file, family.tokenizer_kinds(), text("tokenizer.ggml.model"), "tokenizer kind")
                .algorithm),
        vocabulary_(file, algorithm_ == GgufTokenizerAlgorithm::sentencepiece_bpe),
        ids_(read_token_ids(file, static_cast<std::int64_t>(vocabulary_.size()))) {
    if (algorithm_ == GgufTokenizerAlgorithm::byte_level_bpe) {
      rules_ = &find_row(file, family.pretokenizers(), text("tokenizer.ggml.pre"), "pre-tokenizer");
    }
  }

  RebuiltTokenizer rebuild() {
    // A beginning that no key asks for is left out where there is none; the rest must fit together.
    adds_bos_ = flag("add_bos_token", (rules_ == nullptr || rules_->adds_bos) && ids_.bos >= 0);
    adds_eos_ = flag("add_eos_token", false);
    if (adds_bos_) require(ids_.bos >= 0, "bos");
    if (adds_eos_) require(!ids_.ends.empty(), "eos");
    RebuiltTokenizer rebuilt;
    Json& json = rebuilt.tokenizer;
    json = {{"version", "1.0"},         {"truncation", nullptr}, {"padding", nullptr},
            {"added_tokens", added()},  {"normalizer", nullptr}, {"pre_tokenizer", nullptr},
            {"post_processor", post()}, {"decoder", nullptr},    {"model", nullptr}};
    if (rules_ != nullptr) {
      fill_byte_level(json);
    } else {
      fill_sentencepiece(json);
    }
    read_chat_template(rebuilt);
    rebuilt.config = config(rebuilt.chat_template);
    if (vocabulary_.repeated() > 0) {
      rebuilt.warnings.push_back(std::to_string(vocabulary_.repeated()) +
                                 " tokens repeat the text of others and are left out");
    }
    return rebuilt;
  }

 private:
  std::string_view text(std::string_view key) const {
    const auto found = file_.metadata().find<std::string_view>(key);
    if (found) return *found;
    throw Error(ErrorCode::bad_input, "the metadata has no key " + in_quotes(key), file_.label(),
                "without it the tokenizer cannot be rebuilt; convert the original model anew");
  }

  bool flag(const std::string& name, bool fallback) const {
    return file_.metadata().find<bool>("tokenizer.ggml." + name).value_or(fallback);
  }

  void require(bool is_there, const std::string& name) const {
    if (is_there) return;
    throw Error(ErrorCode::bad_input,
                "the file asks for a token around every text and has no key 'tokenizer.ggml." +
                    name + "_token_id'",
                file_.label(), "convert the original model anew");
  }

  std::string token(std::int64_t id) const {
    return std::string(vocabulary_[static_cast<std::size_t>(id)].text);
  }

  void fill_byte_level(Json& json) const {
    if (rules_->normalizes_nfc) json["normalizer"] = {{"type", "NFC"}};
    json["pre_tokenizer"] = pre_tokenizer(*rules_);
    json["decoder"] = byte_level(true);
    json["model"] = bpe_model(vocabulary_, listed_merges(file_, vocabulary_));
    json["model"]["ignore_merges"] = rules_->ignores_merges;
  }

  void fill_sentencepiece(Json& json) const {
    const bool has_prefix = flag("add_space_prefix", true);
    Json normalizers = Json::array();
    if (has_prefix) normalizers.push_back({{"type", "Prepend"}, {"prepend", kVisibleSpace}});
    normalizers.push_back(replace(" ", kVisibleSpace));
    json["normalizer"] = {{"type", "Sequence"}, {"normalizers", std::move(normalizers)}};
    Json decoders = {replace(kVisibleSpace, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}};
    if (has_prefix) {
      decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    }
    json["decoder"] = {{"type", "Sequence"}, {"decoders", std::move(decoders)}};
    json["model"] = bpe_model(vocabulary_, merges_from_scores(file_, vocabulary_));
    json["model"]["fuse_unk"] = true;
    json["model"]["byte_fallback"] = has_type(GgufTokenType::byte);
    if (const std::int64_t unknown = unknown_id(); unknown >= 0) {
      json["model"]["unk_token"] = token(unknown);
    }
  }

  bool has_type(GgufTokenType type) const {
    for (std::size_t id = 0; id < vocabulary_.size(); ++id) {
      if (vocabulary_[id].type == type) return true;
    }
    return false;
  }

  std::int64_t unknown_id() const {
    if (ids_.unknown >= 0) return ids_.unknown;
    for (std::size_t id = 0; id < vocabulary_.size(); ++id) {
      if (vocabulary_[id].type == GgufTokenType::unknown) return static_cast<std::int64_t>(id);
    }
    return -1;
  }

  /// Tokens that are found in a text before it is split, in the order of their ids.
  Json added() const {
    Json list = Json::array();
    for (std::size_t id = 0; id < vocabulary_.size(); ++id) {
      const auto [text, type] = vocabulary_[id];
      const auto number = static_cast<std::int64_t>(id);
      const bool is_special = type == GgufTokenType::control || type == GgufTokenType::unknown ||
                              number == ids_.bos ||
                              std::ranges::find(ids_.ends, number) != ids_.ends.end();
      const bool is_repeated = vocabulary_.find(text) != static_cast<std::int32_t>(id);
      if (text.empty() || is_repeated) continue;
      if (!is_special && type != GgufTokenType::user_defined) continue;
      list.push_back({{"id", id},
                      {"content", text},
                      {"single_word", false},
                      {"lstrip", false},
                      {"rstrip", false},
                      {"normalized", false},
                      {"special", is_special}});
    }
    return list;
  }

  Json post() const {
    if (!adds_bos_ && !adds_eos_) return nullptr;
    Json specials = Json::object();
    const auto special = [&](std::int64_t id, int type) -> Json {
      specials[token(id)] = {
          {"id", token(id)}, {"ids", Json::array({id})}, {"tokens", Json::array({token(id)})}};
      return {{"SpecialToken", {{"id", token(id)}, {"type_id", type}}}};
    };
    const auto around = [&](const char* name, int type, Json& pieces) {
      if (adds_bos_) pieces.push_back(special(ids_.bos, type));
      pieces.push_back({{"Sequence", {{"id", name}, {"type_id", type}}}});
      if (adds_eos_) pieces.push_back(special(ids_.ends.front(), type));
    };
    Json single = Json::array();
    around("A", 0, single);
    Json pair = single;
    around("B", 1, pair);
    return {{"type", "TemplateProcessing"},
            {"single", std::move(single)},
            {"pair", std::move(pair)},
            {"special_tokens", std::move(specials)}};
  }

  void read_chat_template(RebuiltTokenizer& rebuilt) const {
    const auto found = file_.metadata().find<std::string_view>("tokenizer.chat_template");
    if (found && !is_utf8(*found)) {
      throw Error(ErrorCode::bad_input, "the chat template is not UTF-8", file_.label(),
                  "the file is damaged; fetch it again");
    }
    if (found) rebuilt.chat_template = *found;
    if (file_.metadata().has("tokenizer.chat_templates")) {
      rebuilt.warnings.emplace_back("chat templates besides the default one are left out");
    }
  }

  nlohmann::json config(const std::string& chat_template) const {
    // The generic class uses tokenizer.json as it is; others rebuild parts of it by their own
    // rules.
    nlohmann::json json = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                           {"clean_up_tokenization_spaces", false},
                           {"add_bos_token", adds_bos_},
                           {"add_eos_token", adds_eos_}};
    if (ids_.bos >= 0) json["bos_token"] = token(ids_.bos);
    if (!ids_.ends.empty()) json["eos_token"] = token(ids_.ends.front());
    if (ids_.padding >= 0) json["pad_token"] = token(ids_.padding);
    if (const std::int64_t unknown = unknown_id(); unknown >= 0) {
      json["unk_token"] = token(unknown);
    }
    const std::string length = std::string(text("general.architecture")) + ".context_length";
    if (const auto context = file_.metadata().find<std::int64_t>(length)) {
      json["model_max_length"] = *context;
    }
    if (!chat_template.empty()) json["chat_template"] = chat_template;
    return json;
  }

  const GgufFile& file_;
  GgufTokenizerAlgorithm algorithm_;
  GgufVocabulary vocabulary_;
  GgufTokenIds ids_;
  const GgufPretokenizer* rules_ = nullptr;  // Only byte-level BPE has any.
  bool adds_bos_ = false;
  bool adds_eos_ = false;
};

}  // namespace

RebuiltTokenizer rebuild_tokenizer(const GgufFile& file, const GgufImport& family) {
  return Rebuilder(file, family).rebuild();
}

}  // namespace quiver
