// Checks of architectures: what they make of configs, and that their models follow the host's
// rules.
#include "core/model/model_config.hpp"
#include "core/model/weight_store.hpp"
#include "core/plugin/check_model.hpp"
#include "core/plugin/check_support.hpp"
#include "core/tensor/safetensors.hpp"
#include "core/threads/thread_pool.hpp"

#include <quiver/architecture.hpp>
#include <quiver/detector.hpp>
#include <quiver/error.hpp>
#include <quiver/text_model.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace quiver {
namespace {

using Json = nlohmann::json;

// Enough for any family's smallest config, little enough to be made in a moment.
constexpr std::int64_t kMostElements = 20'000'000;

/// The architecture under test, its library held by the pointer.
ArchitectureOffer architecture_of(const PluginLibrary& library, const PluginOffer& offer) {
  const auto& architecture = provider_of<Architecture>(library);
  return {std::shared_ptr<const Architecture>(library.shared_from_this(), &architecture),
          offer.name, library.name()};
}

/// Builds a model from a config alone. Errors pass; a missing model fails the check.
std::unique_ptr<const Model> build(const ArchitectureOffer& offer, const Config& config,
                                   Weights& weights) {
  std::unique_ptr<const Model> model(offer.architecture->create(offer.offer, config, weights));
  require(model != nullptr, "makes no model and gives no reason");
  return model;
}

const std::filesystem::path& config_of(const CheckSubject& subject) {
  if (subject.config.empty())
    throw CheckSkipped("needs a config.json of the family: --config FILE");
  return subject.config;
}

int stars(std::string_view pattern) {
  return static_cast<int>(std::ranges::count(pattern, '*'));
}

std::string check_rules(const CheckSubject& subject, const PluginOffer& offer) {
  const ArchitectureOffer architecture = architecture_of(*subject.load(), offer);
  const auto rules = architecture.architecture->checkpoint_rules(offer.name);
  for (const TensorRule& rule : rules) {
    require(rule.from != nullptr, "a tensor rule has no pattern");
    const std::string where = std::string("the rule for '") + rule.from + "' ";
    const bool drops = rule.kind == TensorRuleKind::drop || rule.kind == TensorRuleKind::drop_tower;
    require(rule.kind <= TensorRuleKind::stack, where + "is of an unknown kind");
    require(drops == (rule.to == nullptr),
            where + (drops ? "drops and renames" : "has no new name"));
    const std::size_t rest = std::string_view(rule.from).find("**");
    require(rest == std::string_view::npos || rest + 2 == std::string_view(rule.from).size(),
            where + "has '**' where it may not stand");
    const int matched = stars(rule.from) - (rule.kind == TensorRuleKind::stack ? 1 : 0);
    require(drops || stars(rule.to) <= matched, where + "repeats more than it matches");
    const bool needs_parameter = rule.kind == TensorRuleKind::rename_deinterleave_heads ||
                                 rule.kind == TensorRuleKind::split;
    require(!needs_parameter || rule.parameter != nullptr,
            where + "lacks the number of heads or the name of its second half");
  }
  return std::to_string(rules.size()) + " rules";
}

std::string check_extensions(const CheckSubject& subject, const PluginOffer& offer) {
  const ArchitectureOffer architecture = architecture_of(*subject.load(), offer);
  for (const char* id : {"", "quiver.unknown/1", "quiver.architecture/1x", "com.example/1"}) {
    require(architecture.architecture->extension(id) == nullptr,
            "answers the unknown extension '" + std::string(id) + "'");
  }
  return {};
}

/// What a bad config may lead to: a model after all, or an Error that says where it is bad.
bool is_refused(const ArchitectureOffer& architecture, const Json& json, const std::string& what) {
  try {
    const ModelConfig config = ModelConfig::parse(json.dump(), "config.json");
    WeightStore weights(nullptr, config, {});
    build(architecture, config, weights);
    return false;
  } catch (const Error& error) {
    require(error.code() == ErrorCode::bad_input || error.code() == ErrorCode::resources,
            what + " leads to an error that is not bad_input: " + error.what());
    require(!error.where().empty(),
            what + " leads to an error that names no value: " + error.what());
    return true;
  }
}

std::string check_empty_config(const CheckSubject& subject, const PluginOffer& offer) {
  const ArchitectureOffer architecture = architecture_of(*subject.load(), offer);
  int refused = 0;
  for (const std::string& type : offer.model_types) {
    refused += is_refused(architecture, {{"model_type", type}}, "a config without sizes") ? 1 : 0;
  }
  is_refused(architecture, Json::object(), "an empty config");
  return std::to_string(refused) + " of " + std::to_string(offer.model_types.size()) +
         " model types need more than their name";
}

/// Pointers to every plain value of a config.
void collect_leaves(const Json& json, const Json::json_pointer& at,
                    std::vector<Json::json_pointer>& leaves) {
  if (leaves.size() >= 200) return;
  if (!json.is_structured()) {
    leaves.push_back(at);
  } else if (json.is_object()) {
    for (const auto& item : json.items()) collect_leaves(item.value(), at / item.key(), leaves);
  } else {
    for (std::size_t i = 0; i < json.size(); ++i) collect_leaves(json[i], at / i, leaves);
  }
}

std::string check_malformed_config(const CheckSubject& subject, const PluginOffer& offer) {
  const Json good = ModelConfig::load(config_of(subject)).json();
  const ArchitectureOffer architecture = architecture_of(*subject.load(), offer);
  std::vector<Json::json_pointer> leaves;
  collect_leaves(good, Json::json_pointer(), leaves);
  const std::vector<Json> wrong{nullptr,
                                "text",
                                -1,
                                0,
                                1,
                                0.5,
                                3,
                                2147483647,
                                4e9,
                                1e300,
                                -1e300,
                                true,
                                false,
                                Json::array(),
                                Json::object(),
                                "",
                                Json::array({1, "a"})};
  int tried = 0;
  int refused = 0;
  for (const Json::json_pointer& leaf : leaves) {
    for (const Json& value : wrong) {
      Json bad = good;
      bad[leaf] = value;
      ++tried;
      refused += is_refused(architecture, bad, leaf.to_string() + " = " + value.dump()) ? 1 : 0;
    }
  }
  return std::to_string(refused) + " of " + std::to_string(tried) + " changed configs refused";
}

std::string check_builds(const CheckSubject& subject, const PluginOffer& offer) {
  const ModelConfig config = ModelConfig::load(config_of(subject));
  const ArchitectureOffer architecture = architecture_of(*subject.load(), offer);
  RecordingWeights first;
  RecordingWeights second;
  const auto model = build(architecture, config, first);
  const auto again = build(architecture, config, second);
  require(model->block_count() >= 0, "has a negative number of blocks");
  require(std::ranges::equal(first.tensors(), second.tensors(), {}, &TensorInfo::name,
                             &TensorInfo::name),
          "takes other tensors the second time");
  for (const char* id : {"", "quiver.unknown/1", "quiver.text-model/1x"}) {
    require(model->extension(id) == nullptr, "its model answers an unknown extension");
  }
  if (const void* text = model->extension(TextModel::kInterfaceId)) {
    const TextModelInfo info = static_cast<const TextModel*>(text)->info();
    require(info.hidden > 0 && info.vocabulary > 0 && info.context_length >= 0,
            "its text model has no width or no vocabulary");
  }
  return std::to_string(model->block_count()) + " blocks, " +
         std::to_string(first.tensors().size()) + " tensors, " + std::to_string(first.elements()) +
         " values";
}

std::vector<TensorInfo> tensors_of(const CheckSubject& subject,
                                   const ArchitectureOffer& architecture) {
  const ModelConfig config = ModelConfig::load(config_of(subject));
  RecordingWeights weights;
  const auto model = build(architecture, config, weights);
  if (model->extension(TextModel::kInterfaceId) == nullptr &&
      model->extension(Detector::kInterfaceId) == nullptr) {
    throw CheckSkipped("the model works neither on text nor on pictures");
  }
  if (weights.elements() > kMostElements) {
    throw CheckSkipped("the config has " + std::to_string(weights.elements()) +
                       " weights; give a smaller one");
  }
  return weights.tensors();
}

std::string check_missing_tensors(const CheckSubject& subject, const PluginOffer& offer) {
  const ArchitectureOffer architecture = architecture_of(*subject.load(), offer);
  const std::vector<TensorInfo> tensors = tensors_of(subject, architecture);
  int named = 0;
  // The first, one in the middle, the last: each kind of part once or twice is enough.
  for (const std::size_t i : {std::size_t{0}, tensors.size() / 2, tensors.size() - 1}) {
    const std::string& name = tensors[i].name;
    const RandomCheckpoint checkpoint(config_of(subject), tensors, name);
    try {
      checkpoint.load(architecture);
    } catch (const Error& error) {
      require(std::string(error.what()).find(name) != std::string::npos,
              "without " + name + " it fails without naming it: " + error.what());
      ++named;
    }
  }
  return std::to_string(named) + " of 3 tensors are required, and named where they are missing";
}

/// A random model that runs on `threads` threads.
struct Runner {
  ThreadPool threads;
  Engine engine;

  Runner(std::shared_ptr<const LoadedModel> model, int thread_count)
      : threads(thread_count),
        engine(std::move(model), plain_kv_strategy(), threads, {ComputeMode::exact}) {}

  /// Logits of all `tokens`, fed behind what the sequence holds in pieces of the given sizes.
  std::vector<float> feed(Sequence& sequence, std::span<const std::int32_t> tokens,
                          std::span<const std::size_t> pieces, RowForm form = RowForm::prompt) {
    std::vector<float> all;
    for (const std::size_t size : pieces) {
      const std::size_t count = std::min(size, tokens.size());
      const Feed feed{&sequence, tokens.first(count), Wanted::all, form};
      const Logits logits = engine.forward({&feed, 1});
      sequence.accept(static_cast<int>(count));
      all.insert(all.end(), logits.values.begin(), logits.values.end());
      tokens = tokens.subspan(count);
    }
    return all;
  }

  std::vector<float> whole(std::span<const std::int32_t> tokens) {
    Sequence sequence = engine.new_sequence();
    const std::size_t size = tokens.size();
    return feed(sequence, tokens, {&size, 1});
  }

  std::vector<std::int32_t> tokens(std::size_t count, std::uint64_t seed) const {
    std::vector<std::int32_t> ids;
    for (const float x : check_noise(count, seed)) {
      ids.push_back(static_cast<std::int32_t>((x + 1) / 2 *
                                              static_cast<float>(engine.info().vocabulary - 1)));
    }
    return ids;
  }
};

std::shared_ptr<const LoadedModel> load_random(const CheckSubject& subject,
                                               const PluginOffer& offer) {
  const ArchitectureOffer architecture = architecture_of(*subject.load(), offer);
  return RandomCheckpoint(config_of(subject), tensors_of(subject, architecture)).load(architecture);
}

std::string check_runs(const CheckSubject& subject, const PluginOffer& offer) {
  const auto model = load_random(subject, offer);
  if (!model->is_text()) return check_detector_runs(model);
  Runner one(model, 1);
  Runner some(model, 4);
  const auto tokens = one.tokens(20, 1);
  const std::vector<float> logits = one.whole(tokens);
  require(std::ranges::all_of(logits, [](float x) { return std::isfinite(x); }),
          "random weights give logits that are not finite");
  const auto [least, greatest] = std::ranges::minmax(logits);
  require(least < greatest, "all logits are the same");
  require(has_same_bits(logits, one.whole(tokens)), "the second run gives other bits");
  require(has_same_bits(logits, some.whole(tokens)), "four threads give other bits than one");
  return {};
}

/// The same of a model of text; what is checked with it makes no sense for others.
std::shared_ptr<const LoadedModel> load_random_text(const CheckSubject& subject,
                                                    const PluginOffer& offer) {
  auto model = load_random(subject, offer);
  if (!model->is_text()) throw CheckSkipped("the model neither reads nor writes text");
  return model;
}

std::string check_batch(const CheckSubject& subject, const PluginOffer& offer) {
  Runner runner(load_random_text(subject, offer), 2);
  const std::array<std::vector<std::int32_t>, 3> texts{runner.tokens(12, 1), runner.tokens(1, 2),
                                                       runner.tokens(7, 3)};
  std::vector<float> alone;
  for (const auto& text : texts) {
    const auto logits = runner.whole(text);
    alone.insert(alone.end(), logits.begin(), logits.end());
  }
  std::vector<Sequence> sequences(3, runner.engine.new_sequence());
  std::vector<Feed> feeds;
  for (std::size_t i = 0; i < 3; ++i) feeds.push_back({&sequences[i], texts[i], Wanted::all});
  require(has_same_bits(alone, runner.engine.forward(feeds).values),
          "three texts in a batch give other bits than each alone");
  return {};
}

std::string check_chunks(const CheckSubject& subject, const PluginOffer& offer) {
  Runner runner(load_random_text(subject, offer), 2);
  const auto tokens = runner.tokens(24, 4);
  const std::vector<float> whole = runner.whole(tokens);
  float scale = 1;
  for (const float x : whole) scale = std::max(scale, std::fabs(x));
  float worst = 0;
  constexpr std::array<std::array<std::size_t, 4>, 3> kPieces{
      {{1, 1, 21, 1}, {5, 1, 7, 11}, {23, 1, 0, 0}}};
  for (const auto& pieces : kPieces) {
    Sequence sequence = runner.engine.new_sequence();
    const std::size_t used =
        static_cast<std::size_t>(std::ranges::find(pieces, 0U) - pieces.begin());
    const auto parts = runner.feed(sequence, tokens, std::span(pieces).first(used));
    for (std::size_t i = 0; i < whole.size(); ++i)
      worst = std::max(worst, std::fabs(whole[i] - parts[i]));
  }
  require(worst <= 1e-5F * scale, "a text fed in pieces differs by " + std::to_string(worst));
  return worst == 0 ? "the same bits" : "differs by " + std::to_string(worst / scale) + " at most";
}

std::string check_rollback(const CheckSubject& subject, const PluginOffer& offer) {
  Runner runner(load_random_text(subject, offer), 2);
  const auto tokens = runner.tokens(16, 5);
  const std::span<const std::int32_t> all(tokens);
  constexpr std::array<std::size_t, 1> kEight{8};
  constexpr std::array<std::size_t, 2> kDecoded{2, 3};
  Sequence straight = runner.engine.new_sequence();
  runner.feed(straight, all.first(8), kEight);
  const auto expected = runner.feed(straight, all.subspan(8, 5), kDecoded, RowForm::decode);

  // The same text, but after eight tokens five are tried of which two stay, and later all three of
  // another three are taken back.
  Sequence tried = runner.engine.new_sequence();
  runner.feed(tried, all.first(8), kEight);
  std::vector<std::int32_t> draft(tokens.begin() + 8, tokens.begin() + 13);
  std::reverse(draft.begin() + 2, draft.end());
  Feed feed{&tried, draft, Wanted::all, RowForm::decode};
  runner.engine.forward({&feed, 1});
  tried.accept(2);
  feed = {&tried, all.subspan(13, 3), Wanted::none, RowForm::decode};
  runner.engine.forward({&feed, 1});
  tried.accept(0);
  const auto replay =
      runner.feed(tried, all.subspan(10, 3), std::array<std::size_t, 1>{3}, RowForm::decode);
  const std::span<const float> last = std::span(expected).last(replay.size());
  require(has_same_bits(std::span<const float>(replay), last),
          "tokens that were taken back leave something behind");
  return {};
}

using ArchitectureCheck = std::string (*)(const CheckSubject&, const PluginOffer&);

}  // namespace

void add_architecture_checks(const PluginOffer& offer, std::vector<Check>& plan) {
  constexpr std::array<std::pair<const char*, ArchitectureCheck>, 10> kChecks{
      {{"rules-valid", check_rules},
       {"unknown-extensions-null", check_extensions},
       {"empty-config-is-an-error", check_empty_config},
       {"builds-from-config", check_builds},
       {"malformed-config-is-an-error", check_malformed_config},
       {"missing-tensors-are-named", check_missing_tensors},
       {"deterministic-on-any-threads", check_runs},
       {"batch-equals-single", check_batch},
       {"chunked-equals-whole", check_chunks},
       {"rollback-equals-replay", check_rollback}}};
  for (const auto& [name, check] : kChecks) {
    plan.push_back({offer.name + "/" + name, [offer, check = check](const CheckSubject& subject) {
                      return check(subject, offer);
                    }});
  }
}

void exercise_architecture(const PluginLibrary& library, const PluginOffer& offer) {
  const auto& architecture = provider_of<Architecture>(library);
  architecture.checkpoint_rules(offer.name);
  // A family cannot know its sizes from nothing; that it says so is all that is to be seen here.
  is_refused({std::shared_ptr<const Architecture>(std::shared_ptr<void>(), &architecture),
              offer.name, library.name()},
             Json::object(), "an empty config");
}

}  // namespace quiver
