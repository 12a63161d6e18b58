// Makes samplers of a manifest's functions and checks what they leave behind.
#include "core/plugin/c_sampler.hpp"

#include "core/plugin/c_function.hpp"
#include "core/plugin/guarded_buffer.hpp"
#include "core/plugin/options.hpp"

#include <quiver/error.hpp>

#include <dlfcn.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

namespace quiver {

/// A function, its place in the manifest, and the options made of its parameters.
struct BoundSampler {
  std::shared_ptr<const CSamplerManifest> manifest;
  const CSamplerSpec& spec;
  CFunction function;
  std::vector<OptionSpec> options;

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::plugin, "the sampler '" + spec.name + "' " + what,
                "plugin " + manifest->name, "its function breaks its manifest; tell its author");
  }
};

namespace {

/// Whether `after` holds only ids of `before`, each at most once.
bool is_subset(std::span<const std::int32_t> after, std::span<const std::int32_t> before) {
  const auto [lowest, highest] = std::ranges::minmax(before);
  const auto index = [base = std::int64_t{lowest}](std::int32_t id) {
    return static_cast<std::size_t>(id - base);
  };
  std::vector<bool> is_open(index(highest) + 1);
  for (const std::int32_t id : before) is_open[index(id)] = true;
  for (const std::int32_t id : after) {
    if (id < lowest || id > highest || !is_open[index(id)]) return false;
    is_open[index(id)] = false;
  }
  return true;
}

/// A bound function with the values of its parameters.
class CSampler final : public Sampler {
 public:
  CSampler(std::shared_ptr<const BoundSampler> bound, const Options& options)
      : bound_(std::move(bound)) {
    const CSamplerSpec& spec = bound_->spec;
    for (std::size_t i = 0; i < spec.arguments.size(); ++i) {
      const CArgument& argument = spec.arguments[i];
      has_logits_ |= argument.kind == CArgumentKind::logits;
      has_ids_ |= argument.kind == CArgumentKind::ids;
      if (argument.kind != CArgumentKind::parameter) continue;
      const CParameter& parameter = spec.parameters[argument.parameter];
      arguments_[i] = c_slot(parameter.type, options.number(parameter.name));
    }
  }

  std::size_t state_bytes() const override { return bound_->spec.state_bytes; }

  void reset(std::span<std::byte> state) const override { std::ranges::fill(state, std::byte{0}); }

  void apply(Candidates& candidates, const SamplerContext& context,
             std::span<std::byte> state) const override {
    if (!chooses()) call(candidates, context, state);
  }

  bool chooses() const override { return bound_->spec.result == CResultKind::token; }

  std::int32_t choose(Candidates& candidates, const SamplerContext& context,
                      std::span<std::byte> state) const override {
    return chooses() ? call(candidates, context, state) : -1;
  }

 private:
  /// Returns the chosen token; -1 where the function does not choose.
  std::int32_t call(Candidates& candidates, const SamplerContext& context,
                    std::span<std::byte> state) const {
    const std::size_t count = candidates.count;
    std::vector<std::int32_t> ids_before;
    if (has_ids_) ids_before.assign(candidates.ids, candidates.ids + count);
    std::int64_t result = 0;
    try {
      result = bound_->function.call(fill(candidates, context, state));
    } catch (...) {
      bound_->fail("threw an exception, which a C function must not");
    }
    if (bound_->spec.result == CResultKind::count) {
      if (result < 1 || static_cast<std::uint64_t>(result) > count) {
        bound_->fail("returned a count of " + std::to_string(result) + " for " +
                     std::to_string(count) + " candidates");
      }
      candidates.count = static_cast<std::size_t>(result);
    }
    if (has_ids_) check_ids(candidates, ids_before);
    if (has_logits_) check_logits(candidates);
    if (!chooses()) return -1;
    const std::span<const std::int32_t> choices =
        has_ids_ ? std::span<const std::int32_t>(ids_before)
                 : std::span<const std::int32_t>(candidates.ids, count);
    const auto chosen = std::ranges::find(choices, result);
    if (chosen == choices.end()) {
      bound_->fail("chose " + std::to_string(result) + ", which is not a candidate");
    }
    return *chosen;
  }

  CArgumentBlock fill(const Candidates& candidates, const SamplerContext& context,
                      std::span<std::byte> state) const {
    CArgumentBlock slots = arguments_;
    const std::span<const std::int32_t> history = context.history();
    const Vocabulary* vocabulary = context.vocabulary();
    std::uint32_t draw = 0;
    for (std::size_t i = 0; i < bound_->spec.arguments.size(); ++i) {
      CSlot& slot = slots[i];
      switch (bound_->spec.arguments[i].kind) {
        case CArgumentKind::logits: slot.pointer = candidates.logits; break;
        case CArgumentKind::ids: slot.pointer = candidates.ids; break;
        case CArgumentKind::count: slot.size = candidates.count; break;
        // The manifest's author promises not to write here; the type cannot say so.
        case CArgumentKind::history:
          slot.pointer = const_cast<std::int32_t*>(history.data());
          break;
        case CArgumentKind::history_length: slot.size = history.size(); break;
        case CArgumentKind::prompt_length: slot.size = context.prompt_length(); break;
        case CArgumentKind::random: slot.f64 = context.uniform(draw++); break;
        case CArgumentKind::vocabulary_size:
          slot.i32 = vocabulary != nullptr ? vocabulary->size() : 0;
          break;
        case CArgumentKind::position: slot.u64 = history.size(); break;
        case CArgumentKind::state: slot.pointer = state.data(); break;
        case CArgumentKind::parameter: break;
      }
    }
    return slots;
  }

  void check_ids(Candidates& candidates, std::span<const std::int32_t> before) const {
    const std::span<const std::int32_t> after(candidates.ids, candidates.count);
    if (std::ranges::equal(after, before.first(after.size()))) return;
    if (!is_subset(after, before)) bound_->fail("left an id that is not a candidate");
    candidates.is_indexed = false;
    candidates.is_sorted = false;
  }

  void check_logits(Candidates& candidates) const {
    candidates.is_sorted = false;
    float highest = -std::numeric_limits<float>::infinity();
    bool has_nan = false;
    for (std::size_t i = 0; i < candidates.count; ++i) {
      has_nan |= std::isnan(candidates.logits[i]);
      highest = std::max(highest, candidates.logits[i]);
    }
    if (has_nan) bound_->fail("left a logit that is not a number");
    if (std::isinf(highest)) {
      bound_->fail(highest > 0 ? "left a logit of +infinity" : "ruled out every token");
    }
  }

  std::shared_ptr<const BoundSampler> bound_;
  CArgumentBlock arguments_{};
  bool has_logits_ = false;
  bool has_ids_ = false;
};

std::vector<OptionSpec> options_of(const CSamplerSpec& spec) {
  std::vector<OptionSpec> options;
  for (const CParameter& parameter : spec.parameters) {
    const bool is_real = parameter.type == CType::f32 || parameter.type == CType::f64;
    options.push_back({.name = parameter.name.c_str(),
                       .summary = parameter.summary.c_str(),
                       .kind = is_real ? OptionKind::number : OptionKind::integer,
                       .default_value = parameter.default_value,
                       .minimum = parameter.minimum,
                       .maximum = parameter.maximum,
                       .default_text = nullptr});
  }
  return options;
}

/// The context of a rehearsal: a short history and no tokenizer.
class RehearsalContext final : public SamplerContext {
 public:
  explicit RehearsalContext(std::span<const std::int32_t> history) : history_(history) {}
  std::span<const std::int32_t> history() const override { return history_; }
  std::size_t prompt_length() const override { return history_.size() / 2; }
  double uniform(std::uint32_t) const override { return 0.5; }
  const Vocabulary* vocabulary() const override { return nullptr; }

 private:
  std::span<const std::int32_t> history_;
};

void rehearse(const CSamplerLibrary& library, const CSamplerSpec& spec) {
  constexpr std::size_t kCandidates = 8;
  GuardedBuffer<float> logits(kCandidates, GuardSide::after);
  GuardedBuffer<std::int32_t> ids(kCandidates, GuardSide::after);
  GuardedBuffer<std::int32_t> history(4, GuardSide::after);
  for (std::size_t i = 0; i < kCandidates; ++i) {
    logits.span()[i] = 0.5F * static_cast<float>(i % 5);
    ids.span()[i] = static_cast<std::int32_t>(i);
  }
  std::ranges::fill(history.span(), 2);
  history.make_read_only();
  const PluginOptions options("sampler '" + spec.name + "'", library.options(spec.name));
  const std::unique_ptr<Sampler> sampler(library.create(spec.name, options));
  GuardedBuffer<std::byte> state(sampler->state_bytes(), GuardSide::after, 16);
  sampler->reset(state.span());
  Candidates candidates{.logits = logits.data(),
                        .ids = ids.data(),
                        .count = kCandidates,
                        .is_sorted = false,
                        .is_indexed = true};
  const RehearsalContext context(history.span());
  sampler->apply(candidates, context, state.span());
  if (sampler->chooses()) sampler->choose(candidates, context, state.span());
  if (!logits.is_intact() || !ids.is_intact() || !state.is_intact()) {
    throw Error(ErrorCode::plugin, "the sampler '" + spec.name + "' writes outside its buffers",
                "plugin " + library.manifest().name, "tell its author");
  }
}

}  // namespace

CSamplerLibrary::CSamplerLibrary(CSamplerManifest manifest, void* library)
    : manifest_(std::make_shared<const CSamplerManifest>(std::move(manifest))) {
  for (const CSamplerSpec& spec : manifest_->samplers) {
    void* address = ::dlsym(library, spec.symbol.c_str());
    if (address == nullptr) {
      throw Error(ErrorCode::plugin, "the symbol '" + spec.symbol + "' is missing",
                  manifest_->library, "export it, or correct the manifest");
    }
    samplers_.push_back(std::shared_ptr<const BoundSampler>(
        new BoundSampler{manifest_, spec, CFunction(spec, address), options_of(spec)}));
  }
}

const std::shared_ptr<const BoundSampler>& CSamplerLibrary::find(std::string_view offer) const {
  const auto found = std::ranges::find(
      samplers_, offer, [](const auto& bound) { return std::string_view(bound->spec.name); });
  if (found == samplers_.end()) {
    throw Error(ErrorCode::usage, "no sampler '" + std::string(offer) + "' in this plugin",
                "plugin " + manifest_->name, "'quiver plugins list' shows what it offers");
  }
  return *found;
}

std::span<const OptionSpec> CSamplerLibrary::options(std::string_view offer) const {
  return find(offer)->options;
}

Sampler* CSamplerLibrary::create(std::string_view offer, const Options& options) const {
  return std::make_unique<CSampler>(find(offer), options).release();
}

void rehearse_c_samplers(const CSamplerLibrary& library) {
  for (const CSamplerSpec& spec : library.manifest().samplers) rehearse(library, spec);
}

}  // namespace quiver
