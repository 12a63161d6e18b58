// Completion scripts for shells, made from the tables of the commands.
#pragma once

#include <string>

namespace quiver::cli {

std::string bash_completion();  ///< For share/bash-completion/completions/quiver. [any-thread]
std::string zsh_completion();   ///< For a folder of $fpath, named _quiver. [any-thread]
std::string fish_completion();  ///< For vendor_completions.d/quiver.fish. [any-thread]

}  // namespace quiver::cli
