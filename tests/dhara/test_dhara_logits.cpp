// Logits of the dhara family in every mask mode, whole and in chunks, of float and quantized files.
#include "tests/dhara/dhara_models.hpp"

namespace quiver::test {
namespace {

Logits block_logits(Engine& engine, std::span<const std::int32_t> ids, int block) {
  Sequence sequence = engine.new_sequence();
  const Feed feed{
      &sequence, ids, Wanted::all, RowForm::prompt, {VisibilityKind::block_causal, block}};
  Logits logits = engine.forward({&feed, 1});
  sequence.accept(static_cast<int>(ids.size()));
  return logits;
}

/// Checks the three mask modes that `cases` records.
void expect_logits(Engine& engine, const nlohmann::json& cases, const SafetensorsFile& tensors,
                   double tolerance) {
  const auto causal = ids_of(cases.at("prefill").at("input_ids"));
  const auto want = floats(tensors, cases.at("prefill").at("logits"));
  const Logits whole = all_logits(engine, causal, causal.size());
  EXPECT_LE(largest_difference(whole.values, want), tolerance);
  for (const std::size_t chunk : {1, 2, 5, 7, 8}) {
    EXPECT_EQ(all_logits(engine, causal, chunk).values, whole.values) << chunk;
  }
  for (const char* name : {"block_causal", "block_causal_masked"}) {
    const nlohmann::json& entry = cases.at(name);
    const auto got = block_logits(engine, ids_of(entry.at("input_ids")), entry.at("block_len"));
    EXPECT_LE(largest_difference(got.values, floats(tensors, entry.at("logits"))), tolerance)
        << name;
  }
}

class DharaLogits : public testing::TestWithParam<const char*> {};

TEST_P(DharaLogits, match_in_every_mask_mode_whole_and_in_chunks) {
  const DharaReference reference(GetParam());
  TestEngine test{load_dhara(reference.folder / "checkpoint")};
  expect_logits(test.engine, reference.expected.at("cases"), reference.tensors,
                reference.expected.at("tolerances").at("logits_abs"));
}

TEST_P(DharaLogits, fed_block_by_block_equal_those_fed_at_once) {
  const DharaReference reference(GetParam());
  TestEngine test{load_dhara(reference.folder / "checkpoint")};
  const nlohmann::json& entry = reference.expected.at("cases").at("block_causal");
  const auto ids = ids_of(entry.at("input_ids"));
  const int block = entry.at("block_len");
  const Logits whole = block_logits(test.engine, ids, block);
  Sequence sequence = test.engine.new_sequence();
  std::vector<float> parts;
  for (std::size_t done = 0; done < ids.size();) {
    const std::size_t count = std::min(static_cast<std::size_t>(block), ids.size() - done);
    const Feed feed{&sequence,
                    std::span(ids).subspan(done, count),
                    Wanted::all,
                    RowForm::prompt,
                    {VisibilityKind::block_causal, block}};
    const Logits part = test.engine.forward({&feed, 1});
    sequence.accept(static_cast<int>(count));
    parts.insert(parts.end(), part.values.begin(), part.values.end());
    done += count;
  }
  EXPECT_EQ(parts, whole.values);
}

TEST_P(DharaLogits, a_canvas_sees_all_of_itself_where_blocks_do_too) {
  // Where the canvas is one block of the grid both rules let the same rows see each other.
  const DharaReference reference(GetParam());
  TestEngine test{load_dhara(reference.folder / "checkpoint")};
  const auto ids = ids_of(reference.expected.at("cases").at("block_causal").at("input_ids"));
  const auto run = [&](const Visibility& visibility) {
    Sequence sequence = test.engine.new_sequence();
    test.engine.feed_prompt(sequence, std::span(ids).first(8), Wanted::none, {},
                            {VisibilityKind::block_causal, 8});
    const Feed feed{&sequence, std::span(ids).subspan(8, 8), Wanted::all, RowForm::decode,
                    visibility};
    Logits logits = test.engine.forward({&feed, 1});
    sequence.accept(0);
    return logits.values;
  };
  EXPECT_EQ(run({VisibilityKind::canvas, 0}), run({VisibilityKind::block_causal, 8}));
}

INSTANTIATE_TEST_SUITE_P(all, DharaLogits, testing::ValuesIn(kDharaSets),
                         [](const auto& param) { return std::string(param.param); });

class DharaQuantizedLogits : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(DharaQuantizedLogits, match_in_every_mask_mode_with_a_mask_of_floats) {
  const DharaReference reference(GetParam().first);
  const std::string name = GetParam().second;
  TestEngine test{load_dhara(reference.folder / ("checkpoint-" + name))};
  expect_logits(test.engine, reference.expected.at("cases").at("quant." + name), reference.tensors,
                reference.expected.at("tolerances").at("logits_abs"));
}

INSTANTIATE_TEST_SUITE_P(all, DharaQuantizedLogits,
                         testing::Values(std::pair("quant", "q4g32"), std::pair("quant", "q4g64"),
                                         std::pair("quant", "mixed"),
                                         std::pair("quant_bf16", "q4g64"),
                                         std::pair("quant_bf16", "mixed")),
                         [](const auto& param) {
                           return std::string(param.param.first) + "_" + param.param.second;
                         });

/// The recordings of the trained model keep one list of ids for all modes.
void expect_trained_logits(const std::filesystem::path& checkpoint, const nlohmann::json& entry,
                           const DharaReference& reference) {
  TestEngine test{load_dhara(checkpoint)};
  const double tolerance = reference.expected.at("tolerances").at("logits_abs");
  const auto ids = ids_of(entry.at("input_ids"));
  const auto masked = ids_of(entry.at("masked_ids"));
  const int block = entry.at("block_len");
  const auto want = [&](int mode) {
    return floats(reference.tensors, entry.at("names").at(static_cast<std::size_t>(mode)));
  };
  EXPECT_LE(largest_difference(all_logits(test.engine, ids, ids.size()).values, want(0)),
            tolerance);
  EXPECT_LE(largest_difference(block_logits(test.engine, ids, block).values, want(1)), tolerance);
  EXPECT_LE(largest_difference(block_logits(test.engine, masked, block).values, want(2)),
            tolerance);
}

TEST(DharaTrained, logits_match_in_every_mask_mode) {
  const DharaReference reference("real");
  expect_trained_logits(shared("models/dhara-tiny-real"), reference.expected.at("logits"),
                        reference);
  for (const auto& [name, entry] : reference.expected.at("quant").items()) {
    expect_trained_logits(reference.folder / ("checkpoint-" + name), entry.at("logits"), reference);
  }
}

}  // namespace
}  // namespace quiver::test
