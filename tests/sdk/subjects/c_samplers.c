/* Functions for manifests: some good, some that break a rule each. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Tells in the logits what it was given, one argument after another. */
void tell(float* logits, int32_t* ids, size_t count, const int32_t* history, size_t history_length,
          size_t prompt_length, double first, double second, int32_t vocabulary, uint64_t position,
          void* state, float f32, double f64, int32_t i32, int64_t i64, uint32_t u32,
          uint64_t u64) {
  unsigned char* bytes = state;
  logits[0] = (float)ids[0];
  logits[1] = (float)count;
  logits[2] = (float)history[1];
  logits[3] = (float)history_length;
  logits[4] = (float)prompt_length;
  logits[5] = (float)first;
  logits[6] = (float)second;
  logits[7] = (float)vocabulary;
  logits[8] = (float)position;
  logits[9] = (float)bytes[3];
  logits[10] = f32;
  logits[11] = (float)f64;
  logits[12] = (float)i32;
  logits[13] = (float)i64;
  logits[14] = (float)u32;
  logits[15] = (float)u64;
  bytes[3] = 7;
}

/* Results of every type. */
size_t first_two(float* logits, int32_t* ids, size_t count) {
  (void)logits, (void)ids;
  return count < 2 ? count : 2;
}
int32_t first_two_i32(float* logits, size_t count) {
  (void)logits;
  return count < 2 ? (int32_t)count : 2;
}
uint32_t first_two_u32(float* logits, size_t count) {
  (void)logits;
  return count < 2 ? (uint32_t)count : 2;
}
int64_t last_i64(const int32_t* ids, size_t count) {
  return ids[count - 1];
}
int32_t last_i32(const int32_t* ids, size_t count) {
  return ids[count - 1];
}

/* Puts the best candidate first and moves its id along. */
void best_first(float* logits, int32_t* ids, size_t count) {
  size_t best = 0;
  for (size_t i = 1; i < count; ++i) {
    if (logits[i] > logits[best]) best = i;
  }
  const float logit = logits[0];
  const int32_t id = ids[0];
  logits[0] = logits[best];
  ids[0] = ids[best];
  logits[best] = logit;
  ids[best] = id;
}

/* Rule breakers. */
int32_t minus_one(float* logits, size_t count) {
  (void)logits, (void)count;
  return -1;
}
size_t none(float* logits, size_t count) {
  (void)logits, (void)count;
  return 0;
}
size_t one_more(float* logits, size_t count) {
  (void)logits;
  return count + 1;
}
uint64_t huge(float* logits, size_t count) {
  (void)logits, (void)count;
  return UINT64_MAX;
}
void not_a_number(float* logits, size_t count) {
  logits[count / 2] = NAN;
}
void infinite(float* logits, size_t count) {
  logits[count / 2] = INFINITY;
}
void rules_out_all(float* logits, size_t count) {
  for (size_t i = 0; i < count; ++i) logits[i] = -INFINITY;
}
void invents_id(float* logits, int32_t* ids, size_t count) {
  (void)logits;
  ids[count - 1] = 100000;
}
void negative_id(float* logits, int32_t* ids, size_t count) {
  (void)logits;
  ids[count - 1] = -1;
}
void doubles_id(float* logits, int32_t* ids, size_t count) {
  (void)logits;
  ids[0] = ids[count - 1];
}
void writes_beyond(float* logits, size_t count) {
  logits[count] = 1;
}
void crashes(float* logits, size_t count) {
  (void)count;
  *(volatile float*)(logits - 4096) = 1;
}
void prints(float* logits, size_t count) {
  (void)logits;
  printf("%zu candidates\n", count);
}
