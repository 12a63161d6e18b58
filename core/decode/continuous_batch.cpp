// Many texts in one batch: which rows the next pass runs, and who makes room when memory is short.
#include "core/decode/continuous_batch.hpp"

#include <algorithm>

namespace quiver {
namespace {

std::span<const std::int32_t> shareable_prompt(const Job& job) {
  // The last token's logits are wanted, so it is always computed.
  return job.text.given().first(job.text.given().size() - 1);
}

Error no_room() {
  return {ErrorCode::resources, "the key-value cache has no room for this text, even alone",
          "key-value cache", "use a shorter text, or raise the limit"};
}

}  // namespace

ContinuousBatch::ContinuousBatch(Engine& engine, const SchedulerOptions& options,
                                 SchedulerCounters& counters)
    : engine_(engine),
      options_(options),
      counters_(counters),
      prefixes_(Engine::kPromptGrid, options.prefix_limit_bytes) {
  jobs_.reserve(room());  // so that taking a text up cannot fail
}

std::size_t ContinuousBatch::room() const noexcept {
  const bool is_short =
      std::ranges::any_of(jobs_, [](const auto& job) { return job->is_suspended(); });
  const auto most = static_cast<std::size_t>(std::max(1, options_.max_sequences));
  return is_short || jobs_.size() >= most ? 0 : most - jobs_.size();
}

void ContinuousBatch::add(std::unique_ptr<Job> job) {
  Job& added = *jobs_.emplace_back(std::move(job));
  added.number = ++numbers_;
  added.turn = ++turns_;
  added.admitted = Job::Clock::now();
  try {
    added.sequence.emplace(added.new_sequence(engine_));
  } catch (...) {
    fail(added, current_error());
  }
}

void ContinuousBatch::fail(Job& job, Error error) noexcept {
  job.end(FinishReason::interrupted, std::move(error), counters_);
}

void ContinuousBatch::end_all(const std::optional<Error>& error) noexcept {
  for (const auto& job : jobs_) {
    job->end(FinishReason::interrupted, error, counters_);
  }
  jobs_.clear();
}

void ContinuousBatch::end_cancelled() noexcept {
  for (const auto& job : jobs_) {
    if (job->is_cancelled()) job->end(FinishReason::interrupted, {}, counters_);
  }
}

void ContinuousBatch::step() {
  end_cancelled();
  resume_suspended();
  run_draft_heads();
  Jobs chosen = choose();
  reserve(chosen);
  if (!chosen.empty()) run(chosen);
  std::erase_if(jobs_, [](const auto& job) { return job->is_ended; });
}

/// Runs the passes of draft heads until no text wants one, so that all texts verify together.
void ContinuousBatch::run_draft_heads() {
  for (;;) {
    Jobs drafting;
    for (const auto& job : jobs_) {
      const bool is_ready = job->is_running() && !job->is_prompt();
      if (is_ready && job->next().kind == PassKind::draft_head) drafting.push_back(job.get());
    }
    reserve(drafting);
    if (drafting.empty()) return;
    run(drafting);
  }
}

ContinuousBatch::Jobs ContinuousBatch::choose() {
  Jobs chosen;
  Jobs prompts;
  for (const auto& job : jobs_) {
    if (job->is_running()) (job->is_prompt() ? prompts : chosen).push_back(job.get());
  }
  std::ranges::sort(prompts, {}, &Job::turn);
  Jobs fed;
  std::size_t rows = 0;
  const auto max_rows = static_cast<std::size_t>(std::max(0, options_.max_prompt_rows));
  for (Job* job : prompts) {
    if (job->is_shareable() && job->length() % Engine::kPromptGrid == 0) {
      const int shared = prefixes_.extend(*job->sequence, job->prefix_key, shareable_prompt(*job));
      job->report.shared_tokens += static_cast<std::size_t>(shared);
      counters_.shared_tokens += static_cast<std::size_t>(shared);
    }
    const std::size_t count = job->next().tokens.size();
    // One that does not fit is the first in the next pass, where it always does.
    if (rows != 0 && rows + count > max_rows) continue;
    if (is_computed_by(*job, fed)) continue;
    rows += count;
    job->turn = ++turns_;
    fed.push_back(job);
  }
  chosen.insert(chosen.end(), fed.begin(), fed.end());
  return chosen;
}

/// Whether one of `others` computes the very chunk that the job needs next, so that it can be
/// shared after this pass.
bool ContinuousBatch::is_computed_by(Job& job, const Jobs& others) const {
  if (!job.is_shareable()) return false;
  const auto end = static_cast<std::size_t>(job.length()) + job.next().tokens.size();
  const auto prompt = shareable_prompt(job);
  if (options_.prefix_limit_bytes == 0 || end % Engine::kPromptGrid != 0 || end > prompt.size())
    return false;
  return std::ranges::any_of(others, [&](const Job* other) {
    return other->length() == job.length() && other->text.given().size() >= end &&
           other->prefix_key == job.prefix_key &&
           std::ranges::equal(other->text.given().first(end), prompt.first(end));
  });
}

void ContinuousBatch::run(std::span<Job* const> chosen) {
  std::vector<Feed> feeds;
  Logits logits;
  try {
    for (Job* job : chosen) feeds.push_back(job->next());
    logits = engine_.forward(feeds);
  } catch (...) {
    if (chosen.size() == 1) {
      fail(*chosen.front(), current_error());
      return;
    }
    // Which text it was is not known. Alone each has the same bits, so all others can go on.
    for (Job* const& job : chosen) run({&job, 1});
    return;
  }
  settle(chosen, feeds, logits);
  engine_.reuse(std::move(logits));
}

void ContinuousBatch::settle(std::span<Job* const> chosen, std::span<const Feed> feeds,
                             Logits& logits) {
  ++counters_.passes;
  int texts = 0;
  for (const Feed& feed : feeds) {
    const bool is_prompt = feed.form == RowForm::prompt;
    (is_prompt ? counters_.prompt_rows : counters_.decode_rows) += feed.tokens.size();
    if (!is_prompt) ++texts;
  }
  const auto width = static_cast<std::size_t>(logits.vocabulary);
  auto rest = std::span(logits.values);
  std::span<const float> hidden(logits.hidden);  // one state a text
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const std::size_t count = wanted_rows(feeds[i]) * width;
    const auto own_hidden = hidden.first(hidden.size() / (chosen.size() - i));
    try {
      advance(*chosen[i], feeds[i], {rest.first(count), own_hidden}, texts);
    } catch (...) {
      fail(*chosen[i], current_error());
    }
    rest = rest.subspan(count);
    if (!hidden.empty()) hidden = hidden.subspan(hidden.size() / (chosen.size() - i));
  }
}

/// What follows a pass for one text. `texts` of them were decoded in it.
void ContinuousBatch::advance(Job& job, const Feed& feed, const PassResult& result, int texts) {
  if (feed.form == RowForm::prompt) {
    job.sequence->accept(static_cast<int>(feed.tokens.size()));
    const auto length = static_cast<std::size_t>(job.length());
    // Whole blocks of the prompt, never anything that was decoded.
    if (job.is_shareable() && length % Engine::kPromptGrid == 0)
      prefixes_.keep(*job.sequence, job.prefix_key, job.text.given());
    counters_.prefix_bytes = prefixes_.size_bytes();
    if (job.request.on_prompt) job.request.on_prompt(length);
    if (!job.is_prompt()) job.decoder->begin(result.logits);
  } else {
    job.sequence->accept(job.decoder->settle(result, texts));
  }
  if (!job.first_token && !job.text.generated().empty()) job.first_token = Job::Clock::now();
  if (job.text.is_finished()) job.end(job.text.reason(), {}, counters_);
}

bool ContinuousBatch::free_pages(std::size_t bytes) {
  const std::size_t available = engine_.pool().available_bytes();
  if (available >= bytes) return true;
  prefixes_.evict_unused(bytes - available);
  counters_.prefix_bytes = prefixes_.size_bytes();
  return engine_.pool().available_bytes() >= bytes;
}

/// Finds pages for the chosen texts, oldest first; those for whom there are none are taken out.
void ContinuousBatch::reserve(Jobs& chosen) {
  std::ranges::sort(chosen, {}, &Job::number);
  Jobs ready;
  std::size_t promised = 0;
  for (Job* job : chosen) {
    if (!job->is_running()) continue;  // made room for one before it
    const auto rows = static_cast<int>(job->next().tokens.size());
    const std::size_t needed = job->sequence->growth_bytes(rows);
    if (needed != 0 && !reserve(*job, needed, promised)) continue;
    promised += needed;
    ready.push_back(job);
  }
  chosen.swap(ready);
}

/// Makes `needed` bytes available beside those promised to older texts, by dropping unused prefixes
/// and suspending younger texts. Where that is not enough, the job itself is suspended, or ended if
/// it has everything to itself.
bool ContinuousBatch::reserve(Job& job, std::size_t needed, std::size_t promised) {
  const auto holds_pages = [&](const auto& other) {
    return other.get() != &job && other->is_running() && other->length() > 0;
  };
  while (!free_pages(promised + needed)) {
    const auto youngest = std::ranges::find_if(jobs_.rbegin(), jobs_.rend(), holds_pages);
    if (youngest == jobs_.rend() && promised == 0) {
      fail(job, no_room());
      return false;
    }
    if (youngest == jobs_.rend() || (*youngest)->number < job.number) {
      suspend(job);
      return false;
    }
    suspend(**youngest);
  }
  return true;
}

void ContinuousBatch::suspend(Job& job) {
  try {
    job.saved = job.sequence->save();
  } catch (...) {
    fail(job, current_error());
    return;
  }
  job.sequence.reset();
  ++counters_.suspended;
  if (job.length() == 0) return;  // waits for its first page
  ++job.report.preemptions;
  ++counters_.preemptions;
}

/// Takes suspended texts up again, oldest first, as long as there is room.
void ContinuousBatch::resume_suspended() {
  for (const auto& job : jobs_) {
    if (!job->is_suspended()) continue;
    if (resume(*job)) continue;
    const bool is_alone =
        std::ranges::none_of(jobs_, [](const auto& other) { return other->is_running(); });
    if (!is_alone) return;  // one of those that run will make room
    fail(*job, no_room());
  }
}

bool ContinuousBatch::resume(Job& job) {
  try {
    const std::size_t length = static_cast<std::size_t>(job.saved->length);
    const auto rows = static_cast<int>(job.next().tokens.size());
    const auto running = static_cast<std::size_t>(
        std::ranges::count_if(jobs_, [](const auto& other) { return other->is_running(); }));
    Sequence sequence = job.new_sequence(engine_);
    const auto prompt = shareable_prompt(job);
    if (job.is_shareable()) {
      prefixes_.extend(sequence, job.prefix_key, prompt.first(std::min(prompt.size(), length)));
    }
    // A page a layer for each text that runs, so that none of them has to suspend it at once.
    const std::size_t needed =
        sequence.restore_bytes(*job.saved, rows) + running * page_bytes(engine_.layout(), 1);
    if (!free_pages(needed)) return false;
    sequence.restore(*job.saved);
    job.sequence.emplace(std::move(sequence));
    job.saved.reset();
    --counters_.suspended;
    return true;
  } catch (...) {
    fail(job, current_error());
    return false;
  }
}

}  // namespace quiver
