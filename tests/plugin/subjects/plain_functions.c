// Samplers that know nothing of Quiver.
#include <stddef.h>

void halve(float* logits, size_t count) {
  for (size_t i = 0; i < count; ++i) logits[i] *= 0.5F;
}
