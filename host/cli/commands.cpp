// The table of commands and of the options that they share.
#include "host/cli/commands.hpp"

#include <array>

namespace quiver::cli {
namespace {

constexpr OptionRow kGlobalOptions[] = {
    {.name = "json", .help = "Print one JSON document on stdout and nothing else there"},
    {.name = "quiet", .help = "No progress and no warnings on stderr"},
    {.name = "threads",
     .value = "N",
     .help = "Threads to compute with; all CPUs that this process may use where not given"},
    {.name = "plugin-path",
     .value = "DIR",
     .help = "Folder searched for plugins before all others",
     .is_repeatable = true,
     .completes = Completes::folder},
    {.name = "compute",
     .value = "MODE",
     .choices = "fast|exact",
     .default_value = "fast",
     .help = "exact computes in float32 throughout; fast multiplies integers in quantized layers"},
    {.name = "activations",
     .value = "BITS",
     .choices = "auto|8|16|32",
     .default_value = "auto",
     .help = "Bits of activations in quantized layers; of texts, layers of more than 4 bits take "
             "at least 16"},
    {.name = "help", .short_name = 'h', .help = "Print this help"},
};

}  // namespace

std::span<const OptionRow> global_options() {
  return kGlobalOptions;
}

std::span<const Command* const> commands() {
  static const std::array kCommands = {
#if QUIVER_TEXT
    &generate_command(),
    &chat_command(),
#endif
    &info_command(),
    &import_command(),
#if QUIVER_TEXT || QUIVER_IMAGES
    &convert_command(),
#endif
    &allocate_command(),
    &latency_command(),
    &quantize_tensor_command(),
#if QUIVER_TEXT
    &tokenize_command(),
    &detokenize_command(),
    &logits_command(),
    &perplexity_command(),
    &kl_command(),
    &kv_cache_command(),
#endif
#if QUIVER_IMAGES
    &detect_command(),
    &eval_command(),
#endif
    &plugins_list_command(),
    &plugins_inspect_command(),
    &plugins_check_command(),
    &plugins_new_command(),
    &plugins_lock_command(),
    &plugins_verify_command(),
    &generate_docs_command(),
  };
  return kCommands;
}

}  // namespace quiver::cli
