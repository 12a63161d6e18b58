/* A sampler in plain C: rules out tokens that would repeat a run of `length` tokens word for word.
 *
 * no-repeat.sampler.json beside the library says how the function is called; nothing else connects
 * it to Quiver. It may be called from several threads at a time, so it keeps nothing between calls.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>

/* Whether the `count` tokens at a and b are the same. */
static int is_same(const int32_t* a, const int32_t* b, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (a[i] != b[i]) return 0;
  }
  return 1;
}

void no_repeat(float* logits, const int32_t* ids, size_t count, const int32_t* history,
               size_t history_length, int32_t length) {
  const size_t known = (size_t)length - 1; /* tokens of the run that are there already */
  size_t possible = 0;
  for (size_t i = 0; i < count; ++i) possible += logits[i] > -INFINITY;
  if (history_length < known) return;

  const int32_t* tail = history + (history_length - known);
  for (const int32_t* at = history; at < tail; ++at) {
    if (!is_same(at, tail, known)) continue;
    const int32_t next = at[known];
    for (size_t i = 0; i < count; ++i) {
      /* The last possible token stays, for something has to follow. */
      if (ids[i] != next || logits[i] == -INFINITY || possible == 1) continue;
      logits[i] = -INFINITY;
      --possible;
    }
  }
}
