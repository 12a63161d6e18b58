// Writes down what every step of decoding saw and did.
#pragma once

#include "core/decode/decode_options.hpp"
#include "core/tensor/atomic_file.hpp"

#include <nlohmann/json_fwd.hpp>

#include <filesystem>

namespace quiver::cli {

/// A file of JSON documents, one a line: of a round {"round", "start", "draft", "chosen",
/// "accepted"}, of a step over a canvas {"canvas", "step", "start", "tokens", "fixed",
/// "confidence"}; rounds, canvases and steps count from 1. The file appears when it is finished.
/// [one-call-at-a-time]
class DecodeTrace : public DecodeObserver {
 public:
  /// Throws Error where the file cannot be written.
  explicit DecodeTrace(const std::filesystem::path& path);

  void on_round(const SpeculativeRound& round) override;
  void on_canvas(const CanvasView& canvas) override;

  /// Puts the file into its place.
  void finish() { file_.commit(); }

 private:
  void write(const nlohmann::ordered_json& line);

  AtomicFile file_;
  int rounds_ = 0;
  int canvases_ = 0;
};

}  // namespace quiver::cli
