// Calibration texts as a model is fed them.
#include "core/quantize/calibration_input.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <quiver/calibration_probes.hpp>
#include <quiver/error.hpp>

#include "core/decode/engine.hpp"
#include "core/plugin/call_plugin.hpp"

namespace quiver {
namespace {

/// Refuses what no pass can be fed.
void check_probe(const LoadedModel& model, std::size_t index, const CalibrationInput& input) {
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorCode::plugin,
                fmt::format("plugin '{}' wants calibration text {} fed with {}",
                            model.architecture().plugin, index, what),
                "calibration", "report it to the plugin's author");
  };
  const int vocabulary = model.text().info().vocabulary;
  const auto wrong = std::ranges::find_if(
      input.tokens, [&](std::int32_t token) { return token < 0 || token >= vocabulary; });
  if (wrong != input.tokens.end()) {
    refuse(fmt::format("token {}, outside its vocabulary of {}", *wrong, vocabulary));
  }
  const Visibility& visibility = input.visibility;
  switch (visibility.kind) {
    case VisibilityKind::causal:
    case VisibilityKind::alone:
    case VisibilityKind::canvas: return;
    case VisibilityKind::block_causal:
      if (visibility.block_length < 1) {
        refuse(fmt::format("blocks of {} tokens", visibility.block_length));
      }
      return;
  }
  refuse(fmt::format("visibility {}, which does not exist",
                     static_cast<std::uint32_t>(visibility.kind)));
}

}  // namespace

std::vector<CalibrationInput> plain_inputs(std::vector<std::vector<std::int32_t>> texts) {
  std::vector<CalibrationInput> inputs;
  for (auto& text : texts) inputs.push_back({std::move(text)});
  return inputs;
}

std::vector<CalibrationInput> calibration_inputs(const LoadedModel& model,
                                                 std::vector<std::vector<std::int32_t>> texts) {
  const auto* probes = static_cast<const CalibrationProbes*>(
      model.model().extension(CalibrationProbes::kInterfaceId));
  if (probes == nullptr) return plain_inputs(std::move(texts));
  std::vector<CalibrationInput> inputs;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    check_token_ids(texts[i], model.text().info().vocabulary);
    CalibrationInput& input = inputs.emplace_back();
    input.tokens = texts[i];
    if (input.tokens.empty()) continue;  // whoever measures refuses it
    input.visibility =
        call_plugin(model.architecture().plugin, "asked how to feed a calibration text",
                    [&] { return probes->probe(static_cast<int>(i), input.tokens); });
    check_probe(model, i, input);
    input.is_text = input.visibility.kind == VisibilityKind::causal && input.tokens == texts[i];
  }
  return inputs;
}

}  // namespace quiver
