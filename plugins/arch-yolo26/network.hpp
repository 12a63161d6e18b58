// The YOLO26 network: a backbone, a neck that mixes three resolutions, and a head for each.
#pragma once

#include <array>
#include <map>
#include <quiver/architecture.hpp>
#include <quiver/detector.hpp>
#include <string>
#include <vector>

#include "modules.hpp"
#include "shape.hpp"

namespace quiver::yolo26 {

/// Block i of the model is layer i of the family's own numbering. Of the two heads that checkpoints
/// hold only the one that predicts each object once is used; the other is for training.
class Network : public Model, public Detector {
 public:
  Network(const Config& config, Weights& weights);

  int block_count() const override { return kLayers; }
  void block(int index, Ops& ops, Stream& stream) const override;
  const void* extension(std::string_view interface_id) const override;

  DetectorInfo info() const override;
  std::string_view class_name(int index) const override;
  Stream begin(Ops& ops) const override;
  std::array<DetectorLevel, kMaxLevels> levels(const Stream& stream) const override;

 private:
  void head(Ops& ops, Stream& stream) const;

  Shape shape_;
  std::vector<std::string> names_;
  std::map<int, Conv2d> steps_;  ///< Layers that are a single convolution.
  std::map<int, C3k2> c3k2s_;
  std::vector<Sppf> pool_;        ///< Layer 9.
  std::vector<C2Psa> attention_;  ///< Layer 10.
  std::vector<HeadLevel> heads_;
};

}  // namespace quiver::yolo26
