// Rows of calibration text to tokens, through a model's tokenizer and chat template.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/quantize/calibration.hpp"
#include "core/text/chat_template.hpp"
#include "core/text/tokenizer.hpp"

namespace quiver {

/// How a row became text.
enum class CalibrationForm {
  text,        ///< A text as it stands.
  templated,   ///< Messages and tools through the chat template.
  simplified,  ///< Through the template, with nothing in it but turns of a user and an assistant:
               ///< system message and tools open the first turn, calls are written as JSON.
  plain,       ///< "[role]: content", messages separated by a blank line.
};

struct RenderedRow {
  std::string text;
  CalibrationForm form = CalibrationForm::text;
};

/// The text side of a model. Immutable. [any-thread]
class CalibrationText {
 public:
  /// Of a model folder. Throws Error(bad_input) where its tokenizer or template is missing its
  /// sense; a folder without a template is fine.
  static CalibrationText load_folder(const std::filesystem::path& folder);

  CalibrationText(text::Tokenizer tokenizer, std::optional<text::ChatTemplate> chat_template)
      : tokenizer_(std::move(tokenizer)), template_(std::move(chat_template)) {}

  bool has_template() const noexcept { return template_.has_value(); }

  /// The row as the model would meet it: the first form in which the template takes it and no tool
  /// is lost; plain where none is, or where the model has no template. Date and time in templates
  /// are those of a fixed day.
  RenderedRow render(const CalibrationRow& row) const;

  /// The same as the reference converter does it: tools are left out where the template refuses
  /// them, a row that is still refused is plain.
  std::string render_optiq(const CalibrationRow& row) const;

  /// Tokens of a rendered row. Templates write the tokens that begin a text themselves; for other
  /// forms the tokenizer puts them there.
  std::vector<std::int32_t> encode(const RenderedRow& row) const;

  const text::Tokenizer& tokenizer() const noexcept { return tokenizer_; }

 private:
  std::optional<std::string> render(const std::string& messages, const std::string& tools) const;

  text::Tokenizer tokenizer_;
  std::optional<text::ChatTemplate> template_;
};

}  // namespace quiver
