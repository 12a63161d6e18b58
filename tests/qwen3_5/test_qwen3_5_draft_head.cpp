// The draft head of the Qwen3.5 family: what it predicts, and that drafting changes no token.
#include <quiver/draft_head.hpp>

#include <cmath>
#include <numeric>

#include "core/decode/scheduler.hpp"
#include "tests/quantize/sweep_fixture.hpp"
#include "tests/qwen3_5/qwen3_5_models.hpp"
#include "tests/support/kv.hpp"

namespace quiver::test {
namespace {

/// Logits and states of one pass of the head over `ids` at the end of a sequence.
Logits draft(Engine& engine, Sequence& sequence, std::span<const std::int32_t> ids,
             std::span<const float> states, VisibilityKind kind) {
  const Feed feed{&sequence, ids, Wanted::last,         RowForm::draft,
                  {kind, 0}, {},  PassKind::draft_head, states};
  Logits logits = engine.forward({&feed, 1});
  sequence.accept(0);
  return logits;
}

/// A recorded head: position i reads the state of token i and token i + 1.
struct HeadCase {
  Qwen3_5Reference reference;
  std::vector<std::int32_t> ids = ids_of(reference.expected.at("case").at("input_ids"));
  TestEngine test;

  explicit HeadCase(const std::filesystem::path& folder)
      : HeadCase(folder, folder / "checkpoint") {}
  HeadCase(const std::filesystem::path& folder, const std::filesystem::path& model)
      : reference(folder), test{load_qwen3_5(model)} {}

  std::vector<float> row(const std::string& name, std::size_t index) const {
    const auto all = floats(reference.tensors, name);
    const std::size_t width = static_cast<std::size_t>(reference.tensors.at(name).columns());
    return {all.begin() + static_cast<std::ptrdiff_t>(index * width),
            all.begin() + static_cast<std::ptrdiff_t>((index + 1) * width)};
  }

  /// A sequence that holds the first `count` tokens, fed in chunks.
  Sequence fed(std::size_t count, std::size_t chunk) {
    Sequence sequence = test.engine.new_drafted_sequence();
    for (std::size_t done = 0; done < count;) {
      const std::size_t size = std::min(chunk, count - done);
      const Feed feed{&sequence, std::span(ids).subspan(done, size), Wanted::none};
      test.engine.forward({&feed, 1});
      sequence.accept(static_cast<int>(size));
      done += size;
    }
    return sequence;
  }
};

const std::filesystem::path kDense = shared("reference/qwen3_5/mtp");
const std::filesystem::path kExperts =
    std::filesystem::path(QUIVER_SOURCE_DIR) / "tests/qwen3_5/data/expert_head";

/// Heads whose layer is dense, and with experts.
class Qwen3_5DraftHeads : public testing::TestWithParam<std::filesystem::path> {
 protected:
  HeadCase head{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(, Qwen3_5DraftHeads, testing::Values(kDense, kExperts),
                         [](const auto& kind) { return kind.index == 0 ? "dense" : "experts"; });

TEST_P(Qwen3_5DraftHeads, predict_what_was_recorded_at_every_position) {
  for (std::size_t i = 0; i + 1 < head.ids.size(); ++i) {
    Sequence sequence = head.fed(i + 1, i % 2 == 0 ? 64 : 3);
    const Logits got = draft(head.test.engine, sequence, std::span(head.ids).subspan(i + 1, 1), {},
                             VisibilityKind::causal);
    EXPECT_LE(largest_difference(got.values, head.row("mtp1.logits", i)),
              head.reference.tolerance())
        << i;
    EXPECT_LE(largest_difference(got.hidden, head.row("mtp1.hidden", i)),
              head.reference.tolerance())
        << i;
  }
}

TEST_P(Qwen3_5DraftHeads, without_history_predict_what_was_recorded_so) {
  for (std::size_t i = 0; i + 1 < head.ids.size(); i += 5) {
    Sequence sequence = head.fed(i + 1, 64);
    const Logits got = draft(head.test.engine, sequence, std::span(head.ids).subspan(i + 1, 1), {},
                             VisibilityKind::alone);
    EXPECT_LE(largest_difference(got.values, head.row("mtp1_fresh.logits", i)),
              head.reference.tolerance())
        << i;
  }
}

TEST_P(Qwen3_5DraftHeads, draft_three_deep_as_recorded) {
  for (const auto& [position, entry] : head.reference.expected.at("draft").items()) {
    for (const bool has_history : {true, false}) {
      // The newest of the recorded tokens is not fed yet.
      const auto start = static_cast<std::size_t>(std::stoi(position)) - 1;
      Sequence sequence = head.fed(start, 64);
      const auto want = ids_of(entry.at(has_history ? "history_depth3" : "fresh_depth3"));
      std::vector<std::int32_t> row{head.ids[start]};
      std::vector<float> states;
      std::vector<std::int32_t> drafts;
      for (std::size_t depth = 0; depth < 3; ++depth) {
        const auto last = has_history ? std::span(row) : std::span(row).last(1);
        const Logits got = draft(head.test.engine, sequence, last, states,
                                 has_history ? VisibilityKind::causal : VisibilityKind::alone);
        drafts.push_back(
            static_cast<std::int32_t>(std::ranges::max_element(got.values) - got.values.begin()));
        row.push_back(drafts.back());
        if (!has_history) states.clear();
        states.insert(states.end(), got.hidden.begin(), got.hidden.end());
      }
      EXPECT_EQ(drafts, want) << "from " << position << (has_history ? " with" : " without");
    }
  }
}

TEST(Qwen3_5DraftHead, with_experts_is_written_as_stacks_and_predicts_nearly_the_same) {
  const TemporaryFolder folder;
  const auto out = folder.path() / "out";
  ConvertOptions options;
  options.method = ConvertMethod::by_rules;
  options.target_bpw = 16;
  options.group_size = 32;
  options.rules.pins = {{"*", 8}};
  ThreadPool threads(1);
  convert(load_qwen3_5(kExperts / "checkpoint"), {}, out, options,
          {exact_encoder(), {}, false, float_kv(), threads, nullptr, {}, load_qwen3_5});
  const auto stored = SafetensorsFile::open(out / "optiq/mtp.safetensors");
  EXPECT_EQ(stored.at("mtp.layers.0.mlp.switch_mlp.down_proj.weight").shape,
            (std::vector<std::int64_t>{5, 64, 8}));
  HeadCase head(kExperts);
  HeadCase converted(kExperts, out);
  double largest = 0;
  double cosine = 1;
  for (std::size_t i = 3; i + 1 < head.ids.size(); i += 4) {
    Sequence sequence = converted.fed(i + 1, 64);
    const Logits got = draft(converted.test.engine, sequence, std::span(head.ids).subspan(i + 1, 1),
                             {}, VisibilityKind::causal);
    const auto want = head.row("mtp1.logits", i);
    largest = std::max(largest, largest_difference(got.values, want));
    const auto product = [](std::span<const float> a, std::span<const float> b) {
      return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
    };
    cosine = std::min(cosine, product(got.values, want) /
                                  std::sqrt(product(want, want) * product(got.values, got.values)));
  }
  EXPECT_GT(largest, head.reference.tolerance()) << "nothing was quantized";
  EXPECT_GT(cosine, 0.9) << "a choice of experts may change, and no more";
}

/// Rounds as they are recorded: drafts, and how many were accepted.
struct RoundRecord : DecodeObserver {
  nlohmann::json rounds = nlohmann::json::array();
  void on_round(const SpeculativeRound& round) override {
    const std::vector<std::int32_t> drafts(round.fed.begin() + 1, round.fed.end());
    const auto count = static_cast<int>(round.chosen.size()) - 1;
    rounds.push_back({drafts, count});
  }
};

std::vector<std::int32_t> drafted(Engine& engine, std::span<const std::int32_t> prompt,
                                  std::size_t count, int depth, bool has_history,
                                  RoundRecord& record) {
  GenerationOptions options;
  options.max_tokens = static_cast<int>(count);
  options.decode.mode = DecodeMode::draft_head;
  options.decode.draft_tokens = 1 + depth;
  options.decode.has_head_history = has_history;
  options.decode.observer = &record;
  Sequence sequence = make_sequence(engine, options.decode);
  return generate(engine, sequence, prompt, SamplerChain(), options).ids;
}

TEST(Qwen3_5DraftHead, random_weights_accept_nothing_and_change_nothing) {
  HeadCase head(kDense);
  const nlohmann::json& entry = head.reference.expected.at("speculative");
  const auto prompt = ids_of(entry.at("prompt"));
  const auto want = ids_of(entry.at("plain_greedy_16"));
  for (const int depth : {1, 2}) {
    for (const bool has_history : {true, false}) {
      RoundRecord record;
      EXPECT_EQ(drafted(head.test.engine, prompt, want.size(), depth, has_history, record), want);
      const std::string name =
          (has_history ? "history_depth" : "fresh_depth") + std::to_string(depth);
      const nlohmann::json& log = entry.at(name).at("drafts_accepted");
      // The recording drafts as deep at the end of the text, where ours drafts no further than
      // that.
      for (std::size_t i = 0; i + 2 < record.rounds.size(); ++i) {
        EXPECT_EQ(record.rounds[i], log[i]) << name << " " << i;
      }
    }
  }
}

TEST(Qwen3_5DraftHead, a_trained_one_drafts_and_accepts_what_was_recorded) {
  const auto folder = shared("models/qwen3_5-tiny-real");
  const nlohmann::json expected = read_json_file(folder / "expected.json").at("greedy");
  TestEngine test{load_qwen3_5(folder)};
  for (const int depth : {1, 2}) {
    for (const bool has_history : {true, false}) {
      const std::string name =
          (has_history ? "history_depth" : "fresh_depth") + std::to_string(depth);
      for (const nlohmann::json& entry : expected.at("cases")) {
        const auto want = ids_of(entry.at("greedy_ids"));
        RoundRecord record;
        // Somewhat longer, because no draft goes beyond the end of a text.
        auto got = drafted(test.engine, ids_of(entry.at("input_ids")), want.size() + 8, depth,
                           has_history, record);
        got.resize(want.size());
        EXPECT_EQ(got, want) << name;
        const nlohmann::json& log = entry.at(name).at("log");
        for (std::size_t i = 0; i < log.size(); ++i) {
          EXPECT_EQ(record.rounds[i][0], log[i][0]) << name << " " << i;
          const int accepted = record.rounds[i][1];
          const int recorded = log[i][1];
          const bool is_cut = i + 1 == log.size();  // by the end of the recorded text
          EXPECT_TRUE(is_cut ? accepted >= recorded : accepted == recorded) << name << " " << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace quiver::test
