// Where a model takes its parts from while it is built.
#pragma once

#include <quiver/handles.hpp>

#include <cstdint>
#include <span>
#include <string_view>

namespace quiver {

/// What a linear is for. Replaces guessing from names: bit allocation, adapters and reports go by
/// it.
enum class Role : std::uint32_t {
  other = 0,
  attention = 1,
  mlp = 2,
  recurrent = 3,
  router = 4,
  expert = 5,
  shared_expert = 6,
  embedding = 7,
  head = 8,
  tower = 9,
  draft_head = 10,
};

enum class Bias : std::uint32_t { none = 0, required = 1, if_present = 2 };

struct LinearSpec {
  Role role = Role::other;
  Bias bias = Bias::none;
};

struct NormSpec {
  float epsilon = 1e-6F;   ///< Added to the mean square (or the variance) before the root.
  bool has_weight = true;  ///< Without a weight the name only labels the norm.
};

struct CausalConvSpec {
  bool has_bias = false;
};

enum class RopeLayout : std::uint32_t {
  half = 0,         ///< Pairs (j, j + n) of the first 2n dimensions ("rotate half").
  interleaved = 1,  ///< Pairs (2j, 2j + 1).
};

/// Rotary position embedding: pair j of each head is turned by position * inverse_frequencies[j]
/// radians, and the result multiplied by `magnitude`. Dimensions beyond the pairs pass unchanged.
/// Source: Su et al., RoFormer, arXiv 2104.09864.
struct RopeSpec {
  std::span<const float> inverse_frequencies;  ///< n values, 2n <= head_dim. Copied by the host.
  float magnitude = 1.0F;                      ///< YaRN's attention factor; 1 otherwise.
  RopeLayout layout = RopeLayout::half;
  /// Which of a row's three positions (0 time, 1 height, 2 width) turns pair j; empty = all time.
  std::span<const std::uint8_t> position_of_pair;
};

/// Which passes fill a cache.
enum class CacheUse : std::uint32_t {
  target = 0,  ///< Every pass of the model.
  draft = 1,   ///< Only for sequences that a draft head works for (see DraftHead).
};

struct KvCacheSpec {
  int kv_heads = 0;
  int head_dim = 0;
  int window = 0;  ///< A query sees the newest `window` keys, its own included; 0 = all.
  CacheUse use = CacheUse::target;
  int hidden_tokens = 0;  ///< The first so many tokens of a sequence are never seen.
};

/// The parts of a checkpoint by name. Taking a part is what makes it known to the host: it can then
/// be loaded, quantized, measured, adapted and counted. Implemented by the host, which may stand on
/// a full checkpoint, on a quantized one, or on a bare config whose tensors do not exist.
///
/// Every call throws Error(bad_input) naming the tensor where it is missing or has another shape.
/// All calls happen inside Architecture::create. [load-thread]
class Weights {
 public:
  virtual ~Weights() = default;

  /// All parts taken from here on belong to block `index`, until the next call; -1 = to no block
  /// (embedding, final norm, head). The host loads, measures and places models by block.
  virtual void begin_block(int index) = 0;

  /// y = W x + b, W = NAME.weight [outputs, inputs], b = NAME.bias [outputs]. The stored weight may
  /// be quantized in any scheme that is installed.
  virtual Linear linear(std::string_view name, int outputs, int inputs, const LinearSpec& spec) = 0;

  /// A table NAME.weight [rows, width] that turns ids into rows, and that a tied head projects
  /// onto.
  virtual Embedding embedding(std::string_view name, int rows, int width) = 0;

  /// NAME.weight [width]; see Ops::rms_norm.
  virtual Norm norm(std::string_view name, int width, const NormSpec& spec) = 0;

  /// A depthwise causal convolution over time with one filter a channel, and the window of its last
  /// `kernel - 1` inputs in every sequence. NAME.weight as [channels, 1, kernel] or
  /// [channels, kernel, 1], NAME.bias [channels].
  virtual CausalConv causal_conv(std::string_view name, int channels, int kernel,
                                 const CausalConvSpec& spec) = 0;

  /// A rotary embedding from computed or stored frequencies.
  virtual Rope rope(const RopeSpec& spec) = 0;

  /// Room for keys and values in every sequence. Layers that share another's keys and values use
  /// that layer's handle.
  virtual KvCache kv_cache(const KvCacheSpec& spec) = 0;

  /// Whether the checkpoint holds the tensor `name` (full name, e.g. "lm_head.weight"). Always
  /// false on a bare config, so what a config can say is not asked here.
  virtual bool has(std::string_view name) const = 0;

  /// The dimensions of the tensor `name`, outermost first, into `sizes`, as many as fit. Returns
  /// their number, or -1 where has() is false.
  virtual int shape(std::string_view name, std::span<std::int64_t> sizes) const = 0;

  /// Reads a small stored tensor as float32 (frequencies, scalars). `values` has the tensor's size.
  /// Returns false, leaving `values` alone, where the tensor does not exist.
  virtual bool read(std::string_view name, std::span<float> values) = 0;

  /// Kinds of parts beyond these, by interface id (e.g. those of recurrences, experts or images);
  /// nullptr where this host has none of that name.
  virtual void* extension(std::string_view interface_id) = 0;
};

}  // namespace quiver
