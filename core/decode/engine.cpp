// Runs forward passes of a text model over the rows of any number of sequences.
#include "core/decode/engine.hpp"
#include "core/ops/forward_ops_inline.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <quiver/error.hpp>

namespace quiver {

void check_token_ids(std::span<const std::int32_t> tokens, int vocabulary) {
  const auto is_outside = [&](std::int32_t id) { return id < 0 || id >= vocabulary; };
  const auto bad = std::ranges::find_if(tokens, is_outside);
  if (bad == tokens.end()) return;
  throw Error(ErrorCode::bad_input,
              fmt::format("token id {} is outside the vocabulary of {}", *bad, vocabulary),
              "input tokens", "use the tokenizer that belongs to the model");
}

CacheLayout cache_layout(const WeightStore& weights, const KvPlan& kv, int hidden) {
  CacheLayout layout;
  layout.recent = kv.recent;
  for (const KvCachePart& part : weights.kv_caches()) {
    const KvShape shape{part.kv_heads, part.head_dim};
    if (part.use == CacheUse::draft && hidden == 0) {
      layout.kv_layers.push_back({shape, 0, part.window, 0});
      continue;
    }
    const std::size_t stored = kv.strategy(layout.kv_layers.size()).page_bytes(shape);
    const std::size_t fresh = kv.recent > 0 ? kv.fresh->page_bytes(shape) : 0;
    layout.kv_layers.push_back({shape, stored, part.window, fresh > stored ? fresh : 0});
  }
  for (const CausalConvPart& part : weights.causal_convs()) {
    layout.windows.push_back({part.kernel - 1, part.channels});
  }
  for (const DeltaRulePart& part : weights.delta_rules()) {
    layout.recurrences.push_back({part.state_size(), part.update_size()});
  }
  if (hidden != 0) {
    layout.keeps_hidden = true;
    layout.windows.push_back({1, hidden});
  }
  return layout;
}

Engine::Engine(std::shared_ptr<const LoadedModel> model, KvPlan kv, ThreadPool& threads,
               const ComputeOptions& compute, std::size_t cache_limit_bytes)
    : model_(std::move(model)),
      kv_(std::move(kv)),
      threads_(threads),
      compute_(compute),
      info_(model_->text().info()),
      layout_(cache_layout(model_->weights(), kv_)),
      draft_head_(
          static_cast<const DraftHead*>(model_->model().extension(DraftHead::kInterfaceId))),
      drafted_layout_(cache_layout(model_->weights(), kv_, info_.hidden)),
      pool_(cache_limit_bytes) {
  if (draft_head_ != nullptr) draft_vocabulary_ = DraftVocabulary::load(*model_);
  if (compute_.mode == ComputeMode::fast) {
    packed_ = std::make_unique<PackedModel>(
        *model_, draft_vocabulary_ ? &draft_vocabulary_->part() : nullptr);
  }
}

Sequence Engine::new_drafted_sequence() {
  if (draft_head_ == nullptr) {
    throw Error(ErrorCode::usage, "the model has no draft head", model_->folder().string(),
                "decode without one");
  }
  return Sequence(pool_, drafted_layout_);
}

Batch Engine::make_batch(std::span<const Feed> feeds) const {
  Batch batch;
  for (const Feed& feed : feeds) {
    const int start = feed.sequence->length();
    batch.segments.push_back({feed.sequence, batch.rows(), static_cast<int>(feed.tokens.size()),
                              start, feed.form,
                              /*variant=*/0, feed.visibility});
    check_token_ids(feed.tokens, info_.vocabulary);
    for (std::size_t i = 0; i < feed.tokens.size(); ++i) {
      const std::size_t index = static_cast<std::size_t>(start) + i;
      batch.tokens.push_back(feed.tokens[i]);
      const auto position = static_cast<std::int32_t>(index);
      batch.positions.push_back(feed.images != nullptr ? feed.images->position(index)
                                                       : std::array{position, position, position});
      if (feed.images == nullptr) continue;
      const auto features = feed.images->features(index);
      if (!features.empty()) batch.replaced_rows.emplace_back(batch.rows() - 1, features);
    }
  }
  return batch;
}

std::size_t wanted_rows(const Feed& feed) noexcept {
  switch (feed.logits) {
    case Wanted::none: return 0;
    case Wanted::last: return feed.tokens.empty() ? 0 : 1;
    case Wanted::all: return feed.tokens.size();
    case Wanted::listed: return feed.listed.size();
  }
  return 0;
}

namespace {

/// Rows of the batch whose logits are wanted.
std::vector<int> wanted_rows(std::span<const Feed> feeds, const Batch& batch) {
  std::vector<int> rows;
  for (std::size_t i = 0; i < feeds.size(); ++i) {
    const Segment& segment = batch.segments[i];
    if (feeds[i].logits == Wanted::listed) {
      for (const int r : feeds[i].listed) rows.push_back(segment.first_row + r);
      continue;
    }
    const auto count = static_cast<int>(wanted_rows(feeds[i]));
    for (int r = segment.rows - count; r < segment.rows; ++r) rows.push_back(segment.first_row + r);
  }
  return rows;
}

}  // namespace

Logits Engine::forward(std::span<const Feed> feeds, const TensorObserver& observer) {
  const auto start = std::chrono::steady_clock::now();
  const Batch batch = make_batch(feeds);
  if (batch.rows() == 0)
    throw Error(ErrorCode::usage, "there are no tokens to run", "input tokens");
  const PassKind kind = feeds.front().kind;
  const auto is_other = [&](const Feed& feed) { return feed.kind != kind; };
  if (std::ranges::any_of(feeds, is_other)) {
    throw Error(ErrorCode::internal, "passes of two kinds in one");
  }
  std::size_t begun = 0;
  try {
    for (; begun < feeds.size(); ++begun) {
      feeds[begun].sequence->begin(static_cast<int>(feeds[begun].tokens.size()));
    }
    const bool is_model = kind == PassKind::model;
    Logits logits = is_model ? run_model(feeds, batch, observer) : run_draft_head(feeds, batch);
    PassCosts& costs = is_model ? statistics_.costs : statistics_.head_costs;
    costs.record(batch, std::chrono::steady_clock::now() - start);
    return logits;
  } catch (...) {
    for (std::size_t i = 0; i < begun; ++i) feeds[i].sequence->accept(0);
    throw;
  }
}

Logits Engine::run_model(std::span<const Feed> feeds, const Batch& batch,
                         const TensorObserver& observer) {
  const TextModel& text = model_->text();
  ForwardOps ops(model_->weights(), kv_, batch, memory_, {threads_, compute_, packed_.get()});
  const auto observe = [&](std::string_view name, Tensor tensor) {
    if (observer) observer(name, batch.rows(), tensor.width, ops.values(tensor));
  };
  Stream stream = text.embed(ops);
  observe("embed", stream.x);
  for (int i = 0; i < model_->model().block_count(); ++i) {
    ops.begin_block();
    model_->model().block(i, ops, stream);
    ops.end_block(stream);
    observe(fmt::format("block.{}", i), stream.x);
  }
  const std::vector<int> wanted = wanted_rows(feeds, batch);
  const bool is_drafted = std::ranges::any_of(
      feeds, [](const Feed& feed) { return feed.sequence->layout().keeps_hidden; });
  if (wanted.empty() && !is_drafted) return {0, info_.vocabulary, {}, {}};
  const Tensor hidden = text.finish(ops, stream);
  observe("hidden", hidden);
  if (is_drafted) remember(ops, batch, hidden);
  return logits_of(ops, hidden, wanted);
}

Logits Engine::logits_of(ForwardOps& ops, Tensor hidden, std::span<const int> rows) {
  Logits logits;
  logits.vocabulary = info_.vocabulary;
  if (rows.empty()) return logits;
  const std::span<const float> values =
      ops.values(model_->text().logits(ops, ops.select_rows(hidden, rows)));
  logits.rows = static_cast<int>(rows.size());
  logits.values = std::move(spare_logits_);
  logits.values.resize(values.size());
  // A large vocabulary is a megabyte a row.
  const int parts = values.size() > kWorthSharing ? threads_.threads() : 1;
  threads_.run(parts, [&](int part, int) {
    const auto count = static_cast<std::size_t>(parts);
    const std::size_t begin = values.size() * static_cast<std::size_t>(part) / count;
    const std::size_t end = values.size() * (static_cast<std::size_t>(part) + 1) / count;
    std::copy(values.begin() + begin, values.begin() + end, logits.values.begin() + begin);
  });
  return logits;
}

int Engine::prompt_grid(const Visibility& visibility) noexcept {
  if (visibility.kind != VisibilityKind::block_causal) return kPromptGrid;
  const int block = visibility.block_length;
  return std::max(block, kPromptGrid / block * block);
}

Logits Engine::feed_prompt(Sequence& sequence, std::span<const std::int32_t> tokens, Wanted wanted,
                           const std::function<bool(std::size_t done)>& progress,
                           const Visibility& visibility, const PromptImages* images) {
  const int grid = prompt_grid(visibility);
  Logits result;
  result.vocabulary = info_.vocabulary;
  std::size_t done = 0;
  while (done < tokens.size()) {
    const auto to_grid = static_cast<std::size_t>(grid - sequence.length() % grid);
    const std::size_t count = std::min(to_grid, tokens.size() - done);
    const bool is_last = done + count == tokens.size();
    const Wanted rows = wanted == Wanted::last && !is_last ? Wanted::none : wanted;
    Feed feed{&sequence, tokens.subspan(done, count), rows, RowForm::prompt, visibility};
    feed.images = images;
    Logits logits = forward({&feed, 1});
    sequence.accept(static_cast<int>(count));
    result.rows += logits.rows;
    result.values.insert(result.values.end(), logits.values.begin(), logits.values.end());
    done += count;
    if (progress && !progress(done)) throw Error(ErrorCode::interrupted, "interrupted");
  }
  return result;
}

}  // namespace quiver
