// The text side of a model folder: tokenizer, chat template, tokens that end a text.
#include "host/cli/model_text.hpp"

#include "core/model/model_config.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace quiver::cli {
namespace {

constexpr std::size_t kLargestText = std::size_t{1} << 30U;

/// Ids that end a text, by the model's config files or else by the tokenizer's.
std::vector<std::int32_t> find_end_ids(const std::filesystem::path& folder,
                                       const text::Tokenizer& tokenizer) {
  std::vector<std::int32_t> ids;
  std::error_code error;
  if (std::filesystem::exists(folder / "config.json", error)) {
    ids = end_token_ids(folder, ModelConfig::load(folder));
  }
  if (ids.empty()) {
    if (const auto id = tokenizer.special_id("eos_token")) ids.push_back(*id);
  }
  std::ranges::sort(ids);
  return ids;
}

/// Everything that can be read from a descriptor; `where` names it in errors.
std::string read_all(int descriptor, const std::string& where) {
  std::string text;
  std::array<char, 65536> buffer{};
  while (true) {
    const ssize_t count = ::read(descriptor, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      throw Error(ErrorCode::bad_input, std::strerror(errno), where, "give a text file");
    }
    if (count == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(count));
    if (text.size() > kLargestText) {
      throw Error(ErrorCode::bad_input, "the text is larger than 1 GiB", where, "split it");
    }
  }
}

}  // namespace

bool ModelText::exists(const std::filesystem::path& folder) {
  std::error_code error;
  return std::filesystem::exists(folder / "tokenizer.json", error);
}

Error ModelText::missing(const std::filesystem::path& folder) {
  return Error(ErrorCode::bad_input, "the model has no tokenizer.json, so it cannot read text",
               folder.string(), "add the file, or give token ids with --ids");
}

ModelText::ModelText(const std::filesystem::path& folder)
    : folder_(folder),
      tokenizer_(exists(folder) ? text::Tokenizer::load_folder(folder) : throw missing(folder)),
      end_ids_(find_end_ids(folder, tokenizer_)) {}

std::vector<std::int32_t> ModelText::encode(std::string_view text, bool is_whole) const {
  return tokenizer_.encode(text, is_whole);
}

std::vector<std::int32_t> ModelText::encode_chat(const nlohmann::ordered_json& messages,
                                                 bool opens_answer) const {
  const auto chat_template = text::ChatTemplate::load_folder(folder_);
  if (!chat_template) {
    throw Error(ErrorCode::bad_input, "the model has no chat template", folder_.string(),
                "give the whole text with --prompt, or add chat_template.jinja");
  }
  text::ChatRequest request;
  request.messages_json = messages.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  request.add_generation_prompt = opens_answer;
  return tokenizer_.encode(chat_template->render(request), false);
}

std::int32_t ModelText::size() const {
  return static_cast<std::int32_t>(tokenizer_.vocab_size());
}

std::string_view ModelText::piece(std::int32_t id) const {
  std::call_once(pieces_flag_, [this] {
    pieces_.reserve(tokenizer_.vocab_size());
    for (std::int32_t i = 0; i < size(); ++i) pieces_.push_back(tokenizer_.piece(i));
  });
  return id >= 0 && id < size() ? std::string_view(pieces_[static_cast<std::size_t>(id)])
                                : std::string_view();
}

bool ModelText::is_end(std::int32_t id) const {
  return std::ranges::binary_search(end_ids_, id);
}

std::string read_text(const std::string& path) {
  if (path == "-") return read_all(STDIN_FILENO, "standard input");
  // Anything that can be read will do, pipes and what shells make of <(..) too.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    throw Error(ErrorCode::bad_input, std::strerror(errno), path, "check the path");
  }
  std::string text;
  try {
    text = read_all(descriptor, path);
  } catch (...) {
    ::close(descriptor);
    throw;
  }
  ::close(descriptor);
  return text;
}

}  // namespace quiver::cli
