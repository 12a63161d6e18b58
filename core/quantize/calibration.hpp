// Calibration: the texts over which a model is measured, as tokens.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace quiver {

class CalibrationText;

/// One row of a mix: a text, or a conversation.
struct CalibrationRow {
  std::string domain;         ///< What kind of text it is.
  std::string text;           ///< Of rows without messages.
  std::string messages_json;  ///< [{"role", "content", ..}, ..]; empty for texts.
  std::string tools_json;     ///< Tools of the conversation; empty for none.
  std::string where;          ///< File and line, for messages.

  bool is_chat() const noexcept { return !messages_json.empty(); }
};

/// Rows of a mix: a line each, {"domain", "text"} or {"domain", "messages"[, "tools"]}; blank lines
/// are skipped, and rows without a domain are of the domain "text" or "chat". Throws
/// Error(bad_input) with `origin` and the line for a line that is not UTF-8, not JSON, above 8 MiB,
/// or has neither or both of text and messages; and for a mix without rows. [any-thread]
std::vector<CalibrationRow> parse_calibration_rows(std::string_view jsonl,
                                                   const std::string& origin);

/// The same of a file of at most 256 MiB. [any-thread]
std::vector<CalibrationRow> read_calibration_rows(const std::filesystem::path& path);

/// The mix that comes with the program: six domains of forty rows. [any-thread]
std::vector<CalibrationRow> builtin_calibration_rows();

/// Tokens to run a model over.
struct CalibrationSample {
  std::string domain;
  std::vector<std::int32_t> tokens;
};

struct CalibrationSamples {
  std::vector<CalibrationSample> samples;
  std::vector<std::string> warnings;  ///< One line each, for people: what is not as was asked for.

  /// Of all samples.
  std::size_t token_count() const noexcept;
};

struct CalibrationOptions {
  int samples = 24;           ///< At least 1.
  int sequence_length = 512;  ///< Tokens of a sample, at least 16.
  std::uint32_t seed = 42;
};

/// Samples of a mix, stratified: domains take turns, in the order in which they first appear, so
/// that their numbers of samples differ by one at most. A sample is of one domain: its rows in a
/// shuffled order, one behind the other, cut at the sample's length; the next sample begins with
/// the next row. Equal arguments give equal samples, and a domain's samples do not depend on the
/// rows of the others.
///
/// A domain with fewer tokens than a sample has shorter samples, and one with too few for all its
/// samples is used again in another order; both are told in `warnings`. Throws Error(bad_input)
/// for a domain of fewer than 16 tokens, Error(usage) for options out of range. [any-thread]
CalibrationSamples sample_calibration(const std::vector<CalibrationRow>& rows,
                                      const CalibrationText& text,
                                      const CalibrationOptions& options);

/// Samples as the reference converter takes them, to the token: all rows one behind the other
/// without the tokens that are put around texts, cut into chunks of `sequence_length` (the last one
/// is lost even where it is whole), of which the first ones of a seeded shuffle are taken. A mix
/// of fewer chunks than samples gives fewer; a mix shorter than one is handled as by
/// sample_calibration(). Their domain is "mix". [any-thread]
CalibrationSamples sample_calibration_optiq(const std::vector<CalibrationRow>& rows,
                                            const CalibrationText& text,
                                            const CalibrationOptions& options);

/// The numbers 0 .. count - 1 in the order that numpy's RandomState(seed).shuffle gives.
/// [any-thread]
std::vector<std::size_t> shuffled(std::size_t count, std::uint32_t seed);

}  // namespace quiver
