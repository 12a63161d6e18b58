// How well detections agree with the truth: average precision as COCO defines it.
#include "core/detect/average_precision.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

namespace quiver {
namespace {

constexpr int kOverlaps = 10;
constexpr int kRecalls = 101;
// Predictions of a class that count in one picture, the surest of them.
constexpr std::size_t kMostRows = 100;

// Overlaps and recalls have the bits that the reference implementation's steps give: whether 7 of
// 20 objects are a recall of 0.35 depends on them.
double overlap_step(int i) {
  return 0.5 + i * ((0.95 - 0.5) / (kOverlaps - 1));
}
double recall_step(int i) {
  return i * (1.0 / (kRecalls - 1));
}

double area(const Box& box) {
  return std::max(0.0, double{box.x2} - box.x1) * std::max(0.0, double{box.y2} - box.y1);
}

double common_area(const Box& a, const Box& b) {
  const double width = std::min(double{a.x2}, double{b.x2}) - std::max(double{a.x1}, double{b.x1});
  const double height = std::min(double{a.y2}, double{b.y2}) - std::max(double{a.y1}, double{b.y1});
  return std::max(0.0, width) * std::max(0.0, height);
}

/// A prediction of one class in one picture.
struct Row {
  float score;
  std::size_t picture;
  const Box* box;
};

enum class Match { hit, miss, ignored };

/// The objects of one class in one picture, as matching uses them up.
struct Objects {
  std::vector<const TrueBox*> boxes;
  std::vector<bool> is_used;
};

Match match(const Box& box, Objects& objects, double threshold) {
  double best = threshold;
  std::size_t chosen = objects.boxes.size();
  bool is_in_crowd = false;
  for (std::size_t i = 0; i < objects.boxes.size(); ++i) {
    const TrueBox& object = *objects.boxes[i];
    if (object.is_crowd) {
      const double own = area(box);
      is_in_crowd |= own > 0 && common_area(box, object.box) / own >= threshold;
      continue;
    }
    const double value = overlap(box, object.box);
    if (objects.is_used[i] || value < best) continue;
    best = value;
    chosen = i;
  }
  if (chosen == objects.boxes.size()) return is_in_crowd ? Match::ignored : Match::miss;
  objects.is_used[chosen] = true;
  return Match::hit;
}

/// Mean of the envelope of precision over recalls.
double mean_precision(const std::vector<Match>& matches, int objects) {
  std::vector<double> precision;
  std::vector<double> recall;
  int hits = 0;
  int rows = 0;
  for (const Match match : matches) {
    if (match == Match::ignored) continue;
    ++rows;
    hits += match == Match::hit ? 1 : 0;
    precision.push_back(static_cast<double>(hits) / rows);
    recall.push_back(static_cast<double>(hits) / objects);
  }
  for (std::size_t i = precision.size(); i-- > 1;) {
    precision[i - 1] = std::max(precision[i - 1], precision[i]);
  }
  double sum = 0;
  for (int i = 0; i < kRecalls; ++i) {
    const auto at = std::ranges::lower_bound(recall, recall_step(i));
    if (at != recall.end()) sum += precision[static_cast<std::size_t>(at - recall.begin())];
  }
  return sum / kRecalls;
}

class ClassScore {
 public:
  ClassScore(const std::vector<LabelledDetections>& pictures, int class_id)
      : objects_(pictures.size()) {
    for (std::size_t i = 0; i < pictures.size(); ++i) {
      for (const TrueBox& box : pictures[i].truth) {
        if (box.class_id != class_id) continue;
        objects_[i].boxes.push_back(&box);
        count_ += box.is_crowd ? 0 : 1;
      }
      std::vector<Row> own;
      for (const Detection& found : pictures[i].found) {
        if (found.class_id == class_id) own.push_back({found.score, i, &found.box});
      }
      std::ranges::stable_sort(own, std::ranges::greater(), &Row::score);
      own.resize(std::min(own.size(), kMostRows));
      rows_.insert(rows_.end(), own.begin(), own.end());
    }
    std::ranges::stable_sort(rows_, std::ranges::greater(), &Row::score);
  }

  int count() const { return count_; }

  double at(double threshold) {
    for (Objects& objects : objects_) objects.is_used.assign(objects.boxes.size(), false);
    std::vector<Match> matches;
    for (const Row& row : rows_) {
      matches.push_back(match(*row.box, objects_[row.picture], threshold));
    }
    return mean_precision(matches, count_);
  }

 private:
  std::vector<Objects> objects_;
  std::vector<Row> rows_;
  int count_ = 0;
};

}  // namespace

double overlap(const Box& a, const Box& b) {
  const double common = common_area(a, b);
  const double all = area(a) + area(b) - common;
  return all > 0 ? common / all : 0;
}

AveragePrecision average_precision(const std::vector<LabelledDetections>& pictures, int classes) {
  AveragePrecision result;
  std::array<double, kOverlaps> sums{};
  int counted = 0;
  for (int c = 0; c < classes; ++c) {
    ClassScore score(pictures, c);
    result.class50.push_back(-1);
    if (score.count() == 0) continue;
    ++counted;
    result.objects += score.count();
    for (int i = 0; i < kOverlaps; ++i) {
      const double value = score.at(overlap_step(i));
      sums[static_cast<std::size_t>(i)] += value;
      if (i == 0) result.class50.back() = value;
    }
  }
  if (counted == 0) return result;
  result.at50 = sums[0] / counted;
  result.at75 = sums[5] / counted;
  for (const double sum : sums) result.at50_95 += sum / counted / kOverlaps;
  return result;
}

}  // namespace quiver
