"""Makes expected.json from the reference packages.

python make_expected.py SHARED_FOLDER > expected.json
needs: tokenizers, transformers, jinja2
"""
import json
import os
import random
import sys
import tempfile
from datetime import datetime, timezone

import jinja2
import tokenizers
import transformers
from transformers.utils import chat_template_utils

SHARED = sys.argv[1]
NOW = 1700000000

TEXTS = [
    "Hello, world!", "  two  spaces ", "\n\n\t x\r\n", "1234567890 10²½", "don't I'LL we've THEY'RE",
    "café naïve e\u0301 Ångström", "你好，世界", "😀👨‍👩‍👧 🇩🇪", "<|im_start|>user\nhi<|im_end|>", "<bos>a<eos>",
    "a▁b <0x0A> ##x", "\u0000\u0001\u200b\u2028\ufeff", "ſtraße ǅ İ", "مرحبا नमस्ते ไทย", "x" * 300,
    "for (int i = 0; i < n; ++i) { s += a[i]; }", "", " ", "\ud7ff\ue000\ufffd\U0010ffff",
]

FILES = [
    "models/dhara-tiny-real", "models/qwen3_5-tiny-real", "reference/convert/llama_a/checkpoint",
    "reference/gemma4/tokenizer/checkpoint",
]

SPACE = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
BYTES = {"type": "ByteFallback"}
FUSE = {"type": "Fuse"}
LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}


def strip(content, start, stop=0):
    return {"type": "Strip", "content": content, "start": start, "stop": stop}


def metaspace(scheme):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": True}


def sequence(*steps):
    return {"type": "Sequence", "decoders": list(steps)}


DECODERS = [
    None, LEVEL, BYTES, FUSE, metaspace("always"), metaspace("never"), sequence(SPACE, BYTES, FUSE),
    sequence(SPACE, BYTES, FUSE, strip(" ", 1)), sequence(metaspace("first"), BYTES, FUSE),
    sequence(BYTES, metaspace("first")), sequence(strip("t", 2), BYTES, FUSE, strip("h", 3)),
    sequence(SPACE, LEVEL), sequence({"type": "Replace", "pattern": {"Regex": "[▁t]+"}, "content": "_"}, BYTES),
    {"type": "WordPiece", "prefix": "##", "cleanup": True},
    {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True},
]

VARIABLES = {
    "d": {"b": 1, "a": [1, 2.0, True, None, "é<&'\"\n\t\x01😀"], "z": {}, "e": []},
    "f": [0.1, 1.0, -0.0, 1e16, 1e15, 1e-4, 1e-5, 5e-324, 1.7976931348623157e308, 2.5e-7],
    "i": [0, -5, 9223372036854775807, 18446744073709551615], "s": "  Hello World  ", "n": None,
    "t": True, "l": [3, 1, 2], "shadow": {"items": 1, "keys": 2, "get": 3},
}

SNIPPETS = [
    "{{ d|tojson }}", "{{ d|tojson(indent=2) }}", "{{ d|tojson(indent=0) }}", "{{ d|tojson(indent='\t') }}",
    "{{ d|tojson(separators=(',',':')) }}", "{{ d|tojson(sort_keys=true) }}",
    "{{ d|tojson(ensure_ascii=true) }}", "{{ f|tojson }}", "{{ i|tojson }}",
    "{% for x in f %}{{ x }} {{ x|string }} {% endfor %}", "{{ d['a'] }}{{ l }}{{ n }} {{ t }} {{ missing }}|",
    "{{ s.strip() }}|{{ s.lstrip() }}|{{ s.rstrip() }}|{{ s.strip(' H') }}",
    "{{ s.split() }} {{ s.split('o') }} {{ s.split('o', 1) }} {{ s.rsplit('o', 1) }}",
    "{{ s.upper() }}{{ s.lower() }}{{ s.title() }}{{ 'ab'.capitalize() }}",
    "{{ s.startswith('  H') }} {{ s.endswith('x') }} {{ s.startswith(('a', '  ')) }}",
    "{{ s.find('o') }} {{ s.rfind('o') }} {{ s.count('l') }} {{ s.replace('l', 'L', 1) }}",
    "{{ 'abc'.removeprefix('a') }}{{ 'abc'.removesuffix('c') }}{{ 'a.b.c'.partition('.') }}{{ 'a.b.c'.rpartition('.') }}",
    "{% for k, v in d.items() %}{{ k }}={{ v|length if v is iterable }};{% endfor %}{{ d.keys()|list }}",
    "{{ d.get('b') }} {{ d.get('q') }} {{ d.get('q', 'x') }} {{ shadow.items()|list }} {{ shadow['items'] }}",
    "{% set ns = namespace(x=1) %}{% for i in range(6) %}{% if i == 4 %}{% break %}{% endif %}{% if i == 1 %}{% continue %}{% endif %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
    "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.previtem }}{{ loop.nextitem }} {% endfor %}",
    "{{ l[::-1] }} {{ l[1:] }} {{ l[-1] }} {{ s[::-1] }} {{ 3 in l }} {{ 'x' not in s }}",
    "{{ l|map('string')|list }} {{ [{'a': 1}, {'a': 2}]|selectattr('a', 'equalto', 2)|list }} {{ l|sort|join('-') }}",
    "{{ n is none }}{{ q is defined }}{{ d is mapping }}{{ d is sequence }}{{ s is sequence }}{{ n is iterable }}{{ q is iterable }}{{ t is number }}{{ t is integer }}{{ 1.5 is float }}",
    "{% macro m(a, b=2) %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(1, b=3) }}",
    "  {% if t %}\n  a\n  {% endif %}\n b\n{%- if t -%}\n c\n{%- endif %}\n{# note #}\nd\n",
    "{{ 1/2 }} {{ 7//2 }} {{ -7//2 }} {{ -7%3 }} {{ 2**3 }} {{ 4/2 }} {{ 'ab'*2 }} {{ 'a' ~ 1 ~ n }}",
    "{{ '%s is %d'|format('a', 3) }} {{ '{} {}'.format(1, 'b') }} {{ 'a\nb'|indent(2) }} {{ 3.7|int }}",
    "{{ strftime_now('%d %b %Y %H:%M') }}", "{{ '<a>'|e }}{{ '<a>' }}{{ messages[0]['content'] }}{{ messages[0].role }}",
    "{% generation %}x{% endgeneration %} {%- generation -%} y {%- endgeneration -%} z",
    "{% filter upper %}abc{% endfilter %}{% set x %}q{% endset %}{{ x }}{{ '日本'|length }}",
    "{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}{{ bos_token }}",
]

WEATHER = {"type": "function", "function": {"name": "weather", "description": "Of a <city> & 'more'", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}}}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", "type": "function", "function": {
    "name": "weather", "arguments": {"city": "Oslo", "days": 3, "tags": ["a"], "x": 1.5, "ok": True}}}]}
CHATS = [
    {"messages": [{"role": "user", "content": "Hi there "}]},
    {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], "add_generation_prompt": False},
    {"messages": [{"role": "user", "content": "Hi"}], "variables": {"enable_thinking": False}},
    {"messages": [{"role": "user", "content": "W?"}, CALL, {"role": "tool", "content": "cold"}], "tools": [WEATHER]},
    {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "see"}]},
                  {"role": "assistant", "content": "x", "reasoning_content": "y"}]},
]
TEMPLATES = ["models/qwen3_5-tiny-real/chat_template.jinja", "reference/convert/qwen35_a/converted/chat_template.jinja"]


def render(source, chat):
    template = chat_template_utils._compile_jinja_template(source)
    clock = lambda form: datetime.fromtimestamp(NOW, timezone.utc).strftime(form)
    template.environment.globals["strftime_now"] = clock
    variables = dict(chat.get("variables", {}))
    return template.render(messages=chat["messages"], tools=chat.get("tools"), documents=None,
                           add_generation_prompt=chat.get("add_generation_prompt", True), **variables)


def load(path):
    tokenizer = tokenizers.Tokenizer.from_file(path)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def encodings():
    for name in FILES:
        tokenizer = load(os.path.join(SHARED, name, "tokenizer.json"))
        cases = []
        for text in TEXTS:
            ids = tokenizer.encode(text).ids
            cases.append({"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False),
                          "plain": tokenizer.decode(ids, skip_special_tokens=True)})
        yield {"folder": name, "cases": cases}


def decodings():
    base = json.load(open(os.path.join(SHARED, FILES[-1], "tokenizer.json")))
    generator = random.Random(11)
    for decoder in DECODERS:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(dict(base, decoder=decoder), file)
            file.flush()
            tokenizer = load(file.name)
        cases = []
        for _ in range(12):
            ids = [generator.randrange(384) if generator.random() < 0.4 else generator.randrange(200, 300)
                   for _ in range(generator.randint(1, 10))]
            cases.append({"ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False),
                          "plain": tokenizer.decode(ids, skip_special_tokens=True)})
        yield {"decoder": decoder, "cases": cases}


def snippets():
    for source in SNIPPETS:
        chat = {"messages": [{"role": "user", "content": "hi <b>"}], "variables": dict(VARIABLES, bos_token="<s>")}
        yield {"source": source, "text": render(source, chat)}


def chats():
    for name in TEMPLATES:
        source = open(os.path.join(SHARED, name)).read()
        yield {"template": name, "cases": [dict(chat, text=render(source, chat)) for chat in CHATS]}


json.dump({
    "produced_by": {"script": "make_expected.py", "tokenizers": tokenizers.__version__,
                    "transformers": transformers.__version__, "jinja2": jinja2.__version__,
                    "note": "templates rendered with the environment that transformers sets up"},
    "now": NOW, "encodings": list(encodings()), "decoder_base": FILES[-1], "decodings": list(decodings()),
    "variables": VARIABLES, "snippets": list(snippets()), "chats": list(chats()),
}, sys.stdout, ensure_ascii=True, separators=(",", ":"))
print()
