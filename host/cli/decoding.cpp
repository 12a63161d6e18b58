// The options that say how tokens are found: one by one, by drafts, or in blocks.
#include "host/cli/decoding.hpp"

#include "core/decode/pass_costs.hpp"
#include "core/plugin/offers.hpp"
#include "host/cli/session.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>

#include <string>

namespace quiver::cli {
namespace {

constexpr int kLongestBlock = 4096;

DecodeMode decode_mode(std::string_view name) {
  for (const DecodeMode mode :
       {DecodeMode::autoregressive, DecodeMode::self_speculation, DecodeMode::block_diffusion,
        DecodeMode::draft_head, DecodeMode::ngram}) {
    if (name == decode_mode_name(mode)) return mode;
  }
  return DecodeMode::automatic;
}

/// Refuses an option that would change nothing.
void require_mode(const Arguments& arguments, const char* option, bool is_used, const char* modes) {
  if (is_used || !arguments.has(option)) return;
  throw Error(ErrorCode::usage, fmt::format("--{} belongs to --decode {}", option, modes),
              std::string(arguments.command().name), "leave it out, or choose that mode");
}

std::shared_ptr<const CanvasSampler> canvas_sampler(const PluginRegistry& registry,
                                                    const Arguments& arguments) {
  const double threshold = arguments.number("threshold", 0, 1);
  if (!arguments.has("canvas-sampler")) {
    return create_canvas_sampler(registry, "confidence",
                                 OptionInput::from_text(fmt::format("threshold={}", threshold)));
  }
  if (arguments.has("threshold")) {
    throw Error(ErrorCode::usage, "--canvas-sampler and --threshold exclude each other",
                std::string(arguments.command().name), "give the threshold as an option of it");
  }
  const NamedOptions named = split_options(arguments.text("canvas-sampler"));
  return create_canvas_sampler(registry, named.name, OptionInput::from_text(named.options));
}

}  // namespace

DecodeOptions make_decode_options(const PluginRegistry& registry, const Arguments& arguments) {
  DecodeOptions options;
  options.mode = decode_mode(arguments.text("decode"));
  options.draft_tokens =
      static_cast<int>(arguments.integer("draft-tokens", 0, PassCosts::kMaxRows));
  options.block_length = static_cast<int>(arguments.integer("block-length", 0, kLongestBlock));
  options.allows_mask = arguments.flag("allow-mask");
  options.has_head_history = arguments.text("mtp-history") == "on";
  const bool is_auto = options.mode == DecodeMode::automatic;
  const bool is_diffusion = options.mode == DecodeMode::block_diffusion;
  const bool is_plain = options.mode == DecodeMode::autoregressive;
  const bool has_blocks = is_auto || is_diffusion || options.mode == DecodeMode::self_speculation;
  const bool has_head = is_auto || options.mode == DecodeMode::draft_head;
  require_mode(arguments, "draft-tokens", !is_plain && !is_diffusion, "self-spec, mtp and ngram");
  require_mode(arguments, "mtp-history", has_head, "mtp");
  require_mode(arguments, "block-length", has_blocks, "self-spec and block-diffusion");
  require_mode(arguments, "allow-mask", has_blocks, "self-spec and block-diffusion");
  require_mode(arguments, "threshold", is_diffusion, "block-diffusion");
  require_mode(arguments, "canvas-sampler", is_diffusion, "block-diffusion");
  if (is_diffusion) options.canvas_sampler = canvas_sampler(registry, arguments);
  return options;
}

}  // namespace quiver::cli
