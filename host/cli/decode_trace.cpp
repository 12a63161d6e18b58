// Writes down what every step of decoding saw and did.
#include "host/cli/decode_trace.hpp"

#include <nlohmann/json.hpp>

#include <span>
#include <string>
#include <vector>

namespace quiver::cli {
namespace {

template <class T>
std::vector<T> list(std::span<const T> values) {
  return {values.begin(), values.end()};
}

}  // namespace

DecodeTrace::DecodeTrace(const std::filesystem::path& path) : file_(path) {}

void DecodeTrace::write(const nlohmann::ordered_json& line) {
  const std::string text = line.dump() + '\n';
  file_.write(std::as_bytes(std::span(text)));
}

void DecodeTrace::on_round(const SpeculativeRound& round) {
  nlohmann::ordered_json line;
  line["round"] = ++rounds_;
  line["start"] = round.start;
  line["draft"] = list(round.fed);
  line["chosen"] = list(round.chosen);
  line["accepted"] = round.chosen.size();
  write(line);
}

void DecodeTrace::on_canvas(const CanvasView& canvas) {
  if (canvas.step == 1) ++canvases_;
  nlohmann::ordered_json line;
  line["canvas"] = canvases_;
  line["step"] = canvas.step;
  line["start"] = canvas.start;
  line["tokens"] = list(canvas.tokens);
  line["fixed"] = list(canvas.is_fixed);
  line["confidence"] = list(canvas.confidence);
  write(line);
}

}  // namespace quiver::cli
