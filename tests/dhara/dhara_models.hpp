// Models of the dhara family for tests, and the samplers and records that tests of decoding need.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <quiver/canvas_sampler.hpp>
#include <quiver/sampler.hpp>
#include <string>
#include <vector>

#include "core/decode/generator.hpp"
#include "core/model/json_file.hpp"
#include "tests/support/models.hpp"
#include "tests/support/numbers.hpp"
#include "tests/support/standard_samplers.hpp"

namespace quiver::test {

inline ArchitectureOffer dhara_architecture(std::string_view) {
  return {borrowed(load_plugin<Architecture>("arch-dhara")), "dhara", "arch-dhara"};
}

inline std::shared_ptr<const LoadedModel> load_dhara(const std::filesystem::path& folder) {
  return LoadedModel::load(folder, dhara_architecture, affine_scheme);
}

inline std::shared_ptr<const CanvasSampler> confidence(double threshold) {
  return std::shared_ptr<const CanvasSampler>(
      load_plugin<CanvasSamplerFactory>("sampler-canvas")
          .create("confidence", NumberOptions({{"threshold", threshold}})));
}

/// Keeps what decoders show.
struct DecodeRecord : DecodeObserver {
  struct Round {
    std::size_t start;
    std::vector<std::int32_t> fed;
    std::vector<std::int32_t> chosen;
  };
  struct Canvas {
    std::size_t start;
    std::vector<std::vector<std::int32_t>> steps;
  };
  std::vector<Round> rounds;
  std::vector<Canvas> canvases;

  void on_round(const SpeculativeRound& round) override {
    rounds.push_back({round.start,
                      {round.fed.begin(), round.fed.end()},
                      {round.chosen.begin(), round.chosen.end()}});
  }
  void on_canvas(const CanvasView& canvas) override {
    if (canvas.step == 1) canvases.push_back({canvas.start, {}});
    canvases.back().steps.emplace_back(canvas.tokens.begin(), canvas.tokens.end());
  }
};

inline std::vector<std::int32_t> ids_of(const nlohmann::json& json) {
  return json.get<std::vector<std::int32_t>>();
}

/// A recorded set and the checkpoints in it.
struct DharaReference {
  std::filesystem::path folder;
  nlohmann::json expected = read_json_file(folder / "expected.json");
  SafetensorsFile tensors = SafetensorsFile::open(folder / "expected.safetensors");

  explicit DharaReference(const std::string& name) : folder(shared("reference/dhara/" + name)) {}
};

/// Sets with recordings of a float checkpoint.
inline constexpr const char* kDharaSets[] = {"base", "headdim", "plain",     "bd",
                                             "bf16", "quant",   "quant_bf16"};

}  // namespace quiver::test
