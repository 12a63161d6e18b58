// Convolutions of every shape, by transformed tiles and without, against plain loops.
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "core/kernels/kernel_table.hpp"
#include "core/model/weight_store.hpp"
#include "core/vision/image_pass.hpp"
#include "tests/detect/detect_models.hpp"

namespace quiver::test {
namespace {

std::vector<float> numbers(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random() % 2001) / 1000.0F - 1.0F;
  return values;
}

struct ConvShape {
  int inputs = 1;
  int outputs = 1;
  int kernel = 3;
  int stride = 1;
  bool is_depthwise = false;
};

std::ostream& operator<<(std::ostream& out, const ConvShape& shape) {
  return out << shape.inputs << " to " << shape.outputs << " channels, kernel " << shape.kernel
             << ", steps of " << shape.stride;
}

/// A model of one convolution with SiLU and random weights.
struct OneConvolution {
  ConvShape shape;
  ModelConfig config = ModelConfig::parse("{}", "test");
  WeightStore weights{nullptr, config, {}};
  Conv2d conv;
  std::vector<float> values;
  PanelCache panels;

  explicit OneConvolution(const ConvShape& of)
      : shape(of), conv(take()), values(numbers(kernel_size(), 7)), panels(weights.images()) {
    const StoredMatrix stored = matrix();
    panels.replace(conv, &stored);
  }

  const Conv2dPart& part() const { return weights.images()[conv]; }
  StoredMatrix matrix() const {
    StoredMatrix stored;
    stored.rows = shape.outputs;
    stored.columns = part().columns;
    stored.dense = std::as_bytes(std::span(values));
    return stored;
  }

  /// What pixel (y, x) of the result is, before SiLU.
  double sum(const KeptMap& in, int y, int x, int output) const {
    const int reach = shape.kernel / 2;
    const int width = shape.is_depthwise ? 1 : shape.inputs;
    double result = 0;
    for (int dy = 0; dy < shape.kernel; ++dy) {
      for (int dx = 0; dx < shape.kernel; ++dx) {
        const int row = y * shape.stride + dy - reach;
        const int column = x * shape.stride + dx - reach;
        if (row < 0 || column < 0 || row >= in.size.height || column >= in.size.width) continue;
        for (int i = 0; i < width; ++i) {
          const int channel = shape.is_depthwise ? output : i;
          const int at = (row * in.size.width + column) * in.channels + channel;
          const int weight = ((output * shape.kernel + dy) * shape.kernel + dx) * width + i;
          result += double{in.values[std::size_t(at)]} * values[std::size_t(weight)];
        }
      }
    }
    return result;
  }

 private:
  Conv2d take() {
    Conv2dSpec spec;
    spec.kernel = shape.kernel;
    spec.stride = shape.stride;
    spec.is_depthwise = shape.is_depthwise;
    spec.activation = Activation::silu;
    return image_weights(weights).conv2d("conv", shape.outputs, shape.inputs, spec);
  }
  std::size_t kernel_size() const {
    return std::size_t(shape.outputs * shape.kernel * shape.kernel) *
           std::size_t(shape.is_depthwise ? 1 : shape.inputs);
  }
};

KeptMap random_map(MapSize size, int channels, unsigned seed) {
  return {size, channels, numbers(std::size_t(size.height * size.width * channels), seed)};
}

/// The convolution of a map by a pass with so many threads, in memory that held NaN before.
KeptMap convolve(OneConvolution& model, const KeptMap& in, const KeptMap* residual, int threads) {
  ThreadPool pool(threads);
  ImageMemory memory;
  const ImageMeans means{model.weights.images(), model.panels, memory, pool};
  const std::vector<float> grey(3, 0.5F);
  {
    ImagePass pass({grey, 1, 1}, means);
    KeptMap dirt = in;
    dirt.size = {in.size.height + 2, in.size.width + 2};
    dirt.values.assign(std::size_t(dirt.size.height * dirt.size.width * in.channels),
                       std::nanf(""));
    for (int i = 0; i < 3; ++i) pass.adopt(dirt);
  }
  ImagePass pass({grey, 1, 1}, means);
  const Tensor map = pass.adopt(in);
  const Tensor added = residual != nullptr ? pass.adopt(*residual) : Tensor{};
  return pass.keep(pass.conv2d(map, model.conv, added));
}

void check_map(const ConvShape& shape, MapSize size) {
  OneConvolution model(shape);
  const KeptMap in = random_map(size, shape.inputs, 3);
  const MapSize result{(size.height - 1) / shape.stride + 1, (size.width - 1) / shape.stride + 1};
  const KeptMap residual = random_map(result, shape.outputs, 5);
  const KeptMap got = convolve(model, in, &residual, 1);
  ASSERT_EQ(got.size, result);
  for (int y = 0; y < result.height; ++y) {
    for (int x = 0; x < result.width; ++x) {
      for (int o = 0; o < shape.outputs; ++o) {
        const auto at = std::size_t((y * result.width + x) * shape.outputs + o);
        const double sum = model.sum(in, y, x, o);
        const double want = sum / (1 + std::exp(-sum)) + residual.values[at];
        ASSERT_NEAR(got.values[at], want, 2e-6 * shape.inputs + 5e-6)
            << shape << ", pixel " << y << ", " << x << " of " << size.height << " x "
            << size.width;
      }
    }
  }
}

TEST(Convolutions, of_any_size_are_those_of_plain_loops) {
  for (const MapSize size : {MapSize{1, 1}, {4, 4}, {5, 7}, {8, 12}, {17, 10}}) {
    for (const ConvShape& shape : {ConvShape{8, 8},
                                   {16, 24},
                                   {3, 16},
                                   {40, 17},
                                   {3, 16, 3, 2},
                                   {32, 32, 3, 2},
                                   {37, 33, 3, 2},
                                   {20, 36, 1, 1},
                                   {12, 12, 3, 1, true},
                                   {12, 12, 3, 2, true}}) {
      check_map(shape, size);
    }
  }
}

TEST(Convolutions, are_transformed_only_where_that_pays) {
  const auto scheme = [](const ConvShape& shape) {
    OneConvolution model(shape);
    return make_panels(model.part(), model.matrix()).scheme;
  };
  EXPECT_EQ(scheme({16, 16}), &kWinogradSchemes[0]);
  EXPECT_EQ(scheme({32, 32, 3, 2}), &kWinogradSchemes[1]);
  EXPECT_EQ(scheme({3, 16}), nullptr);
  EXPECT_EQ(scheme({3, 16, 3, 2}), nullptr);
  EXPECT_EQ(scheme({16, 16, 1, 1}), nullptr);
  EXPECT_EQ(scheme({16, 16, 3, 3}), nullptr);
  EXPECT_EQ(scheme({16, 16, 3, 1, true}), nullptr);
  EXPECT_EQ(scheme({128, 256, 3, 2}), nullptr);  // nine times the memory
}

TEST(Convolutions, have_bits_that_no_number_of_threads_changes) {
  for (const ConvShape& shape :
       {ConvShape{16, 16}, {32, 48, 3, 2}, {16, 48, 1, 1}, {3, 16, 3, 2}}) {
    OneConvolution model(shape);
    const KeptMap in = random_map({29, 22}, shape.inputs, 9);
    const KeptMap one = convolve(model, in, nullptr, 1);
    for (const int threads : {2, 3, 5}) {
      EXPECT_EQ(convolve(model, in, nullptr, threads).values, one.values) << shape;
    }
  }
}

TEST(Convolutions, pad_a_slice_of_channels_with_zeros_of_its_own) {
  OneConvolution model({8, 8});
  ThreadPool pool(1);
  ImageMemory memory;
  const std::vector<float> grey(3, 0.5F);
  ImagePass pass({grey, 1, 1}, {model.weights.images(), model.panels, memory, pool});
  const KeptMap wide = random_map({6, 5}, 24, 11);
  const Tensor slice = pass.slice_heads(pass.adopt(wide), 1, 8, 8);
  const KeptMap narrow = pass.keep(slice);
  EXPECT_EQ(pass.keep(pass.conv2d(slice, model.conv, {})).values,
            convolve(model, narrow, nullptr, 1).values);
}

/// A tile through a table's transforms, with plain products in between.
void check_tile(const ImageKernels& kernels, const ConvShape& shape, int height, int width) {
  OneConvolution model(shape);
  const ConvPanels panels = make_panels(model.part(), model.matrix());
  ASSERT_NE(panels.scheme, nullptr);
  const SumLayout layout(*panels.scheme);
  const int in = panels.scheme->in;
  // The tile without its border, so that a plain convolution pads it with what the tile has there.
  KeptMap map = random_map({in - 2, in - 2}, shape.inputs, 13);
  std::vector<float> pixels(std::size_t(in * in * shape.inputs) + 16);
  for (int y = 0; y < in - 2; ++y) {
    std::copy_n(map.values.begin() + y * (in - 2) * shape.inputs, (in - 2) * shape.inputs,
                pixels.begin() + ((y + 1) * in + 1) * shape.inputs);
  }
  std::vector<float> values(std::size_t(layout.values() * shape.inputs));
  std::vector<std::size_t> places;
  std::vector<int> begins;
  int begin = 0;
  for (int sum = 0; sum < layout.sums(); ++sum) {
    begins.push_back(begin);
    begin += layout.width(sum);
  }
  for (int i = 0; i < layout.values(); ++i) {
    places.push_back(
        std::size_t((begins[std::size_t(layout.sum_of(i))] + layout.place_of(i)) * shape.inputs));
  }
  const WinogradKernels& transforms = kernels.winograd[shape.stride - 1];
  transforms.input({pixels.data(), std::size_t(in * shape.inputs), std::size_t(shape.inputs),
                    shape.inputs, values.data(), places.data()});
  std::vector<float> sums;
  for (int sum = 0; sum < layout.sums(); ++sum) {
    const int length = layout.width(sum) * shape.inputs;
    for (int o = 0; o < shape.outputs; ++o) {
      const int panel =
          begins[std::size_t(sum)] * shape.inputs * 16 * panels.panels + o / 16 * length * 16;
      double product = 0;
      for (int i = 0; i < length; ++i) {
        product += double{values[std::size_t(begins[std::size_t(sum)] * shape.inputs + i)]} *
                   panels.weights[std::size_t(panel + i * 16 + o % 16)];
      }
      sums.push_back(static_cast<float>(product));
    }
  }
  std::vector<float> out(std::size_t(4 * 4 * shape.outputs), 77.0F);
  WinogradOutput to;
  to.sums = sums.data();
  to.plane = std::size_t(shape.outputs);
  to.outputs = shape.outputs;
  to.height = height;
  to.width = width;
  to.scale = panels.scale.data();
  to.bias = panels.bias.data();
  to.out = out.data();
  to.row = std::size_t(4 * shape.outputs);
  to.pixel = std::size_t(shape.outputs);
  transforms.output(to);
  for (int i = 0; i < 16 * shape.outputs; ++i) {
    const int y = i / (4 * shape.outputs);
    const int x = i / shape.outputs % 4;
    const double want = y < height && x < width ? model.sum(map, y, x, i % shape.outputs) : 77;
    ASSERT_NEAR(out[std::size_t(i)], want, 2e-6 * shape.inputs + 1e-5) << shape << ", value " << i;
  }
}

TEST(ImageKernels, transform_tiles_to_what_plain_loops_compute) {
  for (const KernelTable* table : available_kernels()) {
    SCOPED_TRACE(table->name);
    for (const ConvShape& shape : {ConvShape{8, 8}, {21, 19}, {32, 35, 3, 2}, {45, 32, 3, 2}}) {
      check_tile(*table->images, shape, 4, 4);
      check_tile(*table->images, shape, 3, 1);
      check_tile(*table->images, shape, 1, 4);
    }
  }
}

}  // namespace
}  // namespace quiver::test
