// Sensitivities from a layer's place and purpose alone, without a forward pass.
#pragma once

#include "core/quantize/allocation.hpp"

namespace quiver {

/// Fills the KLs of all choices with scores: priority * (widest - bits) / (widest - narrowest), 0
/// where a unit has one width. A priority is 1 for embeddings and heads, .3 for what else is in no
/// block; .9 in the first and last block, .65 beside them, and from .3 up to .45 in the others,
/// less towards the middle; .3 more for attention, .4 more for a router, .1 less for experts;
/// always from .05 to 1. Roles and blocks of the units decide. [any-thread]
void set_static_scores(AllocationProblem& problem);

/// The same read out of the units' names, as the reference package does: there linear attention
/// does not count as attention. [any-thread]
void set_static_scores_by_name(AllocationProblem& problem);

}  // namespace quiver
