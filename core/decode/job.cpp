// A request on its way from submission to its end, as the inference thread sees it.
#include "core/decode/job.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <utility>

#include "core/decode/engine.hpp"
#include "core/tensor/printable.hpp"

namespace quiver {
namespace {

double ms_between(Job::Clock::time_point from, Job::Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

}  // namespace

Job::Job(Request asked, Engine& engine)
    : request(std::move(asked)),
      text(request.samplers, request.rules, std::move(request.prompt),
           static_cast<std::size_t>(engine.info().context_length)),
      decoder(make_decoder(engine, text, request.decode, nullptr)),
      prompt_visibility(decoder->prompt_visibility()),
      prefix_key(request.prefix_key) {
  if (request.images) prefix_key += request.images->key();
  if (decoder->keeps_head_history()) prefix_key += "\ndraft head";
  if (prompt_visibility.kind != VisibilityKind::causal) {
    prefix_key += fmt::format("\nblocks of {}", prompt_visibility.block_length);
  }
}

void Job::end(FinishReason reason, std::optional<Error> error,
              SchedulerCounters& counters) noexcept {
  if (is_ended) return;
  is_ended = true;
  if (is_suspended()) --counters.suspended;
  sequence.reset();
  saved.reset();
  report.reason = reason;
  report.error = std::move(error);
  report.prompt_tokens = text.given().size();
  report.generated_tokens = text.generated().size();
  report.decoding = decoder->counts();
  decoder.reset();  // what it drafts with may be the caller's, who lets go of it when told the end
  const auto now = Clock::now();
  report.queue_ms = ms_between(submitted, admitted.value_or(now));
  if (admitted) report.prompt_ms = ms_between(*admitted, first_token.value_or(now));
  if (first_token) report.decode_ms = ms_between(*first_token, now);
  --counters.requests;
  if (!request.on_end) return;
  try {
    request.on_end(report);
  } catch (...) {
    // It was told not to throw, and the other texts must not pay for it.
  }
}

int Job::length() const noexcept {
  if (sequence) return sequence->length();
  return saved ? saved->length : 0;
}

Feed Job::next() {
  Sequence* const own = sequence ? &*sequence : nullptr;
  if (!is_prompt()) {
    return decoder->plan().feed(own, request.images.get());
  }
  const auto held = static_cast<std::size_t>(length());
  const auto grid = static_cast<std::size_t>(prompt_grid());
  const std::size_t rest = text.given().size() - held;
  const std::size_t count = std::min(grid - held % grid, rest);
  const bool is_last = count == rest && decoder->wants_prompt_logits();
  Feed feed{own, text.given().subspan(held, count), is_last ? Wanted::last : Wanted::none,
            RowForm::prompt, prompt_visibility};
  feed.images = request.images.get();
  return feed;
}

Error current_error() {
  try {
    throw;
  } catch (const Error& error) {
    // Made anew, because the object in flight may be a plugin's.
    return {error.code(), error.message(), error.where(), error.hint()};
  } catch (const std::bad_alloc&) {
    return {ErrorCode::resources, "memory is exhausted", "generation",
            "use shorter or fewer texts, or a smaller model"};
  } catch (const std::exception& error) {
    return {ErrorCode::internal, printable(error.what()), "generation", "report this"};
  } catch (...) {
    return {ErrorCode::internal, "an unknown exception was thrown", "generation", "report this"};
  }
}

}  // namespace quiver
