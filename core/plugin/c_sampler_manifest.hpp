// The JSON manifest that offers plain functions of any shared object as samplers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace quiver {

/// How the file name of a manifest ends.
inline constexpr std::string_view kManifestSuffix = ".sampler.json";

/// Limits of a manifest. Everything a file says is checked against them before it is used.
inline constexpr std::size_t kMaxManifestBytes = 256 * 1024;
inline constexpr std::size_t kMaxManifestSamplers = 24;
inline constexpr std::size_t kMaxManifestArguments = 32;
inline constexpr std::size_t kMaxSamplerState = 4096;

/// Scalar types that parameters and results may have.
enum class CType : std::uint8_t { f32, f64, i32, i64, u32, u64, size };

/// What one argument of a function receives. In a manifest each is written by its name, a parameter
/// as an object.
enum class CArgumentKind : std::uint8_t {
  logits,           ///< float *, in and out: `count` logits.
  ids,              ///< int32_t *, in and out: their token ids.
  count,            ///< size_t: how many candidates there are.
  history,          ///< const int32_t *: prompt and generated tokens, oldest first.
  history_length,   ///< size_t
  prompt_length,    ///< size_t: how many of the history are the prompt.
  random,           ///< double in [0, 1); every occurrence is another draw.
  vocabulary_size,  ///< int32_t; 0 where the model has no tokenizer.
  position,         ///< uint64_t: position of the token to be chosen.
  state,            ///< void *: the sequence's `state_bytes` bytes, zero at its start.
  parameter,        ///< A named parameter, in its own type.
};

/// What a function returns.
enum class CResultKind : std::uint8_t {
  none,   ///< Nothing: it changed logits in place.
  count,  ///< How many candidates remain, at the front of the arrays.
  token,  ///< The id of the chosen token: the sampler ends its chain.
};

/// A named parameter: what a user writes as NAME:parameter=value.
struct CParameter {
  std::string name;
  std::string summary;
  CType type;
  double default_value;
  double minimum;  ///< Inclusive.
  double maximum;  ///< Inclusive.
};

struct CArgument {
  CArgumentKind kind;
  std::size_t parameter;  ///< Index into CSamplerSpec::parameters; 0 for other kinds.
};

/// One sampler of a manifest.
struct CSamplerSpec {
  std::string name;
  std::string summary;
  std::string symbol;
  CResultKind result;
  CType result_type;  ///< Meaningless where result is none.
  std::size_t state_bytes;
  std::vector<CArgument> arguments;
  std::vector<CParameter> parameters;
};

/// A manifest that passed every check.
struct CSamplerManifest {
  std::string name;
  std::string version;
  std::string license;
  std::string summary;
  std::string library;  ///< A plain file name in the manifest's own folder.
  std::vector<CSamplerSpec> samplers;
};

/// Reads a manifest from its text. `where` names the file in errors. Throws Error(plugin) that
/// names the entry which is wrong: unknown, missing or repeated keys, wrong types, values out of
/// range, signatures that would make a function guess a length. [any-thread]
CSamplerManifest parse_manifest(std::string_view text, const std::string& where);

}  // namespace quiver
