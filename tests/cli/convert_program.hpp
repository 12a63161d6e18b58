// Runs of `quiver convert` on a small model.
#pragma once

#include "core/model/json_file.hpp"
#include "tests/cli/run_program.hpp"
#include "tests/model/llama_gguf.hpp"
#include "tests/support/temporary_folder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

namespace quiver::test {

/// Bytes of all files of a folder by name.
inline std::map<std::string, std::string> folder_bytes(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    files[entry.path().filename().string()] = read_text(entry.path());
  }
  return files;
}

/// Names of the files whose bytes differ, or that one of the two lacks.
inline std::vector<std::string> differing_files(const std::filesystem::path& a,
                                                const std::filesystem::path& b) {
  const auto left = folder_bytes(a);
  const auto right = folder_bytes(b);
  std::vector<std::string> names;
  for (const auto& [name, bytes] : left) {
    if (!right.contains(name) || right.at(name) != bytes) names.push_back(name);
  }
  for (const auto& [name, bytes] : right) {
    if (!left.contains(name)) names.push_back(name);
  }
  return names;
}

class ConvertProgram : public testing::Test {
 protected:
  TemporaryFolder folder_;
  std::string source_ = shared_path("reference/convert/llama_a/checkpoint");
  std::string calibration_ = shared_path("reference/convert/llama_a/calibration.jsonl");
  std::string out_ = (folder_.path() / "out").string();

  /// The words of a quick conversion; the model is float32, so four bits take a little over five.
  std::vector<std::string> words(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words = {"convert", source_, "-o", out_};
    const std::vector<std::string> defaults = {
        "--samples",    "2",   "--sequence-length", "48",
        "--target-bpw", "6.5", "--calibration",     calibration_};
    for (std::size_t i = 0; i < defaults.size(); i += 2) {
      if (std::ranges::find(more, defaults[i]) != more.end()) continue;
      words.insert(words.end(), {defaults[i], defaults[i + 1]});
    }
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  ProgramResult convert(const std::vector<std::string>& more = {},
                        const ProgramInput& input = {}) const {
    return run_program(words(more), input);
  }

  /// What a conversion printed with --json; the test fails where it failed.
  nlohmann::json converted(std::vector<std::string> more = {}) const {
    more.emplace_back("--json");
    const ProgramResult result = convert(more);
    EXPECT_EQ(result.status, 0) << result.err;
    return result.json();
  }

  nlohmann::json written(const std::string& file) const {
    return read_json_file(std::filesystem::path(out_) / file);
  }

  /// Where the results of the sweep are kept.
  std::filesystem::path checkpoint() const { return out_ + ".sweep.json"; }

  /// The layers that a run left in its checkpoint.
  std::size_t measured_layers() const { return read_json_file(checkpoint()).at("layers").size(); }

  /// Makes a GGUF file of the source, with a text that its tokenizer (a, b and ab) knows.
  void use_gguf() {
    const std::filesystem::path checkpoint = source_;
    source_ = (folder_.path() / "model.gguf").string();
    llama_gguf(checkpoint, "llama").write(source_);
    std::string text;
    for (unsigned i = 1; i < 400; ++i) text += (i * i / 3 + i / 7) % 2 == 0 ? 'a' : 'b';
    const nlohmann::json row = {{"domain", "prose"}, {"text", text}};
    calibration_ = folder_.write("text.jsonl", row.dump() + "\n").string();
  }

  /// An input whose run gets a signal when the checkpoint has been saved for the `saves`-th time.
  ProgramInput signal_after(int saves, int signal) const {
    ProgramInput input;
    input.watched_folder = folder_.path();
    input.file_signal = signal;
    input.signal_on_file = [saves, seen = 0](const std::string& name) mutable {
      return name.ends_with(".sweep.json") && ++seen == saves;
    };
    return input;
  }
};

/// The words of a quick conversion of a detector.
inline std::vector<std::string> detector_words(const std::string& detector, const std::string& out,
                                               const std::vector<std::string>& more = {}) {
  std::vector<std::string> words = {"convert", detector, "-o", out};
  const std::vector<std::string> defaults = {
      "--calibration", shared_path("data/shapes"), "--samples", "2", "--target-bpw", "8"};
  for (std::size_t i = 0; i < defaults.size(); i += 2) {
    if (std::ranges::find(more, defaults[i]) != more.end()) continue;
    words.insert(words.end(), {defaults[i], defaults[i + 1]});
  }
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// Kernels of the trained detector that are measured.
inline constexpr std::size_t kDetectorKernels = 94;

/// How many layers of the document have been measured.
inline std::size_t measured_in(const nlohmann::json& document) {
  return static_cast<std::size_t>(std::ranges::count_if(
      document.at("layers"), [](const auto& layer) { return !layer.at("kl").empty(); }));
}

inline std::map<std::string, int> bits_of(const nlohmann::json& layers) {
  std::map<std::string, int> bits;
  for (const auto& layer : layers) bits[layer.at("name")] = layer.at("bits");
  return bits;
}

}  // namespace quiver::test
