// Chat templates as hostile programs: each of these would take minutes, gigabytes or for ever.
import { expect, test } from 'bun:test'
import { type ChatMessage, renderChat } from '../../../src/model/text/chat-template.ts'
import { chatModel } from '../../support/models/chat-model.ts'

/** Doubles a text or a list in `ns.x` so often. */
const grown = (times: number, first = '"aaaaaaaa"', next = 'ns.x ~ ns.x'): string =>
  `{% set ns = namespace(x=${first}) %}{% for i in range(${times}) %}{% set ns.x = ${next} %}{% endfor %}`
const user = (content: string): ChatMessage => ({ role: 'user', content })

const REFUSED: Record<string, string> = {
  'does not parse': '{% for %}',
  'calls what is not there': '{{ nothing.at.all() }}',
  'is long': 'x'.repeat(300_000),
  'is nothing but spaces': ' '.repeat(100_000),
  'counts far': '{% for i in range(999999999) %}x{% endfor %}',
  'counts in steps of nothing': '{% for i in range(0, 9, 0) %}x{% endfor %}',
  'counts within counting': `${'{% for i in range(100000) %}'.repeat(2)}${'{% endfor %}'.repeat(2)}`,
  'doubles a text': `${grown(60)}{{ ns.x }}`,
  'doubles a text in a block':
    '{% set x = "aaaa" %}{% set ns = namespace(x=x) %}{% for i in range(60) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}{% endfor %}',
  'doubles a list': `${grown(60, '[1]', 'ns.x + ns.x')}{{ ns.x }}`,
  'holds a list twice in a list': `${grown(60, '[1]', '[ns.x, ns.x]')}{{ ns.x }}`,
  'holds a mapping twice': `${grown(60, '{"a": 1}', '{"a": ns.x, "b": ns.x}')}{{ ns.x | tojson }}`,
  'nests lists': `${grown(5000, '[1]', '[ns.x]')}{{ ns.x }}`,
  'holds itself': '{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}',
  'replaces by much': `${grown(16)}{{ ns.x.replace("a", ns.x) }}`,
  'replaces by much in a filter': `${grown(16)}{{ ns.x | replace("a", ns.x) }}`,
  'replaces nothing by much': `${grown(16)}{{ ns.x.replace("", ns.x) }}`,
  'replaces by what it unpacks': `${grown(16)}{{ ns.x | replace(*["", ns.x]) }}`,
  'keeps a method': `${grown(16)}{% set f = ns.x["replace"] %}{{ f("", ns.x) }}`,
  'joins by much': `${grown(16)}{{ range(100000) | join(ns.x) }}`,
  'joins letters by much': `${grown(16)}{{ ns.x | join(ns.x) }}`,
  'indents far': '{{ "a\nb" | indent(2000000000) }}',
  'indents by what it unpacks': '{{ "a\nb" | indent(*[2000000000]) }}',
  'writes JSON indented far': '{{ [1] | tojson(indent=2000000000) }}',
  'writes JSON by what it unpacks': '{{ [1] | tojson(**{"indent": 2000000000}) }}',
  'parts JSON by much': `${grown(16)}{{ range(99999) | tojson(separators=[ns.x, ":"]) }}`,
  'writes a list again and again':
    '{% set x = range(100000) %}{% for i in range(100000) %}{{ x }}{% endfor %}',
  'writes a text again and again': `${grown(18)}{% for i in range(100000) %}{{ ns.x }}{% endfor %}`,
  'splits again and again': `${grown(18)}{% for i in range(999) %}{% set y = ns.x.split("a") %}{% endfor %}`,
  'turns a text round again and again': `${grown(18)}{% for i in range(999) %}{% set y = ns.x[::-1] %}{% endfor %}`,
  'sorts again and again':
    '{% for i in range(1000) %}{% set y = range(100000) | sort %}{% endfor %}',
  'calls itself': '{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}',
  'calls itself twice':
    '{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}',
  'calls its caller twice': `{% macro m() %}{{ caller() }}{{ caller() }}{% endmacro %}${'{% call m() %}'.repeat(40)}x${'{% endcall %}'.repeat(40)}`
}

for (const [what, template] of Object.entries(REFUSED)) {
  test(`a template that ${what} is refused`, () => {
    const model = chatModel(template)
    expect(() => renderChat(model, [user('hi')])).toThrow(
      expect.objectContaining({ code: 'BAD_INPUT' })
    )
  })
}

test('long chats and long messages are within the budget of an ordinary template', () => {
  const model = chatModel(
    "{%- if messages[0].role != 'user' %}{{ raise_exception('no') }}{%- endif %}" +
      '{%- for m in messages %}{%- if m.content is string and m.content | length > 0 %}' +
      "{{- '<|' + m.role + '|>' + m.content | trim }}{%- endif %}" +
      '{%- if loop.last or messages[loop.index0 + 1].role == m.role %}.{%- endif %}{%- endfor %}'
  )
  const long = 'ab '.repeat(2_000_000)
  expect(renderChat(model, [user(long)])).toHaveLength(8 + long.trim().length + 1)
  const many = Array.from({ length: 10_000 }, () => user('hi'))
  expect(renderChat(model, many)).toBe('<|user|>hi.'.repeat(10_000))
})
