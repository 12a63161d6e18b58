// The gated delta rule of one value head, row by row.
#include "core/ops/delta_rule.hpp"

#include <algorithm>
#include <cmath>
#include <vector>
namespace quiver {
static void upd(const DeltaRuleShape& s, float* S, const float* k, const float* d, float decay) {
  for (int i = 0; i < s.key_dim; ++i)
    for (int j = 0; j < s.value_dim; ++j)
      S[i * s.value_dim + j] = S[i * s.value_dim + j] * decay + k[i] * d[j];
}
void delta_rule_steps(const DeltaRuleShape& s, float* state, const DeltaRuleUpdates& u,
                      const DeltaRuleRows& r, float* delta, std::size_t ds, float* decay,
                      std::size_t cs, float* out, std::size_t os, std::span<float>) {
  for (int i = 0; i < u.rows; ++i)
    upd(s, state, u.k + i * u.k_stride, u.delta + i * u.delta_stride, u.decay[i * u.decay_stride]);
  std::vector<float> S(state, state + s.key_dim * s.value_dim);
  for (int t = 0; t < r.rows; ++t) {
    const float *q = r.q + t * r.qk_stride, *k = r.k + t * r.qk_stride, *v = r.v + t * r.v_stride;
    float b = r.beta[t * r.gate_stride];
    float dc = std::exp(r.log_decay[t * r.gate_stride]);
    decay[t * cs] = dc;
    float kq = 0;
    for (int i = 0; i < s.key_dim; ++i) kq += k[i] * q[i];
    for (int j = 0; j < s.value_dim; ++j) {
      float rr = 0, uu = 0;
      for (int i = 0; i < s.key_dim; ++i) {
        rr += k[i] * S[i * s.value_dim + j];
        uu += q[i] * S[i * s.value_dim + j];
      }
      float d = b * (v[j] - dc * rr);
      delta[t * ds + j] = d;
      out[t * os + j] = dc * uu + d * kq;
    }
    upd(s, S.data(), k, delta + t * ds, dc);
  }
}
void delta_rule_chunks(const DeltaRuleShape& s, const float* state, const DeltaRuleRows& r,
                       float* next, float* out, std::size_t os, std::span<float>) {
  std::copy_n(state, s.key_dim * s.value_dim, next);
  std::vector<float> d(s.value_dim);
  float dc;
  for (int t = 0; t < r.rows; ++t) {
    DeltaRuleRows one = r;
    one.rows = 1;
    one.q += t * r.qk_stride;
    one.k += t * r.qk_stride;
    one.v += t * r.v_stride;
    one.beta += t * r.gate_stride;
    one.log_decay += t * r.gate_stride;
    delta_rule_steps(s, next, {}, one, d.data(), 0, &dc, 0, out + t * os, os, {});
    upd(s, next, one.k, d.data(), dc);
  }
}
std::size_t delta_rule_scratch(const DeltaRuleShape&, bool) {
  return 0;
}
void delta_rule_normalize(float* q, float* k, int heads, int dim) {
  for (int h = 0; h < heads; ++h) {
    double a = 0, b = 0;
    for (int i = 0; i < dim; ++i) {
      a += q[h * dim + i] * q[h * dim + i];
      b += k[h * dim + i] * k[h * dim + i];
    }
    float fa = 1 / std::sqrt(float(a) + 1e-6f) / std::sqrt(float(dim)),
          fb = 1 / std::sqrt(float(b) + 1e-6f);
    for (int i = 0; i < dim; ++i) {
      q[h * dim + i] *= fa;
      k[h * dim + i] *= fb;
    }
  }
}
void delta_rule_gates(const float* a, const float* b, const float* al, const float* dt, int heads,
                      float* beta, float* ld) {
  for (int h = 0; h < heads; ++h) {
    beta[h] = 1 / (1 + std::exp(-b[h]));
    float x = a[h] + dt[h];
    float sp = x > 20 ? x : std::log1p(std::exp(x));
    ld[h] = -std::exp(al[h]) * sp;
  }
}
}  // namespace quiver
