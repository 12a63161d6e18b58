// A loaded text model with everything that generating needs.
#include "host/cli/text_engine.hpp"

#include "core/decode/decoder.hpp"
#include "core/text/stream_decoder.hpp"
#include "host/cli/interrupt.hpp"
#include "host/cli/model_location.hpp"
#include "host/cli/progress.hpp"
#include "host/cli/stop_strings.hpp"

#include <quiver/error.hpp>

#include <chrono>

namespace quiver::cli {
namespace {

constexpr const char* kReading = "reading the prompt";

/// Turns tokens into the text that may be shown.
class TextStream {
 public:
  TextStream(const ModelText& text, const std::vector<std::string>& stops)
      : text_(text), decoder_(text.tokenizer()), stops_(stops) {}

  std::string feed(std::int32_t token) {
    return text_.is_end(token) ? std::string() : stops_.feed(decoder_.feed(token));
  }
  std::string finish() {
    std::string rest = stops_.feed(decoder_.finish());
    return stops_.is_found() ? rest : rest + stops_.finish();
  }
  bool is_stopped() const { return stops_.is_found(); }

 private:
  const ModelText& text_;
  text::StreamDecoder decoder_;
  StopStrings stops_;
};

GenerationOptions generation_options(const Arguments& arguments, const PluginRegistry& registry) {
  GenerationOptions options;
  options.decode = make_decode_options(registry, arguments);
  options.max_tokens = static_cast<int>(arguments.integer("max-tokens", 1));
  options.seed = seed(arguments);
  options.interrupt = &interrupt_flag();
  return options;
}

}  // namespace

TextEngine::TextEngine(const Arguments& arguments)
    : session_(arguments),
      samplers_(make_sampler_chain(session_.registry(), arguments)),
      options_(generation_options(arguments, session_.registry())),
      stops_(arguments.texts("stop")),
      folder_(find_model_folder(arguments.text("MODEL"))) {
  const auto start = std::chrono::steady_clock::now();
  static_cast<void>(StopStrings(stops_));  // refuses empty ones before the model is loaded
  auto model = session_.load(folder_);
  check_decoding(*model, options_.decode, options_);
  if (ModelText::exists(folder_)) text_ = std::make_shared<const ModelText>(folder_);
  if (!stops_.empty()) require_text();
  if (!arguments.flag("ignore-eos")) {
    options_.end_ids = text_ ? text_->end_ids() : end_token_ids(folder_, model->config());
  }
  options_.vocabulary = text_.get();
  KvPlan kv = choose_kv(session_, arguments, *model).plan;
  engine_ = std::make_unique<Engine>(std::move(model), std::move(kv), session_.threads(),
                                     session_.compute());
  const std::chrono::duration<double, std::milli> elapsed =
      std::chrono::steady_clock::now() - start;
  load_ms_ = elapsed.count();
}

void TextEngine::set_suffix(std::vector<std::int32_t> tokens) {
  options_.decode.suffix = std::move(tokens);
  check_decoding(engine_->model(), options_.decode, options_);
}

const ModelText& TextEngine::require_text() const {
  if (!text_) throw ModelText::missing(folder_);
  return *text_;
}

void TextEngine::read(Sequence& sequence, std::span<const std::int32_t> prompt, std::size_t first,
                      std::size_t last) {
  ProgressLine progress(kReading, last - first, "tokens");
  const auto go_on = [&](std::size_t done) {
    progress.update(done);
    return !interrupt_flag().load();
  };
  engine_->feed_prompt(sequence, prompt.subspan(first, last - first), Wanted::none, go_on, {},
                       images_.get());
}

Answer TextEngine::run(Sequence& sequence, std::span<const std::int32_t> prompt, std::size_t cached,
                       TokenFilter* filter, const std::function<void(std::string_view)>& show) {
  Answer answer;
  std::optional<TextStream> stream;
  if (text_) stream.emplace(*text_, stops_);
  const auto fresh = prompt.subspan(cached);
  ProgressLine progress(kReading, fresh.size(), "tokens");
  const auto add = [&](const std::string& piece) {
    if (piece.empty()) return;
    answer.text += piece;
    show(piece);
  };
  GenerationOptions options = options_;
  options.filter = filter;
  options.images = images_.get();
  options.cached = prompt.first(cached);
  options.on_prompt = [&](std::size_t done) {
    progress.update(done);
    return true;
  };
  options.on_token = [&](std::int32_t token) {
    progress.clear();
    if (!stream) return true;
    add(stream->feed(token));
    return !stream->is_stopped();
  };
  answer.generation = generate(*engine_, sequence, fresh, samplers_, options);
  if (stream) add(stream->finish());
  return answer;
}

}  // namespace quiver::cli
