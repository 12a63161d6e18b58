// Conversions of small models for tests.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/model/json_file.hpp"
#include "core/quantize/convert.hpp"
#include "core/tensor/safetensors.hpp"
#include "tests/support/models.hpp"
#include "tests/support/temporary_folder.hpp"

namespace quiver::test {

using Texts = std::vector<std::vector<std::int32_t>>;

inline MatrixEncoder exact_encoder() {
  auto scheme = affine_scheme({});
  return {scheme,
          [scheme](auto weights, auto rows, auto columns, const auto& format, auto type, auto,
                   auto parts) { scheme->encode(weights, rows, columns, format, type, parts); }};
}

/// The calibration sequences that the reference converter's sweep of a model was recorded with.
inline Texts recorded_texts(const std::string& model) {
  const auto file =
      SafetensorsFile::open(shared("reference/convert/" + model + "/expected.safetensors"));
  const TensorView& tokens = file.at("calib_tokens");
  Texts texts(static_cast<std::size_t>(tokens.shape[0]));
  const auto length = static_cast<std::size_t>(tokens.shape[1]);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    texts[i].resize(length);
    std::memcpy(texts[i].data(), tokens.data.data() + i * length * 4, length * 4);
  }
  return texts;
}

inline Texts llama_a_texts() {
  return recorded_texts("llama_a");
}

/// Pseudo-random token ids, the same ones every time.
inline Texts some_texts(int vocabulary, std::size_t count, std::size_t length) {
  Texts texts(count);
  std::uint32_t state = 1;
  for (auto& text : texts) {
    for (std::size_t i = 0; i < length; ++i) {
      state = state * 1664525U + 1013904223U;
      text.push_back(static_cast<std::int32_t>((state >> 8U) % static_cast<unsigned>(vocabulary)));
    }
  }
  return texts;
}

/// A conversion that can be run again and again.
struct TestConversion {
  std::filesystem::path source = shared("reference/convert/llama_a/checkpoint");
  Texts texts = llama_a_texts();
  ConvertOptions options;
  int threads = 2;
  Ranks* ranks = nullptr;
  ConvertProgress progress{};
  RowEncoder writer{};

  Conversion run(const std::filesystem::path& out) const {
    ThreadPool pool(threads);
    return convert(load_model(source), texts, out, options,
                   {exact_encoder(), writer, false, float_kv(), pool, ranks, progress, load_model});
  }
};

/// The bytes of all files of a folder by name.
inline std::map<std::string, std::string> contents(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    files[entry.path().filename().string()] = read_text(entry.path());
  }
  return files;
}

}  // namespace quiver::test
