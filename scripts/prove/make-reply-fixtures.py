# python3 scripts/prove/make-reply-fixtures.py   (needs `pip install transformers`)
# Writes test/fixtures/replies.json: response templates of several shapes, and what PyPI's
# transformers makes of answers by them. The templates are ours, of the shapes that models have.
import json
import pathlib

from transformers.utils.chat_parsing import parse_response

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Tells the weather.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "days": {"type": "integer"},
                    "places": {"type": "array", "items": {"type": "string"}},
                },
            },
        },
    }
]
TEMPLATES = {
    "json between tags": {
        "defaults": {"role": "assistant"},
        "start_anchor": "<|im_start|>assistant\n",
        "fields": {
            "reasoning_content": {"open": "<think>", "close": "</think>", "content": "text"},
            "tool_calls": {
                "open_pattern": r"\s*<tool_call>",
                "close": "</tool_call>",
                "repeats": True,
                "content": "json",
                "transform": {"type": "function", "function": "{content}"},
            },
            "content": {"close_pattern": r"\s*(?:<\|im_end\|>|<\|endoftext\|>)", "content": "text"},
        },
    },
    "tags within tags": {
        "defaults": {"role": "assistant"},
        "start_anchor": "<|im_start|>assistant\n",
        "fields": {
            "reasoning_content": {"open": "<think>", "close": "</think>", "content": "text"},
            "tool_calls": {
                "open_pattern": r"\s*<tool_call>\s*<function=(?P<name>[^>\n]+)>",
                "close_pattern": r"</function>\s*</tool_call>",
                "repeats": True,
                "content": "xml-inline",
                "content_args": {
                    "tag_pattern": r"<parameter=(?P<key>[^>\n]+)>\s*(?P<value>.*?)\s*</parameter>"
                },
                "transform": {
                    "type": "function",
                    "function": {"name": "{name}", "arguments": "{content}"},
                },
            },
            "content": {"content": "text"},
        },
    },
    "marks of its own": {
        "defaults": {"role": "assistant"},
        "start_anchor": ["<|turn>model\n"],
        "fields": {
            "thinking": {"open": "<|channel>thought\n", "close": "<channel|>", "content": "text"},
            "tool_calls": {
                "open_pattern": r"<\|tool_call>call:(?P<name>\w+)",
                "close": "<tool_call|>",
                "repeats": True,
                "content": "json",
                "content_args": {"unquoted_keys": True, "string_delims": [["<|\"|>", "<|\"|>"]]},
                "transform": {
                    "type": "function",
                    "function": {"name": "{name}", "arguments": "{content}"},
                },
            },
            "content": {"close": ["<turn|>", "<|tool_response>"], "content": "text"},
        },
    },
    "a list of code": {
        "defaults": {"role": "assistant"},
        "start_anchor": "<|im_start|>assistant\n",
        "fields": {
            "tool_calls": {
                "open": "<|tool_call_start|>",
                "close": "<|tool_call_end|>",
                "content": "python-call-list",
                "transform_each": True,
                "transform": {
                    "type": "function",
                    "function": {"name": "{name}", "arguments": "{arguments}"},
                },
            },
            "content": {"content": "text"},
        },
    },
    "lines of pairs": {
        "defaults": {"role": "assistant"},
        "start_anchor": "<A>",
        "fields": {
            "tool_calls": {
                "open_pattern": r"<call (?P<name>\w+)>",
                "close": "</call>",
                "repeats": True,
                "content": "kv-lines",
                "content_args": {"kv_sep": "="},
                "transform": {"function": {"name": "{name}", "arguments": "{content}"}},
            },
            "content": {"content": "text"},
        },
    },
}
ANSWERS = [
    ("json between tags", "", "Hello <b>."),
    ("json between tags", "", "<think>\nI see: a < b.\n</think>\n\nSo it is."),
    ("json between tags", "<think>\n", "hm\n</think>\n\nYes"),
    (
        "json between tags",
        "",
        'Let me look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Paris", "days": 2}}\n'
        '</tool_call>\n<tool_call>\n{"name": "weather", "arguments": {"city": "R\u00f6m"}}\n</tool_call>',
    ),
    (
        "tags within tags",
        "",
        "Yes.\n<tool_call>\n<function=weather>\n<parameter=city>\nNew York\n</parameter>\n"
        '<parameter=days>\n3\n</parameter>\n<parameter=places>["a", "b"]</parameter>\n'
        "</function>\n</tool_call>",
    ),
    ("tags within tags", "", "A <tool_cal without an end"),
    (
        "marks of its own",
        "",
        "<|channel>thought\nLet me see.\n<channel|><|tool_call>call:weather{city:"
        '<|"|>Sa\u00f5 "P"<|"|>,days:4}<tool_call|>',
    ),
    ("marks of its own", "", "Plain <|tool and text"),
    (
        "a list of code",
        "",
        "Well. <|tool_call_start|>[weather(city='Bonn', days=1), weather(places=['x', \"y\"])]"
        "<|tool_call_end|>",
    ),
    ("lines of pairs", "", "So: <call weather>\ncity = Ulm\ndays = 5\n</call>"),
]

made = []
for name, opened, text in ANSWERS:
    template = TEMPLATES[name]
    anchor = template["start_anchor"]
    prefix = (anchor if isinstance(anchor, str) else anchor[0]) + opened
    message = parse_response(text, template, prefix=prefix, tools=TOOLS)
    made.append({"template": name, "prompt": prefix, "text": text, "message": message})

root = pathlib.Path(__file__).parents[2] / "test" / "fixtures"
text = json.dumps({"tools": TOOLS, "templates": TEMPLATES, "answers": made}, indent=1)
(root / "replies.json").write_text(text + "\n")
