// Times block diffusion beside plain decoding over prompts of a text, threshold by threshold, and
// says how likely plain decoding finds what was written. Prints one line of JSON.
#include "bench/load_model.hpp"
#include "bench/process_usage.hpp"
#include "core/decode/generator.hpp"
#include "core/eval/perplexity.hpp"
#include "core/kernels/kernel_table.hpp"
#include "core/text/tokenizer.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>
#include <boost/program_options.hpp>
#include <nlohmann/json.hpp>

#include <cmath>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

namespace {

using quiver::bench::Stopwatch;
using Ids = std::vector<std::int32_t>;

struct Settings {
  std::string model;
  std::string text;
  std::string plugins;
  int threads = 0;
  int prompts = 0;
  int prompt_tokens = 0;
  int generated = 0;
  int block_length = 0;
  double penalty = 1;
  std::vector<double> thresholds;
};

/// What one way of writing came to, over all prompts.
struct Result {
  double seconds = 0;
  std::size_t tokens = 0;
  int passes = 0;
  double nll = 0;

  nlohmann::ordered_json json() const {
    const auto count = static_cast<double>(tokens);
    return {{"tokens_per_s", count / seconds},
            {"passes_per_token", passes / count},
            {"perplexity", std::exp(nll / count)}};
  }
};

class Bench {
 public:
  explicit Bench(const Settings& settings)
      : settings_(settings),
        threads_(settings.threads),
        registry_(quiver::bench::open_registry(settings.plugins)),
        engine_(quiver::bench::load_model(settings.model, registry_),
                quiver::bench::kv_strategy("f16", registry_), threads_, quiver::ComputeOptions{}) {
    const quiver::text::Tokenizer tokenizer = quiver::text::Tokenizer::load_folder(settings.model);
    std::ifstream file(settings.text);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const Ids ids = tokenizer.encode(text, false);
    const auto length = static_cast<std::size_t>(settings.prompt_tokens);
    const std::size_t stride = ids.size() / static_cast<std::size_t>(settings.prompts);
    if (stride < length) throw quiver::Error(quiver::ErrorCode::usage, "the text is too short");
    for (std::size_t start = 0; start + stride <= ids.size(); start += stride) {
      const auto first = ids.begin() + static_cast<std::ptrdiff_t>(start);
      prompts_.emplace_back(first, first + settings.prompt_tokens);
    }
    if (settings.penalty != 1) {
      samplers_ = quiver::SamplerChain({quiver::create_sampler(
          *registry_, "repetition-penalty",
          quiver::OptionInput::from_text(fmt::format("penalty={},window=0", settings.penalty)))});
    }
  }

  nlohmann::ordered_json report() {
    nlohmann::ordered_json json{{"program", "quiver " QUIVER_VERSION},
                                {"kernels", quiver::kernels().name},
                                {"threads", threads_.threads()},
                                {"prompts", prompts_.size()},
                                {"tokens", settings_.generated}};
    quiver::GenerationOptions plain;
    plain.decode.mode = quiver::DecodeMode::autoregressive;
    json["ar"] = write(plain).json();
    for (const double threshold : settings_.thresholds) {
      quiver::GenerationOptions blocks;
      blocks.decode.mode = quiver::DecodeMode::block_diffusion;
      blocks.decode.block_length = settings_.block_length;
      blocks.decode.canvas_sampler = quiver::create_canvas_sampler(
          *registry_, "confidence",
          quiver::OptionInput::from_text(fmt::format("threshold={}", threshold)));
      auto entry = write(blocks).json();
      entry["threshold"] = threshold;
      json["block_diffusion"].push_back(std::move(entry));
    }
    return json;
  }

 private:
  Result write(quiver::GenerationOptions options) {
    options.max_tokens = settings_.generated;
    Result result;
    for (const Ids& prompt : prompts_) {
      quiver::Sequence sequence = engine_.new_sequence();
      const auto text = quiver::generate(engine_, sequence, prompt, samplers_, options);
      result.seconds += 1e-3 * text.decode_ms;
      result.tokens += text.ids.size();
      result.passes += text.counts.passes;
      result.nll += nll(prompt, text.ids);
    }
    return result;
  }

  /// -log of the probability that plain decoding gives `ids` behind `prompt`, in nats.
  double nll(const Ids& prompt, const Ids& ids) {
    Ids all = prompt;
    all.insert(all.end(), ids.begin(), ids.end());
    quiver::Sequence sequence = engine_.new_sequence();
    const quiver::Logits logits = engine_.feed_prompt(sequence, all, quiver::Wanted::all);
    double sum = 0;
    for (std::size_t i = prompt.size(); i < all.size(); ++i) {
      sum += quiver::negative_log_likelihood(logits.row(static_cast<int>(i) - 1), all[i]);
    }
    return sum;
  }

  const Settings& settings_;
  quiver::ThreadPool threads_;
  quiver::bench::Registry registry_;
  quiver::Engine engine_;
  quiver::SamplerChain samplers_;
  std::vector<Ids> prompts_;
};

std::unique_ptr<Settings> parse(int argc, char** argv) {
  namespace po = boost::program_options;
  auto settings = std::make_unique<Settings>();
  Settings& s = *settings;
  po::options_description options("bench_block_diffusion MODEL --text FILE [option..]");
  const auto add = [&](const char* name, auto& target, auto preset, const char* help) {
    using Value = std::decay_t<decltype(target)>;
    options.add_options()(name, po::value(&target)->default_value(Value(preset)), help);
  };
  options.add_options()("help", "print this help");
  add("MODEL", s.model, "", "model folder with a tokenizer; the word without an option");
  add("text", s.text, "", "file whose parts are the prompts");
  add("plugin-path", s.plugins, QUIVER_BUILD_DIR "/lib/quiver/plugins", "folder of plugins");
  add("threads", s.threads, 0, "threads; 0 = all CPUs that this process may use");
  add("prompts", s.prompts, 8, "how many prompts, evenly spread over the text");
  add("prompt-tokens", s.prompt_tokens, 32, "tokens of each");
  add("gen", s.generated, 96, "tokens written behind each");
  add("block-length", s.block_length, 32, "tokens of a block; 0 adapts the canvases");
  add("penalty", s.penalty, 1.0, "repetition penalty over the whole text");
  options.add_options()(
      "thresholds",
      po::value(&s.thresholds)->multitoken()->default_value({0.5, 0.7, 0.9}, "0.5 0.7 0.9"),
      "of the confidence sampler");
  po::positional_options_description words;
  words.add("MODEL", 1);
  po::variables_map values;
  po::store(po::command_line_parser(argc, argv).options(options).positional(words).run(), values);
  po::notify(values);
  if (values.count("help") != 0 || s.model.empty() || s.text.empty()) {
    std::cout << options;
    return nullptr;
  }
  if (s.prompts < 1 || s.prompt_tokens < 1 || s.generated < 1) {
    throw quiver::Error(quiver::ErrorCode::usage, "a count is below 1");
  }
  return settings;
}

}  // namespace

int main(int argc, char** argv) {
  if (quiver::is_rehearsal_call(argc, argv)) return quiver::rehearsal_main(argc, argv);
  try {
    if (const auto settings = parse(argc, argv)) {
      fmt::print("{}\n", Bench(*settings).report().dump());
    }
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_block_diffusion: {}\n", error.what());
    return 1;
  }
}
