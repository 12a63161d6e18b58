// Kernels on feature maps for any machine. See image_kernels.inc.
#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/kernels/kernel_table.hpp"

namespace quiver {
namespace {

namespace elements {
constexpr int kWidth = 4;
#include "core/kernels/elements.inc"
}  // namespace elements

struct Policy {
  using Float = elements::Floats;
  static constexpr int kLanes = elements::kWidth;
  static constexpr int kPanels = 1;
  template <int Vectors>
  static constexpr int kPixels = 2;

  static Float load(const float* p) { return elements::load(p); }
  static Float load_first(const float* p, int count) {
    return count >= kLanes ? load(p) : elements::load_first(p, count, 0);
  }
  static void store_first(float* p, int count, const Float& v) {
    if (count >= kLanes) return elements::store(p, v);
    for (int i = 0; i < count; ++i) p[i] = v[i];
  }
  static Float zero() { return Float{}; }
  static Float broadcast(const float* p) { return elements::all(*p); }
  static Float all(float value) { return elements::all(value); }
  static Float add(const Float& a, const Float& b) { return a + b; }
  static Float mul(const Float& a, const Float& b) { return a * b; }
  static void keep(Float&) {}
  static Float fma(const Float& a, const Float& b, const Float& c) { return a * b + c; }
  static Float silu(const Float& x) { return x / (1.0F + elements::exp_of(-x)); }
};

#include "core/kernels/image_kernels.inc"
#include "core/kernels/winograd_kernels.inc"

constexpr ImageKernels kKernels = {
    1,
    convolve<Policy>,
    depthwise<Policy>,
    finish<Policy>,
    {{winograd_input<Policy, WinogradByOne>, winograd_output<Policy, WinogradByOne>},
     {winograd_input<Policy, WinogradByTwo>, winograd_output<Policy, WinogradByTwo>}}};

}  // namespace

const ImageKernels& generic_image_kernels() {
  return kKernels;
}

}  // namespace quiver
