# python3 scripts/prove/make-tokenizer-fixtures.py PRE_TYPES.json   (needs `pip install tokenizers`)
# Writes test/fixtures/tokenizers/: how Hugging Face's tokenizers split texts by each pre type's
# patterns, and what a small vocabulary makes of them. PRE_TYPES.json is what
#   bun -e "import { PRE_TYPES } from './src/model/text/pre-types.ts'; console.log(JSON.stringify([...PRE_TYPES]))"
# prints: the patterns are ours, what they do is the originals'.
import json
import pathlib
import sys

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

TEXTS = [
    "Hello world",
    "Hello  World!\n\n  it's I'LL don't WE'VE 'tis",
    "x = 3+4; y=12345678 1,234.5678",
    "a\t\tb \r\n c\n\n\nd   ",
    "  \n \n\t e",
    "caf\u00e9 re\u0301sume\u0301 na\u00efve \u00c5ngstr\u00f6m",
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01\u3053\u3093\u306b\u3061\u306f\u3002\uc548\ub155\ud558\uc138\uc694",
    "\u0645\u0631\u062d\u0628\u0627\u060c \u0647\u0644\u0627\u061f \u0928\u092e\u0938\u094d\u0924\u0947\u0964 \u0e2a\u0e27\u0e31",
    "\U0001f680 \U0001f636\u200d\U0001f32b\ufe0f (normal) \u2705",
    "CamelCaseWords HTTPServer iPhone McDonald's \u01c5ungla",
    "`code` <|im_end|> </s> [INST] $100 ~^| a|b",
    "\ufefftext\ufeff \u00a0nbsp \u0085nel \u2028ls\u3000wide",
    "1 22 333 4444 55555 \u0663\u0664 \u00bd \u2167",
    "path/to/file.txt\n/usr/bin//x\r\n//",
    "\u0130stanbul \u00df\u1e9e \u1ebe \U0001d400\U0001d41a \u10d0\u10d1 \u0399\u0399",
    "",
]

root = pathlib.Path(__file__).parents[2] / "test" / "fixtures" / "tokenizers"
types = json.load(open(sys.argv[1]))


def splits_of(patterns):
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    )


def byte_level(patterns):
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([splits_of(patterns), last])


kinds = {}
for name, facts in types:
    kinds.setdefault(json.dumps(facts, sort_keys=True), (facts, []))[1].append(name)

made = []
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
trainer = trainers.BpeTrainer(
    vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
)
tokenizer.train_from_iterator(TEXTS * 3, trainer)
model = json.loads(tokenizer.to_str())["model"]

characters = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
characters.normalizer = normalizers.Replace(" ", "\u2581")
characters.pre_tokenizer = splits_of(["[^\n]+|[\n]+"])
specials = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
trainer = trainers.BpeTrainer(
    vocab_size=420, limit_alphabet=60, special_tokens=specials, show_progress=False
)
characters.train_from_iterator([text for text in TEXTS if text.isascii()] * 3, trainer)
characters_model = json.loads(characters.to_str())["model"]

for facts, names in kinds.values():
    patterns = facts["patterns"]
    entry = {"names": names}
    pieces = splits_of(patterns)
    normalizer = normalizers.NFC() if facts.get("nfc") else None
    plain = [normalizer.normalize_str(text) if normalizer else text for text in TEXTS]
    entry["splits"] = [[piece for piece, _ in pieces.pre_tokenize_str(text)] for text in plain]
    if facts.get("isCharacters"):
        own = characters
    else:
        own = Tokenizer.from_str(
            json.dumps(
                {
                    "version": "1.0",
                    "added_tokens": [],
                    "normalizer": None,
                    "pre_tokenizer": None,
                    "post_processor": None,
                    "decoder": None,
                    "model": {**model, "ignore_merges": bool(facts.get("ignoreMerges"))},
                }
            )
        )
        own.pre_tokenizer = byte_level(patterns)
        own.decoder = decoders.ByteLevel()
        if normalizer:
            own.normalizer = normalizer
    entry["ids"] = [own.encode(text, add_special_tokens=False).ids for text in TEXTS]
    made.append(entry)


def tokens_of(each):
    return [token for token, _ in sorted(each["vocab"].items(), key=lambda item: item[1])]


def merges_of(each):
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in each["merges"]]


root.mkdir(parents=True, exist_ok=True)
with open(root / "pre-types.json", "w") as out:
    json.dump(
        {
            "texts": TEXTS,
            "bytes": {"tokens": tokens_of(model), "merges": merges_of(model)},
            "characters": {
                "tokens": tokens_of(characters_model),
                "merges": merges_of(characters_model),
            },
            "types": made,
        },
        out,
        ensure_ascii=True,
        separators=(",", ":"),
    )
    out.write("\n")
print(len(made), "kinds of", len(types), "types")
