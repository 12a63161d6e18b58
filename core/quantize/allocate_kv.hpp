// Which width each layer's keys and values get.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "core/quantize/kv_sensitivity.hpp"

namespace quiver {

/// What one layer stores its keys and values in.
struct KvLayerBits {
  int key_bits = 0;
  int value_bits = 0;
};

struct KvAllocation {
  std::vector<KvLayerBits> layers;  ///< By layer of the table.
  double mean_bits = 0;             ///< Of codes, a number that is stored.
  double true_bits = 0;             ///< The same with scales, biases and filling.
  double bytes_per_token = 0;       ///< Of all layers.
  double kl = 0;                    ///< Sum over the layers, in nats a token.
  std::string warning;              ///< One line for people; empty = none.
};

/// The widths with the least sum of KLs among those that take `target_bits` true bits a number or
/// less over all layers, each layer by its size; keys and values get widths of their own where they
/// were measured apart. Found exactly (allocate_exact()). A target that the narrowest width's
/// codes fit and its scales do not gives that width everywhere, and a warning. Throws Error(usage)
/// for a target below that. [any-thread]
KvAllocation allocate_kv(std::span<const KvLayerSensitivity> layers, double target_bits);

/// Chooses as the reference package does: all layers at their narrowest width, then single steps
/// with the largest gain a bit, of equal ones the earliest layer's, while the mean of the bits is
/// below the target. Scales are not counted, and every layer counts the same whatever its size.
/// Layers have the same widths; keys and values are not told apart. [any-thread]
KvAllocation allocate_kv_greedy(std::span<const KvLayerSensitivity> layers, double target_bits);

/// kv_config.json, which read_kv_config() and the reference package read: a list of {"layer_idx",
/// "bits", "group_size"}, with "k_bits" and "v_bits" where they differ; "bits" is then the wider.
/// [any-thread]
nlohmann::json kv_config_record(std::span<const KvLayerSensitivity> layers,
                                const KvAllocation& allocation, int group_size);

}  // namespace quiver
