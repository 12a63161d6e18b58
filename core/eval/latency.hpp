// How fast a machine could run a model: a roofline over bytes read and operations.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quiver {

/// What a prediction needs to know of a machine.
struct LatencyMachine {
  std::string name;
  double read_bytes = 0;            ///< A second, from memory, by all threads together.
  double float_operations = 0;      ///< A second, two a multiply-add, of float matrices.
  double quantized_operations = 0;  ///< The same of quantized ones.
  double matrix_seconds = 0;        ///< Fixed cost of each matrix, beside reading and computing.
  /// Whether reading and computing reach less than the figures above, by the bits of the codes: the
  /// named profiles give figures of data sheets, a measured machine gives what it reached.
  bool has_losses = false;
};

/// Machines with known figures, under the names "m1", "m1-pro", "m1-max", .. [any-thread]
std::span<const LatencyMachine> latency_profiles();

/// The one of a name. Throws Error(usage) naming all for others. [any-thread]
const LatencyMachine& latency_profile(std::string_view name);

/// This machine with so many threads: its best reading pattern, its best arithmetic with the
/// kernels in use (16-bit integers for quantized matrices, float32 for all if `is_exact`), and the
/// time of an empty parallel loop. Takes some two seconds. [any-thread], but not beside other work.
LatencyMachine measure_latency_machine(int threads, bool is_exact);

/// A matrix that a token passes.
struct LatencyMatrix {
  std::uint64_t parameters = 0;
  std::uint64_t bytes = 0;    ///< Stored, parameters of quantization included.
  std::uint64_t columns = 0;  ///< Width of its input.
  int bits = 16;              ///< Of a code, or of a float.
  bool is_quantized = false;
  bool is_last_only = false;  ///< A head: of a prompt only the last token passes it.
  double active = 1;          ///< Share that one token passes: of experts those that are chosen.
};

/// What there is to run.
struct LatencyWork {
  std::vector<LatencyMatrix> matrices;
  double other_bytes = 0;  ///< Read for each token beside the matrices: norms, biases.
  double kv_bytes = 0;     ///< Keys, values and states read for each token.
  int prompt = 256;        ///< Tokens that are fed at once.
};

struct LatencyPrediction {
  double decode_seconds = 0;   ///< Of one token.
  double prefill_seconds = 0;  ///< Of `prompt` tokens.
  double decode_tps = 0;
  double prefill_tps = 0;
  double bytes_per_token = 0;  ///< Read for a decoded token: weights, keys and values.
};

/// For each matrix the longer of reading and computing, plus the fixed cost:
///
///     decode   max((active bytes + 2 columns) / read * loss, 2 active parameters / operations)
///     prefill  max(bytes / read * loss, 2 prompt active parameters / (operations * share))
///
/// and for the other bytes, and for decoding keys and values, the time of reading them. Losses are
/// 1.15, at 3 bits times 1.08, at 2 bits and below times 1.12; shares of the peak are 0.85 up to 3
/// bits, 0.90 up to 6, and 0.95 above; all 1 where the machine has none. The products of attention
/// are not counted. Throws Error(bad_input) where there is nothing to run. [any-thread]
LatencyPrediction predict_latency(const LatencyMachine& machine, const LatencyWork& work);

}  // namespace quiver
