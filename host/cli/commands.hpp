// Every command of the program.
#pragma once

#include "host/cli/option_table.hpp"

#include <span>

namespace quiver::cli {

/// All commands in the order of the help. They live as long as the program. [any-thread]
std::span<const Command* const> commands();

// One function a command, each in the file named after it.
const Command& info_command();
const Command& import_command();
const Command& allocate_command();
const Command& latency_command();
const Command& quantize_tensor_command();
const Command& plugins_list_command();
const Command& plugins_inspect_command();
const Command& plugins_check_command();
const Command& plugins_new_command();
const Command& plugins_lock_command();
const Command& plugins_verify_command();
const Command& generate_docs_command();
#if QUIVER_IMAGES
const Command& convert_command();
const Command& detect_command();
const Command& eval_command();
#endif
#if QUIVER_TEXT
const Command& generate_command();
const Command& chat_command();
const Command& convert_command();
const Command& tokenize_command();
const Command& detokenize_command();
const Command& logits_command();
const Command& kl_command();
const Command& kv_cache_command();
const Command& perplexity_command();
#endif

}  // namespace quiver::cli
