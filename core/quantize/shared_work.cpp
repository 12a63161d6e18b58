// Parts of a sweep that the ranks of a job share, with the checkpoint of what has been measured.
#include "core/quantize/shared_work.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace quiver {

SharedWork::SharedWork(std::vector<SweepPart> parts, const std::vector<int>& widths,
                       SweepCheckpoint* checkpoint, Ranks* ranks, Progress progress)
    : parts_(std::move(parts)),
      checkpoint_(checkpoint),
      ranks_(ranks),
      progress_(std::move(progress)) {
  for (const SweepPart& part : parts_) total_ += part.work;
  deal(widths);
}

void SharedWork::deal(const std::vector<int>& widths) {
  std::vector<std::size_t> open;
  std::string text;
  if (is_root()) {
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      if (parts_[i].work == 0) continue;
      if (is_complete(i, widths)) {
        done_ += parts_[i].work;
      } else {
        open.push_back(i);
      }
    }
    text = nlohmann::json(open).dump();
  }
  if (ranks_ != nullptr) {
    open = nlohmann::json::parse(ranks_->broadcast(text)).get<std::vector<std::size_t>>();
  }
  const auto ranks = static_cast<std::size_t>(ranks_ == nullptr ? 1 : ranks_->size());
  const auto rank = static_cast<std::size_t>(ranks_ == nullptr ? 0 : ranks_->rank());
  for (std::size_t i = 0; i < open.size(); ++i) {
    if (i % ranks == rank) mine_.insert(open[i]);
  }
  if (is_root()) waiting_ = open.size() - mine_.size();
}

bool SharedWork::is_complete(std::size_t part, const std::vector<int>& widths) const {
  const WidthDivergences* kl = checkpoint_->find(parts_[part].name);
  return kl != nullptr && std::ranges::all_of(widths, [&](int bits) { return kl->contains(bits); });
}

void SharedWork::measured(std::size_t part, const WidthDivergences& kl) {
  if (is_root()) {
    keep(part, kl);
    return;
  }
  nlohmann::json widths = nlohmann::json::array();
  for (const auto& [bits, value] : kl) widths.push_back({bits, value});
  ranks_->send(nlohmann::json({{"part", part}, {"kl", widths}}).dump());
}

void SharedWork::keep(std::size_t part, const WidthDivergences& kl) {
  checkpoint_->add(parts_[part].name, kl);
  done_ += parts_[part].work;
}

void SharedWork::collect(bool waits) {
  if (ranks_ == nullptr || !is_root()) return;
  while (waiting_ > 0) {
    const auto text = ranks_->receive(waits);
    if (!text) return;
    const nlohmann::json json = nlohmann::json::parse(*text);
    if (json.contains("error")) {  // the other results of that rank will not come
      throw Error(static_cast<ErrorCode>(json.at("code").get<int>()), json.at("error"),
                  json.at("where"), json.at("hint"));
    }
    WidthDivergences kl;
    for (const auto& width : json.at("kl")) kl[width.at(0)] = width.at(1).get<double>();
    keep(json.at("part"), kl);
    --waiting_;
    if (waits) return;
  }
}

bool SharedWork::interrupted() {
  collect(false);
  return progress_ && progress_(done_, total_);
}

std::vector<WidthDivergences> SharedWork::finish() {
  if (!is_root()) return {};
  while (waiting_ > 0) {
    if (progress_ && progress_(done_, total_)) {
      throw Error(ErrorCode::interrupted, "interrupted");
    }
    collect(true);
  }
  std::vector<WidthDivergences> results(parts_.size());
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    if (parts_[i].work > 0) results[i] = *checkpoint_->find(parts_[i].name);
  }
  return results;
}

void send_failure(Ranks& ranks, const Error& error) {
  ranks.send(nlohmann::json({{"code", static_cast<int>(error.code())},
                             {"error", error.message()},
                             {"where", error.where()},
                             {"hint", error.hint()}})
                 .dump());
}

}  // namespace quiver
