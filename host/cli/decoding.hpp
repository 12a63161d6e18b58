// The options that say how tokens are found: one by one, by drafts, or in blocks.
#pragma once

#include "core/decode/decode_options.hpp"
#include "core/plugin/registry.hpp"
#include "host/cli/arguments.hpp"

namespace quiver::cli {

inline constexpr OptionRow kDecodingOptions[] = {
    {.name = "decode",
     .value = "MODE",
     .choices = "auto|ar|self-spec|mtp|ngram|block-diffusion",
     .default_value = "auto",
     .help =
         "How tokens are found: ar is one after the other; self-spec drafts several with the "
         "model's prediction of blocks and keeps those that ar gives; mtp does so with its draft "
         "head, ngram with what stood in the text before; block-diffusion fills blocks in step "
         "by step; auto is self-spec or mtp where that is quicker, else ar"},
    {.name = "draft-tokens",
     .value = "N",
     .default_value = "0",
     .help = "Rows of a draft, the newest token included; 0 finds the quickest number"},
    {.name = "mtp-history",
     .value = "on|off",
     .choices = "on|off",
     .default_value = "on",
     .help = "Whether the draft head sees what it saw of the text before"},
    {.name = "block-length",
     .value = "N",
     .default_value = "0",
     .help = "Tokens of a block; 0 is that of the model, in canvases of the quickest length"},
    {.name = "threshold",
     .value = "X",
     .default_value = "0.5",
     .help = "Probability from which on a token of a block is kept"},
    {.name = "canvas-sampler",
     .value = "NAME[:K=V,..]",
     .help = "Canvas sampler with its options, instead of one that keeps what is likely; 'quiver "
             "plugins list --kind canvas-sampler' lists them"},
    {.name = "allow-mask", .help = "Let the mask token be chosen, as reference programs do"},
};

/// Reads them; what block-diffusion needs is loaded only where it is asked for. Throws
/// Error(usage) and Error(plugin). [load-thread]
DecodeOptions make_decode_options(const PluginRegistry& registry, const Arguments& arguments);

}  // namespace quiver::cli
