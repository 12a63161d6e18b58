// The streaming form of each kind of decoder.
#include "core/text/stream_decoder.hpp"

#include <utility>

#include "core/text/tokenizer_data.hpp"

namespace quiver::text {

StreamDecoder::StreamDecoder(Tokenizer tokenizer, bool skip_special_tokens)
    : tokenizer_(std::move(tokenizer)),
      skip_special_tokens_(skip_special_tokens),
      strip_left_(tokenizer_.data_->plan.strip_count) {}

std::string StreamDecoder::feed(std::int32_t id) {
  std::string out;
  if (tokenizer_.data_->plan.form == TextForm::whole) {
    ids_.push_back(id);
    return out;
  }
  if (skip_special_tokens_ && tokenizer_.is_special(id)) return out;
  const auto token = tokenizer_.token(id);
  if (token) feed_token(*token, out);
  return out;
}

void StreamDecoder::feed_token(const std::string& token, std::string& out) {
  const DecodePlan& plan = tokenizer_.data_->plan;
  const bool is_first = std::exchange(is_first_, false);
  const std::string text = plan.apply_rules(token, is_first);
  switch (plan.form) {
    case TextForm::text: emit(text, out); break;
    case TextForm::joined:
      if (!is_first) out += ' ';
      out += text;
      break;
    case TextForm::byte_level: {
      std::string ready;
      utf8_.feed(byte_level_bytes(text), ready);
      emit(ready, out);
      break;
    }
    case TextForm::byte_fallback:
      if (const auto byte = fallback_byte(text)) {
        byte_run_ += *byte;
      } else {
        end_byte_run(out);
        emit(text, out);
      }
      break;
    case TextForm::whole: break;
  }
}

void StreamDecoder::end_byte_run(std::string& out) {
  if (is_utf8(byte_run_)) {
    emit(byte_run_, out);
  } else {
    for (std::size_t i = 0; i < byte_run_.size(); ++i) emit(kReplacement, out);
  }
  byte_run_.clear();
}

void StreamDecoder::emit(std::string_view text, std::string& out) {
  const std::string& content = tokenizer_.data_->plan.strip_content;
  while (strip_left_ > 0 && text.starts_with(content)) {
    text.remove_prefix(content.size());
    --strip_left_;
  }
  if (!text.empty()) strip_left_ = 0;
  out += text;
}

std::string StreamDecoder::finish() {
  std::string out;
  if (tokenizer_.data_->plan.form == TextForm::whole && !ids_.empty()) {
    out = tokenizer_.decode(ids_, skip_special_tokens_);
  }
  std::string rest;
  utf8_.finish(rest);
  emit(rest, out);
  end_byte_run(out);
  *this = StreamDecoder(std::move(tokenizer_), skip_special_tokens_);
  return out;
}

}  // namespace quiver::text
