// Convolutions with quantized kernels, as products of codes, against those with decoded ones.
#include <cmath>
#include <random>

#include "core/model/checkpoint.hpp"
#include "core/model/weight_store.hpp"
#include "core/quantize/encoded_matrix.hpp"
#include "core/tensor/safetensors_writer.hpp"
#include "core/vision/image_pass.hpp"
#include "tests/detect/detect_models.hpp"
#include "tests/support/temporary_folder.hpp"

namespace quiver::test {
namespace {

struct ConvShape {
  int inputs = 8;
  int outputs = 1;
  int kernel = 3;
  int stride = 1;
  QuantFormat format{8, 64};
};

std::ostream& operator<<(std::ostream& out, const ConvShape& shape) {
  return out << shape.inputs << " to " << shape.outputs << " channels, kernel " << shape.kernel
             << ", steps of " << shape.stride << ", " << shape.format.bits << " bits, groups of "
             << shape.format.group_size;
}

std::vector<float> numbers(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.2F, 1.0F);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

/// Writes a quantized kernel and a bias as converted folders have them.
void write_kernel(const std::filesystem::path& folder, const ConvShape& shape) {
  const auto scheme = affine_scheme("affine");
  const std::int64_t columns = std::int64_t{shape.kernel} * shape.kernel * shape.inputs;
  const std::int64_t group = shape.format.group_size;
  StoredMatrix dense;
  dense.rows = shape.outputs;
  dense.columns = (columns + group - 1) / group * group;
  auto values = numbers(std::size_t(dense.rows * dense.columns), 2);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::int64_t(i) % dense.columns >= columns) values[i] = 0;
  }
  dense.dense = std::as_bytes(std::span(values));
  ThreadPool threads(1);
  const MatrixEncoder encoder{
      scheme,
      [scheme](auto weights, auto rows, auto width, const QuantFormat& format, DType type, auto,
               auto parts) { scheme->encode(weights, rows, width, format, type, parts); }};
  const EncodedMatrix encoded(dense, "conv", shape.format, encoder, {}, threads);
  const auto bias = numbers(std::size_t(shape.outputs), 3);
  SafetensorsWriter writer(
      folder / "model.safetensors",
      {{"conv.weight.data", DType::u32, {dense.rows, dense.columns * shape.format.bits / 32}},
       {"conv.weight.scales", DType::f32, {dense.rows, dense.columns / group}},
       {"conv.weight.biases", DType::f32, {dense.rows, dense.columns / group}},
       {"conv.bias", DType::f32, {dense.rows}}});
  writer.write("conv.weight.data", encoded.matrix().parts[0]);
  writer.write("conv.weight.scales", encoded.matrix().parts[1]);
  writer.write("conv.weight.biases", encoded.matrix().parts[2]);
  writer.write("conv.bias", std::as_bytes(std::span(bias)));
  writer.commit();
}

/// A model of one convolution with a quantized kernel.
class OneConvolution {
 public:
  explicit OneConvolution(const ConvShape& shape, Activation activation = Activation::silu)
      : config_(ModelConfig::parse(
            "{\"group_size\": " + std::to_string(shape.format.group_size) + "}", "test")) {
    write_kernel(folder_.path(), shape);
    checkpoint_ =
        std::make_unique<Checkpoint>(folder_.path(), std::span<const TensorRule>(), config_);
    weights_ = std::make_unique<WeightStore>(checkpoint_.get(), config_, affine_scheme);
    Conv2dSpec spec;
    spec.kernel = shape.kernel;
    spec.stride = shape.stride;
    spec.activation = activation;
    conv_ = image_weights(*weights_).conv2d("conv", shape.outputs, shape.inputs, spec);
    panels_ = std::make_unique<PanelCache>(weights_->images());
  }

  /// The convolution of a map that is joined from `parts` maps, in memory that held NaN before.
  KeptMap run(const KeptMap& in, const ComputeOptions& compute, int thread_count = 1, int parts = 1,
              const KeptMap* residual = nullptr) {
    ThreadPool threads(thread_count);
    ImageMemory memory;
    const ImageMeans means{weights_->images(), *panels_, memory, threads, compute};
    const std::vector<float> grey(3, 0.5F);
    {
      ImagePass pass({grey, 1, 1}, means);
      KeptMap dirt{{in.size.height + 2, in.size.width + 2}, in.channels, {}};
      dirt.values.assign(std::size_t(dirt.size.height * dirt.size.width * in.channels),
                         std::nanf(""));
      for (int i = 0; i < 3; ++i) pass.adopt(dirt);
    }
    ImagePass pass({grey, 1, 1}, means);
    std::vector<Tensor> maps;
    const int channels = in.channels / parts;
    for (int part = 0; part < parts; ++part) {
      KeptMap piece{in.size, channels, {}};
      for (std::size_t at = std::size_t(part * channels); at < in.values.size();
           at += std::size_t(in.channels)) {
        piece.values.insert(piece.values.end(), in.values.begin() + std::ptrdiff_t(at),
                            in.values.begin() + std::ptrdiff_t(at) + channels);
      }
      maps.push_back(pass.adopt(piece));
    }
    const Tensor map = parts == 1 ? maps[0] : pass.concat(maps);
    const Tensor added = residual != nullptr ? pass.adopt(*residual) : Tensor{};
    return pass.keep(pass.conv2d(map, conv_, added));
  }

 private:
  TemporaryFolder folder_;
  ModelConfig config_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<WeightStore> weights_;
  Conv2d conv_;
  std::unique_ptr<PanelCache> panels_;
};

KeptMap random_map(MapSize size, int channels, unsigned seed) {
  return {size, channels, numbers(std::size_t(size.height * size.width * channels), seed)};
}

double error(const KeptMap& got, const KeptMap& want) {
  double difference = 0;
  double size = 0;
  EXPECT_EQ(got.values.size(), want.values.size());
  for (std::size_t i = 0; i < want.values.size(); ++i) {
    difference += std::pow(double{got.values[i]} - want.values[i], 2);
    size += std::pow(double{want.values[i]}, 2);
  }
  return std::sqrt(difference / size);
}

constexpr ComputeOptions kExact{ComputeMode::exact};
constexpr ComputeOptions kInt8{ComputeMode::fast, ActivationChoice::int8};
constexpr ComputeOptions kInt16{ComputeMode::fast, ActivationChoice::int16};

/// Channels that fill groups, that groups cut in the middle of a pixel, and of a unit of codes.
const ConvShape kShapes[] = {
    {8, 1, 3, 1, {8, 64}},   {9, 5, 3, 2, {4, 32}},    {18, 16, 3, 1, {6, 64}},
    {20, 17, 3, 2, {3, 64}}, {48, 33, 1, 1, {8, 64}},  {48, 20, 3, 1, {5, 64}},
    {64, 48, 3, 1, {8, 64}}, {96, 8, 1, 2, {2, 32}},   {130, 24, 1, 1, {4, 128}},
    {64, 40, 3, 2, {8, 32}}, {128, 32, 3, 1, {8, 64}},
};

TEST(PackedConvolutions, are_near_those_of_decoded_kernels_whatever_the_groups_cut) {
  for (const ConvShape& shape : kShapes) {
    SCOPED_TRACE(testing::Message() << shape);
    OneConvolution model(shape);
    const KeptMap in = random_map({7, 13}, shape.inputs, 1);
    const KeptMap want = model.run(in, kExact);
    EXPECT_LT(error(model.run(in, kInt16), want), 1e-4);
    const KeptMap coarse = model.run(in, kInt8);
    EXPECT_LT(error(coarse, want), 2e-2);
    EXPECT_NE(coarse.values, want.values) << "the integers were not used";
  }
}

TEST(PackedConvolutions, have_the_same_bits_for_any_number_of_threads_and_parts) {
  for (const ConvShape& shape : {ConvShape{48, 20, 3, 1, {8, 64}}, ConvShape{64, 40, 3, 2, {4, 64}},
                                 ConvShape{96, 33, 1, 1, {8, 64}}}) {
    SCOPED_TRACE(testing::Message() << shape);
    OneConvolution model(shape);
    const KeptMap in = random_map({19, 21}, shape.inputs, 4);
    for (const ComputeOptions& compute : {kInt8, kInt16}) {
      const KeptMap one = model.run(in, compute);
      EXPECT_EQ(model.run(in, compute, 3).values, one.values);
      EXPECT_EQ(model.run(in, compute, 1, 4).values, one.values);
    }
  }
}

TEST(PackedConvolutions, add_a_residual_behind_any_activation) {
  const ConvShape shape{32, 24, 3, 1, {8, 64}};
  for (const Activation activation : {Activation::none, Activation::silu, Activation::sigmoid}) {
    OneConvolution model(shape, activation);
    const KeptMap in = random_map({5, 9}, shape.inputs, 5);
    const KeptMap residual = random_map({5, 9}, shape.outputs, 6);
    EXPECT_LT(error(model.run(in, kInt16, 1, 1, &residual), model.run(in, kExact, 1, 1, &residual)),
              1e-4);
  }
}

TEST(PackedConvolutions, pass_on_what_is_no_number_to_what_it_touches) {
  const ConvShape shape{16, 4, 3, 1, {8, 64}};
  OneConvolution model(shape, Activation::none);
  KeptMap in = random_map({9, 6}, shape.inputs, 7);
  in.values[std::size_t((4 * 6 + 3) * 16)] = std::nanf("");
  const KeptMap got = model.run(in, kInt8);
  for (int y = 0; y < 9; ++y) {
    // A row's values share a factor, so all of its pixels are lost.
    const bool is_touched = y >= 3 && y <= 5;
    for (int i = 0; i < 6 * 4; ++i) {
      EXPECT_EQ(std::isnan(got.values[std::size_t(y * 24 + i)]), is_touched) << y;
    }
  }
}

TEST(PackedConvolutions, of_nothing_are_the_bias) {
  const ConvShape shape{16, 4, 3, 1, {8, 64}};
  OneConvolution model(shape, Activation::none);
  const KeptMap in{{3, 4}, 16, std::vector<float>(3 * 4 * 16, 0.0F)};
  EXPECT_EQ(model.run(in, kInt8).values, model.run(in, kExact).values);
}

}  // namespace
}  // namespace quiver::test
