// Ops that compute one picture: feature maps, their memory, and the operations on them.
#include "core/vision/image_pass.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <quiver/error.hpp>
#include <set>

#include "core/ops/activation.hpp"

namespace quiver {
namespace {

constexpr const char* kAuthor = "report this to the architecture's author";

[[noreturn]] void refuse(const char* operation) {
  throw Error(ErrorCode::internal, "an operation on tokens in a pass over a picture", operation,
              kAuthor);
}

Error misfit(const std::string& what, const char* operation) {
  return Error(ErrorCode::internal, what, operation, kAuthor);
}

/// Copies one row of pixels into `target`, which has room for all channels.
void copy_row(const FeatureMap& map, int y, float* target, std::size_t stride) {
  for (const MapPart& part : map.parts) {
    const auto channels = static_cast<std::size_t>(part.channels);
    const float* source = part.at(y, 0);
    if (stride == channels && part.pixel == channels) {
      std::memcpy(target, source, channels * static_cast<std::size_t>(map.size.width) * 4);
      return;
    }
    for (int x = 0; x < map.size.width; ++x) {
      std::memcpy(target + static_cast<std::size_t>(x) * stride,
                  source + static_cast<std::size_t>(x) * part.pixel, channels * sizeof(float));
    }
    target += channels;
  }
}

/// Zeros in `count` pixels next to each other.
void zero_pixels(const MapPart& part, float* target, int count) {
  const auto channels = static_cast<std::size_t>(part.channels);
  if (part.pixel == channels) {
    std::memset(target, 0, static_cast<std::size_t>(count) * channels * sizeof(float));
    return;
  }
  for (int i = 0; i < count; ++i, target += part.pixel) {
    std::memset(target, 0, channels * sizeof(float));
  }
}

}  // namespace

ImagePass::ImagePass(const PictureView& picture, const ImageMeans& means)
    : parts_(means.parts),
      panels_(means.panels),
      memory_(means.memory),
      threads_(means.threads),
      compute_(means.compute) {
  constexpr int kColours = 3;
  const auto pixels =
      static_cast<std::size_t>(picture.height) * static_cast<std::size_t>(picture.width);
  if (picture.height < 1 || picture.width < 1 || picture.values.size() != pixels * kColours) {
    throw misfit("a picture with other values than its size asks for", "picture");
  }
  memory_.give_back_all();
  memory_.prepare_scratch(threads_.threads());
  picture_ = adopt_values({picture.height, picture.width}, kColours, picture.values);
}

ImagePass::~ImagePass() {
  memory_.give_back_all();
}

Tensor ImagePass::add_map(FeatureMap map) {
  maps_.push_back(std::move(map));
  return {static_cast<std::int32_t>(maps_.size() - 1), maps_.back().channels};
}

Tensor ImagePass::make(MapSize size, int channels) {
  const auto pixel = static_cast<std::size_t>(channels);
  const std::size_t row = (static_cast<std::size_t>(size.width) + 2) * pixel;
  MapPart part{nullptr, pixel, row, channels, -1};
  part.buffer = memory_.take(row * (static_cast<std::size_t>(size.height) + 2));
  part.origin = memory_.data(part.buffer) + row + pixel;
  return add_map({size, channels, {part}});
}

const FeatureMap& ImagePass::data(Tensor x, const char* operation) const {
  if (x.id < 0 || static_cast<std::size_t>(x.id) >= maps_.size() ||
      maps_[static_cast<std::size_t>(x.id)].parts.empty()) {
    throw misfit("a map is used that does not exist or has ended", operation);
  }
  return maps_[static_cast<std::size_t>(x.id)];
}

void ImagePass::pad(Tensor x) {
  FeatureMap& map = maps_[static_cast<std::size_t>(x.id)];
  if (map.has_zeros) return;
  map.has_zeros = true;
  for (MapPart& part : map.parts) {
    zero_pixels(part, part.at(-1, -1), map.size.width + 2);
    zero_pixels(part, part.at(map.size.height, -1), map.size.width + 2);
    for (int y = 0; y < map.size.height; ++y) {
      zero_pixels(part, part.at(y, -1), 1);
      zero_pixels(part, part.at(y, map.size.width), 1);
    }
  }
}

Tensor ImagePass::joined(Tensor x, const char* operation) {
  if (data(x, operation).parts.size() == 1) return x;
  const Tensor result = make(data(x, operation).size, x.width);
  const FeatureMap& source = data(x, operation);
  MapPart& target = part(result);
  threads_.run(source.size.height,
               [&](int y, int) { copy_row(source, y, target.at(y, 0), target.pixel); });
  return result;
}

FeatureMap ImagePass::map(Tensor x) const {
  return data(x, "map");
}

KeptMap ImagePass::keep(Tensor x) const {
  const FeatureMap& source = data(x, "keep");
  KeptMap kept{source.size, source.channels, {}};
  append(x, kept.values);
  return kept;
}

void ImagePass::append(Tensor x, std::vector<float>& values) const {
  const FeatureMap& source = data(x, "append");
  const auto channels = static_cast<std::size_t>(source.channels);
  const std::size_t row = static_cast<std::size_t>(source.size.width) * channels;
  const std::size_t begin = values.size();
  values.resize(begin + row * static_cast<std::size_t>(source.size.height));
  threads_.run(source.size.height, [&](int y, int) {
    copy_row(source, y, values.data() + begin + static_cast<std::size_t>(y) * row, channels);
  });
}

Tensor ImagePass::adopt(const KeptMap& kept) {
  return adopt_values(kept.size, kept.channels, kept.values);
}

Tensor ImagePass::adopt_values(MapSize size, int channels, std::span<const float> values) {
  const Tensor result = make(size, channels);
  MapPart& target = part(result);
  const std::size_t row = static_cast<std::size_t>(size.width) * static_cast<std::size_t>(channels);
  threads_.run(size.height, [&](int y, int) {
    std::copy_n(values.data() + static_cast<std::size_t>(y) * row, row, target.at(y, 0));
  });
  return result;
}

void ImagePass::run_block(const Model& model, int index, Stream& stream) {
  model.block(index, *this, stream);
  end_block(stream);
}

void ImagePass::end_block(const Stream& stream) {
  std::set<std::int32_t> alive{picture_.id};
  const auto mark = [&](Tensor tensor) {
    if (tensor) alive.insert(tensor.id);
  };
  data(stream.x, "the stream after a block");
  mark(stream.x);
  for (const Tensor& side : stream.side) mark(side);
  std::set<int> needed;
  for (const std::int32_t id : alive) {
    for (const MapPart& part : data({id, 0}, "the stream after a block").parts) {
      needed.insert(part.buffer);
    }
  }
  for (std::size_t i = 0; i < maps_.size(); ++i) {
    if (alive.contains(static_cast<std::int32_t>(i))) continue;
    for (const MapPart& part : maps_[i].parts) {
      if (!needed.contains(part.buffer)) memory_.give_back(part.buffer);
    }
    maps_[i].parts.clear();
  }
}

Tensor ImagePass::picture() {
  return picture_;
}

MapSize ImagePass::size(Tensor x) {
  return data(x, "size").size;
}

Tensor ImagePass::max_pool(Tensor x, int window) {
  if (window < 1 || window % 2 == 0) throw misfit("a window without a middle", "max_pool");
  const Tensor source = joined(x, "max_pool");
  const MapSize size = data(source, "max_pool").size;
  // Along rows first, then down the columns: 2 * window comparisons instead of window^2.
  const Tensor across = make(size, x.width);
  const Tensor result = make(size, x.width);
  MapPart& in = part(source);
  MapPart& middle = part(across);
  MapPart& out = part(result);
  const int reach = window / 2;
  const auto raise = [](float* target, const float* values, int count) {
    for (int c = 0; c < count; ++c) target[c] = target[c] < values[c] ? values[c] : target[c];
  };
  threads_.run(size.height, [&](int y, int) {
    for (int column = 0; column < size.width; ++column) {
      float* target = middle.at(y, column);
      std::copy_n(in.at(y, column), in.channels, target);
      const int last = std::min(size.width - 1, column + reach);
      for (int i = std::max(0, column - reach); i <= last; ++i) raise(target, in.at(y, i), x.width);
    }
  });
  const int row = size.width * x.width;
  threads_.run(size.height, [&](int y, int) {
    std::copy_n(middle.at(y, 0), row, out.at(y, 0));
    const int last = std::min(size.height - 1, y + reach);
    for (int i = std::max(0, y - reach); i <= last; ++i) raise(out.at(y, 0), middle.at(i, 0), row);
  });
  return result;
}

Tensor ImagePass::upsample(Tensor x, int factor) {
  const MapSize size = data(x, "upsample").size;
  if (factor < 1 || size.height > std::numeric_limits<int>::max() / factor / 2 ||
      size.width > std::numeric_limits<int>::max() / factor / 2) {
    throw misfit(fmt::format("{} x {} pixels times {}", size.height, size.width, factor),
                 "upsample");
  }
  const Tensor result = make({size.height * factor, size.width * factor}, x.width);
  const FeatureMap& source = data(x, "upsample");
  MapPart& out = part(result);
  threads_.run(size.height, [&](int y, int) {
    for (int copy = 0; copy < factor; ++copy) {
      // Every pixel at the first of its places, then at the others.
      float* target = out.at(y * factor, 0);
      if (copy == 0) {
        copy_row(source, y, target, out.pixel * static_cast<std::size_t>(factor));
        for (int i = 0; i < size.width * factor; ++i) {
          if (i % factor == 0) continue;
          std::copy_n(out.at(y * factor, i - 1), x.width, out.at(y * factor, i));
        }
      } else {
        std::copy_n(target, size.width * factor * x.width, out.at(y * factor + copy, 0));
      }
    }
  });
  return result;
}

Tensor ImagePass::concat(std::span<const Tensor> parts) {
  if (parts.empty()) throw misfit("concat of nothing", "concat");
  FeatureMap result{data(parts[0], "concat").size, 0, {}};
  for (const Tensor tensor : parts) {
    const FeatureMap& source = data(tensor, "concat");
    if (source.size != result.size) throw misfit("concat of maps of different sizes", "concat");
    result.channels += source.channels;
    result.parts.insert(result.parts.end(), source.parts.begin(), source.parts.end());
  }
  return add_map(std::move(result));
}

Tensor ImagePass::slice_heads(Tensor x, int heads, int begin, int width) {
  if (heads <= 0 || x.width % heads != 0 || begin < 0 || width <= 0 ||
      begin > x.width / heads - width) {
    throw misfit(fmt::format("slice_heads of [{}, {}) from {} parts of a map of {} channels", begin,
                             begin + width, heads, x.width),
                 "slice_heads");
  }
  const Tensor whole = joined(x, "slice_heads");
  FeatureMap result{data(whole, "slice_heads").size, heads * width, {}};
  for (int head = 0; head < heads; ++head) {
    MapPart slice = part(whole);
    slice.origin += head * (x.width / heads) + begin;
    slice.channels = width;
    result.parts.push_back(slice);
  }
  return add_map(std::move(result));
}

template <class Function>
Tensor ImagePass::map_values(Tensor x, const char* operation, const Function& function) {
  const Tensor result = make(data(x, operation).size, x.width);
  const FeatureMap& source = data(x, operation);
  MapPart& out = part(result);
  const int row = source.size.width * x.width;
  threads_.run(source.size.height, [&](int y, int) {
    copy_row(source, y, out.at(y, 0), out.pixel);
    float* values = out.at(y, 0);
    for (int i = 0; i < row; ++i) values[i] = function(values[i]);
  });
  return result;
}

template <class Function>
Tensor ImagePass::combine(Tensor a, Tensor b, const char* operation, const Function& function) {
  if (a.width != b.width || data(a, operation).size != data(b, operation).size) {
    throw misfit("maps of different shapes", operation);
  }
  const Tensor other = joined(b, operation);
  const Tensor result = make(data(a, operation).size, a.width);
  const FeatureMap& source = data(a, operation);
  MapPart& right = part(other);
  MapPart& out = part(result);
  threads_.run(source.size.height, [&](int y, int) {
    copy_row(source, y, out.at(y, 0), out.pixel);
    for (int x = 0; x < source.size.width; ++x) {
      float* values = out.at(y, x);
      const float* others = right.at(y, x);
      for (int c = 0; c < a.width; ++c) values[c] = function(values[c], others[c]);
    }
  });
  return result;
}

Tensor ImagePass::add(Tensor a, Tensor b) {
  return combine(a, b, "add", [](float x, float y) { return x + y; });
}
Tensor ImagePass::multiply(Tensor a, Tensor b) {
  return combine(a, b, "multiply", [](float x, float y) { return x * y; });
}
Tensor ImagePass::scale(Tensor x, float factor) {
  return map_values(x, "scale", [factor](float value) { return value * factor; });
}
Tensor ImagePass::activate(Tensor x, Activation activation) {
  return map_values(x, "activate",
                    [activation](float value) { return activate_value(activation, value); });
}

void* ImagePass::extension(std::string_view interface_id) {
  if (interface_id == ImageOps::kInterfaceId) return static_cast<ImageOps*>(this);
  return nullptr;
}

Tensor ImagePass::embed(Embedding) {
  refuse("embed");
}
Tensor ImagePass::linear(Tensor, Linear) {
  refuse("linear");
}
void ImagePass::linears(Tensor, std::span<const Linear>, std::span<Tensor>) {
  refuse("linears");
}
Tensor ImagePass::gated(Tensor, Linear, Linear, Activation) {
  refuse("gated");
}
Tensor ImagePass::gate(Tensor, Tensor, Activation) {
  refuse("gate");
}
Tensor ImagePass::project(Tensor, Embedding) {
  refuse("project");
}
Tensor ImagePass::rms_norm(Tensor, Norm) {
  refuse("rms_norm");
}
Tensor ImagePass::rms_norm_heads(Tensor, Norm) {
  refuse("rms_norm_heads");
}
Tensor ImagePass::rope(Tensor, Rope, int) {
  refuse("rope");
}
Tensor ImagePass::attention(KvCache, Tensor, Tensor, Tensor, const AttentionSpec&) {
  refuse("attention");
}
Tensor ImagePass::causal_conv(Tensor, CausalConv, const CausalConvUse&) {
  refuse("causal_conv");
}
Tensor ImagePass::soft_cap(Tensor, float) {
  refuse("soft_cap");
}
Tensor ImagePass::softmax(Tensor) {
  refuse("softmax");
}

}  // namespace quiver
