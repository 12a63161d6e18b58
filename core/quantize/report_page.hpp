// The report of a conversion as one web page that needs nothing else.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/quantize/convert.hpp"

namespace quiver {

/// Something that the result is compared with, measured over the same text.
struct ReportRival {
  std::string label;        ///< E.g. "uniform 4 bits".
  std::uint64_t bytes = 0;  ///< Of all tensors.
  double bpw = 0;           ///< True bits a weight.
  std::optional<double> kl;
  std::optional<double> perplexity;
};

/// What a report tells.
struct ReportData {
  std::string model;                      ///< What was converted, as the user named it.
  std::string output;                     ///< Where the result lies.
  std::string made_by;                    ///< Program and version.
  Conversion conversion;                  ///< Its warnings are shown, too.
  std::string kl_unit = " nats a token";  ///< Behind divergences; empty = they have none.
  /// Of each layer of the conversion, as written; empty = as with scales, biases and kept weights
  /// of 16 bits.
  std::vector<std::uint64_t> layer_bytes;
  double target_bpw = 0;
  double seconds = 0;
  std::optional<double> source_perplexity;
  std::optional<double> perplexity;
  std::vector<ReportRival> rivals;  ///< Uniform widths of about the same size, by size.
};

/// What the page shows, as the page has it inside: the element with the id "data". Numbers that are
/// not finite are null. [any-thread]
nlohmann::json report_record(const ReportData& data);

/// The page: HTML with everything inside that it needs, for any browser of the last years. No text
/// of the data is taken for markup or code. [any-thread]
std::string report_page(const ReportData& data);

}  // namespace quiver
