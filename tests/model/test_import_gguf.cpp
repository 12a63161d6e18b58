// The folder that an import writes, and what is left where it fails.
#include "core/model/import_gguf.hpp"

#include <gmock/gmock.h>

#include <set>

#include "core/model/gguf_config.hpp"
#include "core/model/gguf_tensors.hpp"
#include "core/model/gguf_tokenizer.hpp"
#include "tests/model/imported_folder.hpp"

namespace quiver::test {
namespace {

using quiver::DType;
using quiver::ErrorCode;
using quiver::GgufType;
using quiver::ImportOptions;

/// A model with a quantized matrix of each width and some floats.
GgufWriter wagon() {
  return wagon_keys()
      .text("tokenizer.chat_template", "{{ messages }}\n")
      .u32("tokenizer.ggml.bos_token_id", 0)
      .tensor("token_embd.weight", {6, 32}, GgufType::q8_0, blocks(GgufType::q8_0, 6 * 32))
      .tensor("blk.0.turn.weight", {8, 64}, GgufType::q4_1, blocks(GgufType::q4_1, 8 * 64, 2))
      .tensor("blk.0.wheel.weight", {4, 64}, GgufType::q4_0, blocks(GgufType::q4_0, 4 * 64, 3))
      .tensor("blk.0.norm.weight", {5}, ramp(5));
}

class ImportGguf : public ImportFixture {
 protected:
  static ImportOptions keeping() {
    ImportOptions options;
    options.keep_quantized = true;
    return options;
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(out())) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }
};

TEST_F(ImportGguf, TheFolderHasTheFilesOfAModel) {
  const auto report = import(wagon());
  EXPECT_EQ(report.model_type, "wagon");
  EXPECT_EQ(report.architecture_plugin, "arch-wagon");
  EXPECT_EQ(report.tensors, 4);
  EXPECT_EQ(report.kept_quantized, 0);
  EXPECT_EQ(report.bytes, 2U * (6 * 32 + 8 * 64 + 4 * 64 + 5));
  EXPECT_THAT(report.warnings, testing::IsEmpty());
  EXPECT_THAT(files(), testing::UnorderedElementsAre("config.json", "generation_config.json",
                                                     "tokenizer.json", "tokenizer_config.json",
                                                     "chat_template.jinja", "model.safetensors",
                                                     "model.safetensors.index.json"));
  EXPECT_EQ(read_text(out() / "chat_template.jinja"), "{{ messages }}\n");
  EXPECT_EQ(json("generation_config.json"),
            nlohmann::json::parse(R"({"bos_token_id": 0, "eos_token_id": 3})"));
}

TEST_F(ImportGguf, TheConfigSaysWhatTheModelIs) {
  import(wagon());
  EXPECT_EQ(json("config.json"), nlohmann::json::parse(R"({
      "model_type": "wagon", "vocab_size": 6, "bos_token_id": 0, "eos_token_id": 3, "heads": 2,
      "norm": {"epsilon": 1e-5}, "has_table": false, "torch_dtype": "float16"})"));
  const std::string text = read_text(out() / "config.json");
  EXPECT_THAT(text, testing::StartsWith("{\n    \"bos_token_id\": 0,\n"));
  EXPECT_THAT(text, testing::EndsWith("}\n"));
}

TEST_F(ImportGguf, KeptFormatsStandInTheConfigAsMlxReadsThem) {
  const auto report = import(wagon(), keeping());
  EXPECT_EQ(report.kept_quantized, 3);
  const auto expected = nlohmann::json::parse(R"({
      "bits": 4, "group_size": 32, "mode": "affine",
      "embed": {"bits": 8, "group_size": 32, "mode": "affine"}})");
  EXPECT_EQ(json("config.json")["quantization"], expected);
  EXPECT_EQ(json("config.json")["quantization_config"], expected);
}

TEST_F(ImportGguf, TheMetadataSaysWhoseLayoutItIs) {
  import(wagon(), keeping());
  EXPECT_THAT(read_text(out() / "model.safetensors").substr(8, 60),
              testing::HasSubstr(R"("__metadata__":{"format":"mlx"})"));
  ImportOptions options;
  options.force = true;
  import(wagon(), options);
  EXPECT_THAT(read_text(out() / "model.safetensors").substr(8, 60),
              testing::HasSubstr(R"("__metadata__":{"format":"pt"})"));
}

TEST_F(ImportGguf, LargeModelsAreSplitIntoFiles) {
  import(wagon(), keeping());
  const auto whole = quiver::SafetensorsSet::open(out());
  ImportOptions options = keeping();
  options.shard_bytes = 400;
  options.force = true;
  // The folder is replaced while `whole` still maps the old file.
  const auto report = import(wagon(), options);
  const auto index = json("model.safetensors.index.json");
  EXPECT_EQ(index["metadata"]["total_size"], report.bytes);
  EXPECT_EQ(index["metadata"]["total_parameters"], 6 * 32 + 8 * 64 + 4 * 64 + 5);
  std::map<std::string, std::set<std::string>> files_of_module;
  for (const auto& [name, file] : index["weight_map"].items()) {
    files_of_module[name.substr(0, name.rfind('.'))].insert(file.get<std::string>());
  }
  for (const auto& [module, files] : files_of_module) EXPECT_EQ(files.size(), 1U) << module;
  EXPECT_EQ(index["weight_map"]["embed.scales"], "model-00001-of-00003.safetensors");
  EXPECT_EQ(index["weight_map"]["layers.0.norm.weight"], "model-00003-of-00003.safetensors");
  EXPECT_EQ(files().size(), 6 + 3U);
  for (const quiver::TensorView* before : whole.tensors()) {
    const quiver::TensorView after = tensor(std::string(before->name));
    EXPECT_EQ(after.dtype, before->dtype);
    EXPECT_EQ(after.shape, before->shape);
    EXPECT_THAT(after.data, testing::ElementsAreArray(before->data)) << before->name;
  }
}

TEST_F(ImportGguf, TensorsLieAtMultiplesOfTheirElements) {
  import(wagon()
             .tensor("blk.1.norm.weight", {3}, {0.1F, 0.2F, 0.3F})
             .tensor("blk.1.wheel.weight", {1, 32}, GgufType::q8_0, blocks(GgufType::q8_0, 32)),
         keeping());
  const auto files = quiver::SafetensorsSet::open(out());
  const std::byte* begin = files.tensors().front()->data.data();
  for (const quiver::TensorView* view : files.tensors()) {
    EXPECT_EQ(static_cast<std::size_t>(view->data.data() - begin) % size_bytes(view->dtype), 0U)
        << view->name;
  }
}

TEST_F(ImportGguf, ProgressCountsUpToTheTotal) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> calls;
  const auto report = import(wagon(), keeping(), [&](std::uint64_t done, std::uint64_t total) {
    calls.emplace_back(done, total);
    return true;
  });
  EXPECT_EQ(calls.back(), std::pair(report.bytes, report.bytes));
  EXPECT_TRUE(std::ranges::is_sorted(calls, {}, [](const auto& call) { return call.first; }));
}

TEST_F(ImportGguf, AnInterruptionAtAnyPointLeavesNothing) {
  int calls = 0;
  import(wagon(), keeping(), [&](auto, auto) { return ++calls > 0;
});
std::filesystem::remove_all(out());
ASSERT_GT(calls, 8);
for (int last = 0; last < calls; ++last) {
  int count = 0;
  expect_refused([&] { import(wagon(), keeping(), [&](auto, auto) { return count++ < last;
  });
},
                   "the import was interrupted", ErrorCode::interrupted);
EXPECT_TRUE(is_clean()) << last;
}
}

TEST_F(ImportGguf, ATruncatedFileLeavesNothing) {
  const Bytes whole = wagon().build();
  for (std::size_t size = 0; size < whole.size(); size += size < 900 ? 1 : 37) {
    folder_.write("model.gguf", std::span(whole).first(size));
    try {
      quiver::import_gguf(gguf(), out(), keeping(), wagon_source());
      ADD_FAILURE() << "accepted with " << size << " of " << whole.size() << " bytes";
    } catch (const quiver::Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_input) << error.what();
    }
    ASSERT_TRUE(is_clean()) << size;
  }
}

/// All that an import computes, without a folder.
void compute_all(std::span<const std::byte> bytes) {
  const auto file = quiver::GgufFile::from_bytes(bytes, "test.gguf");
  const WagonGguf family;
  const auto config = quiver::config_from_gguf(file, family);
  quiver::rebuild_tokenizer(file, family).tokenizer.dump();
  const auto plan = quiver::plan_tensors(file, family.tensor_rules("wagon"),
                                         quiver::ModelConfig::parse(config.dump(), "config.json"),
                                         {{}, true}, [] {});
  for (const quiver::ImportedTensor& tensor : plan.tensors) {
    for (std::size_t i = 0; i < tensor.outputs.size(); ++i) {
      quiver::convert_tensor(tensor, i, [](std::span<const std::byte>) {});
    }
  }
}

TEST(ImportGgufFile, DamagedMetadataIsRefusedInOneLineOrRead) {
  const Bytes whole = wagon().build();
  int refused = 0;
  for (std::size_t at = 8; at < 1400; at += 2) {
    for (const int bits : {0xFF, 0x01, 0x80}) {
      Bytes damaged = whole;
      damaged[at] ^= static_cast<std::byte>(bits);
      try {
        compute_all(damaged);
      } catch (const quiver::Error& error) {
        ++refused;
        EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
      }
    }
  }
  EXPECT_GT(refused, 500);
}

TEST_F(ImportGguf, AnExistingFolderIsReplacedOnlyByForce) {
  import(wagon());
  std::ofstream(out() / "note.txt") << "old";
  expect_refused([&] { import(wagon()); }, "the folder exists already", ErrorCode::usage);
  EXPECT_TRUE(std::filesystem::exists(out() / "note.txt"));
  ImportOptions options;
  options.force = true;
  import(wagon(), options);
  EXPECT_FALSE(std::filesystem::exists(out() / "note.txt"));
  EXPECT_EQ(folder_.list().size(), 2U);
}

TEST_F(ImportGguf, AFailedReplacementKeepsTheOldFolder) {
  import(wagon());
  ImportOptions options;
  options.force = true;
  expect_refused([&] { import(wagon(), options, [](std::uint64_t done, auto) { return done == 0;
  });
},
                 "interrupted", ErrorCode::interrupted);
EXPECT_EQ(files().size(), 7U);
EXPECT_EQ(folder_.list().size(), 2U);
}

TEST_F(ImportGguf, OtherFoldersAreNeverReplaced) {
  ImportOptions options;
  options.force = true;
  std::filesystem::create_directory(out());
  std::ofstream(out() / "letter.txt") << "dear";
  expect_refused([&] { import(wagon(), options); }, "holds no config.json", ErrorCode::usage);
  EXPECT_EQ(read_text(out() / "letter.txt"), "dear");
  std::filesystem::remove_all(out());
  std::ofstream(out()) << "a file";
  expect_refused([&] { import(wagon(), options); }, "something that is not a folder",
                 ErrorCode::usage);
  expect_refused([&] { quiver::import_gguf(gguf(), folder_.path() / "", options, wagon_source()); },
                 "lies in the folder to write", ErrorCode::usage);
  EXPECT_TRUE(std::filesystem::exists(gguf()));
}

TEST_F(ImportGguf, AnEmptyFolderIsUsed) {
  std::filesystem::create_directory(out());
  import(wagon());
  EXPECT_EQ(files().size(), 7U);
}

TEST_F(ImportGguf, ATrailingSlashIsNoPartOfTheName) {
  wagon().write(gguf());
  quiver::import_gguf(gguf(), out() / "", {}, wagon_source());
  EXPECT_EQ(files().size(), 7U);
  EXPECT_EQ(folder_.list().size(), 2U);
}

TEST_F(ImportGguf, AMissingParentFolderIsNamed) {
  wagon().write(gguf());
  expect_refused(
      [&] { quiver::import_gguf(gguf(), folder_.path() / "no" / "out", {}, wagon_source()); },
      "cannot create the file: No such file or directory");
  expect_refused([&] { quiver::import_gguf(folder_.path() / "x.gguf", out(), {}, wagon_source()); },
                 "x.gguf");
}

TEST_F(ImportGguf, OnlyArchitecturesThatImportAreUsed) {
  wagon().write(gguf());
  expect_refused([&] { quiver::import_gguf(gguf(), out(), {}, wagon_source(false)); },
                 "the plugin 'arch-wagon' cannot import GGUF files", ErrorCode::plugin);
  const auto none = [](std::string_view name) -> quiver::ArchitectureOffer {
    throw quiver::Error(ErrorCode::plugin, "no architecture for " + std::string(name));
  };
  expect_refused([&] { quiver::import_gguf(gguf(), out(), {}, none); }, "no architecture for wagon",
                 ErrorCode::plugin);
  EXPECT_TRUE(is_clean());
}

TEST_F(ImportGguf, MissingKeysAreNamed) {
  for (const char* key :
       {"general.architecture", "wagon.heads", "wagon.epsilon", "tokenizer.ggml.model",
        "tokenizer.ggml.pre", "tokenizer.ggml.tokens", "tokenizer.ggml.merges"}) {
    expect_refused([&] { import(wagon().remove(key)); }, "no key '" + std::string(key) + "'");
    EXPECT_TRUE(is_clean());
  }
}

TEST_F(ImportGguf, OnePartOfSeveralIsRefused) {
  expect_refused([&] { import(wagon().u32("split.count", 3)); }, "one of 3 parts");
}

TEST_F(ImportGguf, OnlyFloatTypesCanBeAskedFor) {
  ImportOptions options;
  options.dtype = DType::i32;
  expect_refused([&] { import(wagon(), options); }, "f32, f16 or bf16", ErrorCode::usage);
}

}  // namespace
}  // namespace quiver::test
