// A loaded text model with everything that generating needs.
#pragma once

#include "core/decode/decoder.hpp"
#include "core/decode/engine.hpp"
#include "core/decode/generator.hpp"
#include "host/cli/decoding.hpp"
#include "host/cli/kv_choice.hpp"
#include "host/cli/model_text.hpp"
#include "host/cli/sampling.hpp"
#include "host/cli/session.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quiver::cli {

inline constexpr OptionRow kGenerationOptions[] = {
    {.name = "max-tokens", .value = "N", .default_value = "256", .help = "Most tokens to generate"},
    {.name = "stop",
     .value = "TEXT",
     .help = "End before this text, which is not printed",
     .is_repeatable = true},
    {.name = "ignore-eos", .help = "Go on behind tokens that end a text"},
};

inline constexpr OptionRow kCacheOptions[] = {kKvOption, kKvConfigOption, kKvRecentOption};

/// What one call generated.
struct Answer {
  Generation generation;
  std::string text;  ///< What was shown.
};

/// [one-call-at-a-time]
class TextEngine {
 public:
  /// Checks the options of sampling and generation, then loads MODEL. Throws Error.
  explicit TextEngine(const Arguments& arguments);

  Engine& engine() { return *engine_; }

  /// An empty sequence with all that decoding needs.
  Sequence new_sequence() { return make_sequence(*engine_, options_.decode); }

  /// nullptr where the folder has no tokenizer.
  const ModelText* text() const { return text_.get(); }

  /// The same; throws Error(bad_input) where it has none.
  const ModelText& require_text() const;

  double load_ms() const { return load_ms_; }

  /// Whether a sequence that holds the beginning of a prompt can go on with the rest of it.
  bool can_continue() const { return options_.decode.mode != DecodeMode::block_diffusion; }

  /// Tokens that follow what is generated. Throws Error(usage) where the way of decoding cannot
  /// write towards them.
  void set_suffix(std::vector<std::int32_t> tokens);

  /// Pictures of the texts from now on; nullptr = none.
  void set_images(std::shared_ptr<const PromptImages> images) { images_ = std::move(images); }

  /// Who sees what decoding does; outlives the object.
  void set_observer(DecodeObserver* observer) { options_.decode.observer = observer; }

  /// Feeds the tokens [first, last) of `prompt` into a sequence that holds those before, without
  /// generating; where can_continue(). Shows progress.
  void read(Sequence& sequence, std::span<const std::int32_t> prompt, std::size_t first,
            std::size_t last);

  /// Feeds what `prompt` has beyond the `cached` tokens that the sequence holds, and generates
  /// behind it; `show` gets the text piece by piece, whole code points only. `filter` may be
  /// nullptr. Shows progress while the prompt is read.
  Answer run(Sequence& sequence, std::span<const std::int32_t> prompt, std::size_t cached,
             TokenFilter* filter, const std::function<void(std::string_view)>& show);

 private:
  Session session_;
  SamplerChain samplers_;
  GenerationOptions options_;
  std::vector<std::string> stops_;
  std::filesystem::path folder_;
  std::shared_ptr<const ModelText> text_;
  std::unique_ptr<Engine> engine_;
  std::shared_ptr<const PromptImages> images_;
  double load_ms_ = 0;
};

}  // namespace quiver::cli
