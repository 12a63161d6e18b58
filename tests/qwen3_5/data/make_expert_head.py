#!/usr/bin/env python3
"""Makes expert_head/: a tiny random model of experts whose draft head has experts too, with what it predicts.

    make_expert_head.py SHARED/reference/make

Needs what that folder's qwen3_5.py needs; the head is transformers' decoder layer with experts.
"""

import random
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import qwen3_5 as make
import torch
from safetensors.torch import load_file, save_file

DIMS = dict(vocab_size=101, hidden_size=64, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=1,
            head_dim=32, intermediate_size=64, linear_conv_kernel_dim=4, linear_key_head_dim=16,
            linear_value_head_dim=24, linear_num_key_heads=2, linear_num_value_heads=4, rms_norm_eps=1e-6,
            max_position_embeddings=512, tie_word_embeddings=True)
ROPE = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5, "mrope_section": [3, 3, 2],
        "mrope_interleaved": True}
EXPERTS = dict(num_experts=5, num_experts_per_tok=2, moe_intermediate_size=32, shared_expert_intermediate_size=48,
               norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[])


class ExpertHead(make.MTPHead):
    def __init__(self, config):
        torch.nn.Module.__init__(self)
        width, epsilon = config.hidden_size, config.rms_norm_eps
        layer = config.layer_types.index("full_attention")
        self.pre_fc_norm_hidden = make.QM.Qwen3_5MoeRMSNorm(width, epsilon)
        self.pre_fc_norm_embedding = make.QM.Qwen3_5MoeRMSNorm(width, epsilon)
        self.fc = torch.nn.Linear(2 * width, width, bias=False)
        self.layers = torch.nn.ModuleList([make.QM.Qwen3_5MoeDecoderLayer(config, layer)])
        self.norm = make.QM.Qwen3_5MoeRMSNorm(width, epsilon)

    def forward(self, hidden, emb, cos_sin, mask=None):
        x = self.fc(torch.cat([self.pre_fc_norm_embedding(emb), self.pre_fc_norm_hidden(hidden)], -1))
        x = self.layers[0](x, position_embeddings=cos_sin, attention_mask=mask)
        return self.norm(x[0] if isinstance(x, tuple) else x)


@torch.no_grad()
def main():
    out = Path(__file__).parent / "expert_head"
    checkpoint = out / "checkpoint"
    model, tensors = make.mk_text(str(checkpoint), DIMS, ROPE, 5, EXPERTS)
    model.config._attn_implementation = "eager"
    head = ExpertHead(model.config)
    make.randomise(head, 6)
    tensors.update({"mtp." + name: value for name, value in head.state_dict().items()})
    make.to_disk(tensors, str(checkpoint / "model.safetensors"))
    model = make.load_text(str(checkpoint), True)
    head = ExpertHead(model.config)
    stored = load_file(str(checkpoint / "model.safetensors"))
    head.load_state_dict({k[4:]: v.float() for k, v in stored.items() if k.startswith("mtp.")})
    head.eval()
    ids = make.toks(random.Random(7), DIMS["vocab_size"], 37)
    runner = make.MTPRunner(model, head)
    hidden = runner.hidden(ids)
    first = runner.run_head(hidden[:, :-1], ids[1:])
    fresh = runner.run_head(hidden[:, :-1], ids[1:], history=False)
    recorded = {"hidden_post_norm": hidden[0], "mtp1.logits": model.lm_head(first)[0],
                "mtp1.hidden": first[0],
                "mtp1_fresh.logits": model.lm_head(fresh)[0]}
    save_file({k: v.contiguous().float().clone() for k, v in recorded.items()}, str(out / "expected.safetensors"))
    make.wj(str(out / "expected.json"), {
        "versions": make.versions(), "case": {"input_ids": ids}, "tolerances": {"logits_abs": 1e-3},
        "draft": {str(cut): {"history_depth3": runner.draft(ids[:cut], 3, True),
                             "fresh_depth3": runner.draft(ids[:cut], 3, False)} for cut in (5, 20, 36)}})


main()
