// Tokenizer: a thin layer over the crate, plus what the decoder says about single tokens.
#include "core/text/tokenizer.hpp"

#include <utility>

#include "core/text/rust_call.hpp"
#include "core/text/text_file.hpp"
#include "core/text/tokenizer_data.hpp"

namespace quiver::text {
namespace {

/// The largest published files have 35 MB and 1 MB.
constexpr std::size_t kMaxTokenizerBytes = std::size_t{512} << 20;
constexpr std::size_t kMaxConfigBytes = std::size_t{64} << 20;

const char* const kHint = "the file is damaged or of a kind that cannot be read; get it again";

std::optional<std::string> token_of(const qt_tokenizer* handle, std::int32_t id) {
  qt_bytes token{};
  if (id < 0 || !qt_tokenizer_token(handle, static_cast<std::uint32_t>(id), &token)) {
    return std::nullopt;
  }
  return take(token);
}

}  // namespace

Tokenizer::Tokenizer(std::shared_ptr<const Data> data) noexcept : data_(std::move(data)) {}
Tokenizer::Tokenizer(const Tokenizer&) noexcept = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(const Tokenizer&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::filesystem::path& tokenizer_json,
                          const std::filesystem::path& tokenizer_config) {
  std::string config;
  if (!tokenizer_config.empty()) config = read_text_file(tokenizer_config, kMaxConfigBytes);
  return from_json(read_text_file(tokenizer_json, kMaxTokenizerBytes), config,
                   tokenizer_json.string());
}

Tokenizer Tokenizer::load_folder(const std::filesystem::path& folder) {
  const std::filesystem::path config = folder / "tokenizer_config.json";
  std::error_code ignored;
  const bool has_config = std::filesystem::exists(config, ignored);
  return load(folder / "tokenizer.json", has_config ? config : std::filesystem::path());
}

Tokenizer Tokenizer::from_json(std::string_view tokenizer_json, std::string_view tokenizer_config,
                               const std::string& where) {
  auto data = std::make_shared<Data>();
  qt_tokenizer* handle = nullptr;
  qt_bytes error{};
  const qt_status status =
      qt_tokenizer_from_json(bytes_of(tokenizer_json), tokenizer_json.size(), &handle, &error);
  check(status, error, "cannot read the tokenizer", where, kHint);
  data->handle.reset(handle);

  qt_bytes decoder{};
  check(qt_tokenizer_decoder(handle, &decoder, &error), error, "cannot read the decoder", where,
        kHint);
  data->plan = DecodePlan::parse(take(decoder));
  data->config = parse_tokenizer_config(tokenizer_config, "tokenizer_config.json of " + where);
  return Tokenizer(std::move(data));
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  qt_ids ids{};
  qt_bytes error{};
  check(qt_tokenizer_encode(data_->handle.get(), bytes_of(text), text.size(), add_special_tokens,
                            &ids, &error),
        error, "cannot tokenize");
  return take(ids);
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special_tokens) const {
  // Negative ids become ids beyond every vocabulary, which the crate skips.
  const std::vector<std::uint32_t> unsigned_ids(ids.begin(), ids.end());
  qt_bytes text{};
  qt_bytes error{};
  check(qt_tokenizer_decode(data_->handle.get(), unsigned_ids.data(), unsigned_ids.size(),
                            skip_special_tokens, &text, &error),
        error, "cannot decode");
  return take(text);
}

std::string Tokenizer::piece(std::int32_t id) const {
  const auto spelling = token(id);
  return spelling ? data_->plan.piece(*spelling) : std::string();
}

std::optional<std::string> Tokenizer::token(std::int32_t id) const {
  return token_of(data_->handle.get(), id);
}

std::optional<std::int32_t> Tokenizer::id(std::string_view token) const {
  const std::int64_t id = qt_tokenizer_id(data_->handle.get(), bytes_of(token), token.size());
  if (id < 0) return std::nullopt;
  return static_cast<std::int32_t>(id);
}

std::optional<std::int32_t> Tokenizer::special_id(std::string_view role) const {
  const auto token = data_->config.special(role);
  return token ? id(*token) : std::nullopt;
}

bool Tokenizer::is_special(std::int32_t id) const noexcept {
  return id >= 0 && qt_tokenizer_is_special(data_->handle.get(), static_cast<std::uint32_t>(id));
}

std::size_t Tokenizer::vocab_size() const noexcept {
  return qt_tokenizer_vocab_size(data_->handle.get());
}

const TokenizerConfig& Tokenizer::config() const noexcept {
  return data_->config;
}

const qt_vocabulary* Tokenizer::Data::vocabulary() const {
  std::call_once(once_, [this] {
    const std::size_t count = qt_tokenizer_vocab_size(handle.get());
    std::string bytes;
    std::vector<std::uint32_t> sizes(count);
    const auto special = std::make_unique<bool[]>(count);
    for (std::size_t i = 0; i < count; ++i) {
      const auto spelling = token_of(handle.get(), static_cast<std::int32_t>(i));
      const std::string piece = spelling ? plan.piece(*spelling) : std::string();
      sizes[i] = static_cast<std::uint32_t>(piece.size());
      special[i] = qt_tokenizer_is_special(handle.get(), static_cast<std::uint32_t>(i));
      bytes += piece;
    }
    qt_vocabulary* made = nullptr;
    qt_bytes error{};
    check(qt_vocabulary_new(bytes_of(bytes), bytes.size(), sizes.data(), special.get(), count,
                            &made, &error),
          error, "cannot prepare the vocabulary for grammars");
    vocabulary_.reset(made);
  });
  return vocabulary_.get();
}

}  // namespace quiver::text
