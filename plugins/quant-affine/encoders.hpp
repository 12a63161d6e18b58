// The ways to encode an affine matrix.
#pragma once

#include <quiver/quant_encoder.hpp>

namespace quiver::affine {

/// exact, refit and search. The object lives as long as the library. [any-thread]
const QuantEncoder& encoders() noexcept;

}  // namespace quiver::affine
