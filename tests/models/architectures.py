"""A tiny random model of every kind that transformers can classify texts with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

#: Every ``model_type`` of which transformers has a sequence classifier.
KINDS = tuple(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)

_WIDTH, _HEADS = 32, 2
_SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "dim", "emb_dim", "n_embd"), _WIDTH),
    **dict.fromkeys(("embedding_size", "input_embedding_size", "word_embed_proj_dim"), _WIDTH),
    **dict.fromkeys(("output_embedding_size", "pooler_hidden_size", "true_hidden_size"), _WIDTH),
    **dict.fromkeys(("intra_bottleneck_size", "attention_hidden_size", "d_latents"), _WIDTH),
    **dict.fromkeys(("pronunciation_embed_dim", "shape_embed_dim", "prediction_head_size"), _WIDTH),
    **dict.fromkeys(("num_attention_heads", "n_heads", "n_head", "num_heads"), _HEADS),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "num_query_groups"), _HEADS),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), _HEADS),
    **dict.fromkeys(("n_mamba_heads", "linear_num_key_heads", "linear_num_value_heads"), _HEADS),
    **dict.fromkeys(("num_self_attention_heads", "num_cross_attention_heads"), _HEADS),
    **dict.fromkeys(("head_dim", "d_head", "d_kv", "kv_channels", "attention_head_size"), 16),
    **dict.fromkeys(("attention_head_dim", "mamba_headdim", "v_head_dim", "kv_lora_rank"), 16),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "q_lora_rank"), 16),
    **dict.fromkeys(("index_head_dim", "gated_norm_rank", "mamba_dt_rank", "adapter_rank"), 16),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim", "mamba_d_state", "rotary_dim"), 8),
    **dict.fromkeys(("intermediate_size", "d_inner", "d_ff", "dff", "ffn_dim", "hidden_dim"), 64),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "feed_forward_size"), 64),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 64),
    **dict.fromkeys(("ffn_hidden_size", "prompt_mid_dim"), 64),
    **dict.fromkeys(("num_hidden_layers", "n_layers", "n_layer", "num_layers"), 2),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("num_local_experts", "n_routed_experts", "num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "n_group", "topk_group", "index_n_heads"), 2),
    **dict.fromkeys(("num_self_attends_per_block", "num_feedforward_networks"), 2),
    **dict.fromkeys(("shape_vocab_size", "pronunciation_vocab_size", "num_latents"), 8),
    **dict.fromkeys(("coordinate_size", "shape_size"), 4),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), 64),
    "image_size": 16,
    "patch_size": 8,
    "query_pre_attn_scalar": 16,
}
#: What a kind needs beside that, or in its place.
_OWN: dict[str, dict[str, Any]] = {
    **{kind: {"head_dim": 8} for kind in ("axk1", "axk2", "deepseek_v2", "deepseek_v3")},
    **{kind: {"decoder_start_token_id": 0} for kind in ("mt5", "t5", "umt5")},
    **{
        kind: {"layer_types": ["linear_attention", "full_attention"]}
        for kind in ("qwen3_5.text_config", "qwen3_5_text", "qwen3_next")
    },
    "canine": {"num_hash_buckets": 64},
    "cohere_compass_text": {
        "layer_types": ["full_attention"] * 2,
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}},
    },
    "funnel": {"block_sizes": [1, 1]},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "layoutlmv3": {"coordinate_size": 6, "shape_size": 4},
    "lilt": {"hidden_size": 48},
    "luke": {"entity_vocab_size": 8, "entity_emb_size": 16},
    "markuplm": {
        **dict.fromkeys(("max_xpath_tag_unit_embeddings", "max_xpath_subs_unit_embeddings"), 9),
        **dict.fromkeys(("tag_pad_id", "subs_pad_id", "xpath_unit_hidden_size"), 8),
        "max_depth": 4,
    },
    "reformer": {
        "axial_pos_embds_dim": [16, 16],
        "axial_pos_shape": [8, 8],
        "local_attn_chunk_length": 8,
        "lsh_attn_chunk_length": 8,
    },
    "xmod": {"default_language": "en_XX"},
    **{
        kind: {
            "num_hidden_layers": 4,
            "layers_block_type": ["linear_attention", "hybrid"] * 2,
            "attention_hidden_size": 64,
            "attention_head_dim": 32,
            "mamba_headdim": 32,
        }
        for kind in ("zamba", "zamba2")
    },
}
#: Of models that read more than texts: the parts of their configuration.
_PARTS = ("text_config", "vision_config", "encoder", "decoder")


def small_config(kind: str, **values: Any) -> Any:
    """A configuration of two layers, 32 wide; ``values`` beside, such as the tokenizer's."""
    return AutoConfig.for_model(kind, **_sizes(AutoConfig.for_model(kind).to_dict(), kind, values))


def _sizes(usual: dict[str, Any], kind: str, values: dict[str, Any]) -> dict[str, Any]:
    sizes: dict[str, Any] = {key: size for key, size in _SMALL.items() if key in usual}
    for part in _PARTS:
        if isinstance(usual.get(part), dict):
            inner = usual[part]
            own = {"model_type": inner["model_type"]} if "model_type" in inner else {}
            sizes[part] = own | _sizes(inner, f"{kind}.{part}", values)
    return sizes | values | _OWN.get(kind, {})


def build(kind: str, folder: Path, **values: Any) -> Any:
    """Write the base model of a tiny random classifier to ``folder``, and return the classifier."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(small_config(kind, **values))
    model.save_pretrained(folder)
    return model
