// A recorded sensitivity table: what each layer of a model loses at each width.
#pragma once

#include "core/quantize/allocation.hpp"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace quiver {

/// One layer of a table.
struct SensitivityLayer {
  std::string name;
  Role role = Role::other;
  int block = -1;  ///< -1 = in no block.
  std::uint64_t parameters = 0;
  int group_size = 0;                    ///< 0 = not said.
  std::map<int, double> kl;              ///< By bits. Widths that were not measured are absent.
  std::map<int, std::uint64_t> bytes{};  ///< By bits, where they are known.
};

struct SensitivityTable {
  std::vector<SensitivityLayer> layers;
  std::uint64_t fixed_bytes = 0;  ///< Of what no layer holds: norms and the like.
  std::uint64_t fixed_parameters = 0;
  /// Width of the uniform quantization that KLs were measured against, whose widths above it are
  /// gains: 0 = the full weights were the reference.
  int uniform_bits = 0;
};

/// Which widths are chosen among.
struct CandidateWidths {
  std::vector<int> bits = {4, 8};  ///< 16 = kept: KL 0 where it was not measured.
  int group_size = 64;             ///< For layers that do not say.
};

/// Reads {"layers": [{"name", "parameters", "kl": {"4": ..}}]}, with optional "role", "block" (else
/// read out of the name), "group_size" and "bytes": {"4": ..} of a layer, and optional "fixed":
/// {"bytes", "parameters"} and "reference" of the table; also the reference package's
/// sensitivity.json, and its sensitivity_checkpoint.json, whose layers have "layer_name",
/// "param_count" and "sensitivities". A width whose KL is null counts as not measured. `origin`
/// names the text in errors. Throws Error(bad_input) naming the layer. [any-thread]
SensitivityTable read_sensitivity(const nlohmann::json& json, const std::string& origin);

/// The same from a file of at most 64 MiB.
SensitivityTable read_sensitivity_file(const std::filesystem::path& path);

/// Bytes of a matrix: codes, and a scale and a bias of 16 bits a group; two a parameter for 16
/// bits. Nothing where groups do not divide the parameters. [any-thread]
std::optional<std::uint64_t> stored_bytes(std::uint64_t parameters, int bits, int group_size);

/// The problem that a table poses. Widths that were not measured become choices with a KL of NaN,
/// which allocate_exact() refuses by name. Bytes that the table does not say are stored_bytes().
/// Throws Error(bad_input) naming the layer. [any-thread]
AllocationProblem allocation_problem(const SensitivityTable& table, const CandidateWidths& widths);

/// KLs as sums can take them: of a table that was measured against a uniform quantization, those of
/// wider widths are gains and become negative. Changes nothing in other tables. [any-thread]
void set_losses(AllocationProblem& problem, const SensitivityTable& table);

}  // namespace quiver
