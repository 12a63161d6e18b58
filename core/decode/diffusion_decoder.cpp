// Writes a text block by block: each is a canvas of masks that several passes fill in.
#include "core/decode/diffusion_decoder.hpp"

#include <algorithm>
#include <limits>
#include <quiver/error.hpp>
#include <set>

namespace quiver {
namespace {

// Every so many canvases the longest is taken, so that what it would give stays known.
constexpr int kLongestEvery = 16;

/// Lengths that a canvas may have: the block, halved down to four positions.
std::vector<int> canvas_lengths(int block_length) {
  std::vector<int> lengths{block_length};
  while (lengths.back() % 2 == 0 && lengths.back() > 4) lengths.push_back(lengths.back() / 2);
  return lengths;
}

}  // namespace

DiffusionDecoder::DiffusionDecoder(TextState& text, std::int32_t mask_token, int block_length,
                                   const DecodeOptions& options, DecodeStatistics& statistics)
    : Decoder(text),
      mask_token_(mask_token),
      block_length_(options.block_length != 0 ? options.block_length : block_length),
      options_(&options),
      statistics_(&statistics) {}

Visibility DiffusionDecoder::prompt_visibility() const {
  return {VisibilityKind::block_causal, block_length_};
}

void DiffusionDecoder::begin(std::span<float>) {
  if (text_->is_finished()) return;
  if (!options_->suffix.empty() && text_->remaining() + options_->suffix.size() > text_->room()) {
    throw Error(ErrorCode::bad_input, "the context has no room for the text that follows", "suffix",
                "shorten it, the prompt, or what is generated between them");
  }
  plan_canvas();
}

/// The length that gives most tokens a second by what was measured.
int DiffusionDecoder::canvas_length() const {
  if (options_->block_length != 0) return block_length_;
  if (counts_.blocks % kLongestEvery == 0) return block_length_;
  int best = block_length_;
  double best_rate = 0;
  for (const int length : canvas_lengths(block_length_)) {
    const double steps = statistics_->canvases.steps(length);
    const double pass = statistics_->costs.seconds(false, length);
    if (steps == 0 || pass == 0) continue;
    const double rate = length / ((steps + 1) * pass);
    if (rate <= best_rate) continue;
    best = length;
    best_rate = rate;
  }
  return best;
}

/// Plans a pass that only measures how long one of a shorter canvas takes.
bool DiffusionDecoder::has_unmeasured_length() {
  if (options_->block_length != 0) return false;
  for (const int length : canvas_lengths(block_length_)) {
    if (length >= static_cast<int>(length_) || statistics_->costs.has(false, length)) continue;
    phase_ = Phase::measure;
    plan_.tokens = std::span(fed_).first(static_cast<std::size_t>(length));
    plan_.logits = Wanted::all;
    return true;
  }
  return false;
}

void DiffusionDecoder::plan_canvas() {
  start_ = text_->history().size();
  const bool is_infilling = !options_->suffix.empty();
  // A text that is put between others has its length; one that goes on may be cut in a canvas.
  const std::size_t rest = text_->remaining();
  length_ = static_cast<std::size_t>(canvas_length());
  if (is_infilling || options_->block_length == 0) length_ = std::min(length_, rest);
  length_ = std::min(length_, text_->room());
  fed_.assign(is_infilling ? rest : length_, mask_token_);
  fed_.insert(fed_.end(), options_->suffix.begin(), options_->suffix.end());
  plan_.visibility = prompt_visibility();
  if (is_infilling) plan_.visibility = {VisibilityKind::canvas, 0};
  steps_ = 0;
  proposal_.assign(length_, mask_token_);
  confidence_.assign(length_, 0.0F);
  entropy_.assign(length_, 0.0F);
  is_fixed_.assign(length_, 0);
  fixed_in_step_.assign(length_, 0);
  if (!has_unmeasured_length()) plan_step();
}

void DiffusionDecoder::plan_step() {
  phase_ = Phase::fill_in;
  // A sampler that decides anew sees every position open again.
  if (!options_->canvas_sampler->is_sticky()) std::ranges::fill(is_fixed_, std::uint8_t{0});
  open_.clear();
  for (std::size_t i = 0; i < length_; ++i) {
    if (is_fixed_[i] == 0) open_.push_back(static_cast<int>(i));
  }
  plan_.tokens = fed_;
  plan_.logits = Wanted::listed;
  plan_.listed = open_;
}

int DiffusionDecoder::take(const PassResult& result, int) {
  const std::span<float> logits = result.logits;
  switch (phase_) {
    case Phase::measure:
      if (!has_unmeasured_length()) plan_step();
      return 0;
    case Phase::fill_in: fill_in(logits); return 0;
    case Phase::settle: break;
  }
  const auto rows = static_cast<int>(length_);
  plan_canvas();
  return rows;
}

/// One step: proposals for the open positions, and which of them stay.
void DiffusionDecoder::fill_in(std::span<float> logits) {
  const std::size_t width = logits.size() / open_.size();
  for (std::size_t i = 0; i < open_.size(); ++i) {
    const auto position = static_cast<std::size_t>(open_[i]);
    const auto row = logits.subspan(i * width, width);
    if (!options_->allows_mask) {
      row[static_cast<std::size_t>(mask_token_)] = -std::numeric_limits<float>::infinity();
    }
    const Proposal proposal = text_->propose(row, start_ + position, start_);
    proposal_[position] = proposal.token;
    confidence_[position] = proposal.confidence;
    entropy_[position] = proposal.entropy;
  }
  std::vector<std::uint8_t> accepted(length_, 0);
  const auto limit = static_cast<std::int32_t>(length_);
  options_->canvas_sampler->decide({proposal_, confidence_, entropy_, is_fixed_, steps_, limit},
                                   accepted);
  ++steps_;
  ++counts_.steps;
  const bool is_last = steps_ == limit;
  const bool is_sticky = options_->canvas_sampler->is_sticky();
  bool has_accepted = false;
  for (const int index : open_) {
    const auto position = static_cast<std::size_t>(index);
    const bool is_accepted = accepted[position] != 0;
    has_accepted = has_accepted || is_accepted;
    if (!is_sticky && !is_accepted && !is_last) fed_[position] = mask_token_;
    // The last step of one that decides anew takes what there is.
    if (!is_accepted && (is_sticky || !is_last)) continue;
    fed_[position] = proposal_[position];
    // A mask that was chosen leaves its position open.
    is_fixed_[position] = proposal_[position] != mask_token_ ? 1 : 0;
    fixed_in_step_[position] = steps_;
  }
  if (!has_accepted) {
    throw Error(ErrorCode::plugin, "a canvas sampler accepted no position", "sampling",
                "choose another, or report it to its author");
  }
  const bool is_final = is_last || std::ranges::find(is_fixed_, 0) == is_fixed_.end();
  if (options_->observer != nullptr) {
    options_->observer->on_canvas(
        {start_, steps_, std::span(fed_).first(length_), is_fixed_, confidence_, is_final});
  }
  for (const int index : open_) confidence_[static_cast<std::size_t>(index)] = 0;
  if (is_final) {
    finish_canvas();
  } else {
    plan_step();
  }
}

/// Appends the canvas to the text, and plans the pass that settles it.
void DiffusionDecoder::finish_canvas() {
  ++counts_.blocks;
  // A shorter canvas would have taken the steps in which one of its positions was fixed.
  for (const int length : canvas_lengths(block_length_)) {
    if (length > static_cast<int>(length_)) continue;
    const std::set<int> steps(fixed_in_step_.begin(), fixed_in_step_.begin() + length);
    statistics_->canvases.add(length, static_cast<double>(steps.size()));
  }
  for (std::size_t i = 0; i < length_ && !text_->is_finished(); ++i) text_->append(fed_[i]);
  phase_ = Phase::settle;
  plan_.tokens = fed_;
  plan_.logits = Wanted::none;
  plan_.listed = {};
}

}  // namespace quiver
