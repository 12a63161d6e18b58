// How widths are chosen: the options that every command with an allocation takes, and its report.
#pragma once

#include "core/quantize/allocation.hpp"
#include "core/quantize/sensitivity_table.hpp"
#include "host/cli/arguments.hpp"

#include <nlohmann/json_fwd.hpp>

#include <string>

namespace quiver::cli {

inline constexpr OptionRow kAllocationOptions[] = {
    {.name = "target-bpw",
     .value = "N",
     .default_value = "5.0",
     .help =
         "Bits per weight of everything that is written, scales and unquantized parts included; "
         "with --compat bits of codes alone"},
    {.name = "candidate-bits",
     .value = "LIST",
     .default_value = "4,8",
     .help = "Widths to choose among, of 2, 3, 4, 5, 6, 8 and 16; 16 keeps a layer as it is"},
    {.name = "group-size",
     .value = "N",
     .default_value = "64",
     .help = "Weights that share their scale and bias"},
    {.name = "method",
     .value = "HOW",
     .choices = "measured|static",
     .default_value = "measured",
     .help = "Go by what was measured, or only by what layers are for and where they stand"},
    {.name = "compat",
     .value = "PACKAGE",
     .choices = "optiq",
     .help = "Choose, count and round as that package does: its results, bit for bit"},
    {.name = "floor-per-block",
     .value = "N",
     .help =
         "Layers of every block that may not take the narrowest width; 0 where not given, 2 with "
         "--compat"},
    {.name = "protect",
     .value = "GLOB",
     .help = "Layers of these names keep the widest candidate",
     .is_repeatable = true},
    {.name = "pin",
     .value = "GLOB=BITS",
     .help = "Layers of these names get this width; of several pins the last one holds",
     .is_repeatable = true},
};

/// What the options ask for.
struct AllocationRequest {
  double target_bpw = 5.0;
  CandidateWidths widths;
  bool is_static = false;
  bool is_compat = false;
  AllocationRules rules;
};

/// Reads them. Throws Error(usage) naming the option.
AllocationRequest read_allocation_request(const Arguments& arguments);

/// A problem with the KLs, or scores, that the request goes by, and the widths chosen for it.
struct AllocationResult {
  AllocationProblem problem;
  Allocation allocation;
};

/// Chooses widths for a table. Throws what the allocators do.
AllocationResult allocate(const SensitivityTable& table, const AllocationRequest& request);

/// {"layers": [{"name", "bits", "group_size", "kl"}], "bpw_true", "bpw_linear", "bytes", ..}; the
/// KLs of a layer are all that the table has, by bits.
nlohmann::ordered_json allocation_json(const SensitivityTable& table,
                                       const AllocationRequest& request,
                                       const AllocationResult& result);

/// The same for people: a line a layer, how often each width was chosen, and the sums.
std::string allocation_text(const AllocationRequest& request, const AllocationResult& result);

/// What a user should know about the result, or nothing: a floor that the target does not bind, a
/// search that was not exact.
std::string allocation_warning(const AllocationRequest& request, const AllocationResult& result);

}  // namespace quiver::cli
