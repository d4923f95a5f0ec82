import { expect, test } from 'bun:test'
import { fieldsIn, fieldsOf, fillTemplate } from '../../../src/cli/pipe/prompt-template.ts'

test('fillTemplate() puts texts in as they are, and other values as JSON', () => {
  const fields = { name: 'Ann {{x}}', n: 3, tags: ['a'], who: { city: 'Ulm' }, 'a.b': 'dotted' }
  expect(fillTemplate('{{name}}, {{ n }}, {{tags}}, {{who.city}}, {{a.b}}', fields)).toBe(
    'Ann {{x}}, 3, ["a"], Ulm, dotted'
  )
  expect(fillTemplate('\\{{name}} { {name} {{}}', fields)).toBe('{{name}} { {name} {{}}')
})

test('a field that is not given is refused, with those that are', () => {
  expect(() => fillTemplate('{{nmae}}', { name: 'x' })).toThrow(
    expect.objectContaining({
      code: 'BAD_INPUT',
      message: "The template wants 'nmae', which is not given",
      hint: 'Given are: name'
    }) as Error
  )
  // What every object inherits is no field.
  expect(() => fillTemplate('{{constructor}}', {})).toThrow('constructor')
  expect(() => fillTemplate('{{a.length}}', { a: 'text' })).toThrow('a.length')
})

test('fieldsOf() names each place once, and fieldsIn() reads a JSON object or takes the text', () => {
  expect(fieldsOf('{{a}} {{b.c}} {{a}} \\{{d}}')).toEqual(['a', 'b.c'])
  expect(fieldsIn('{"a": 1}')).toEqual({ input: '{"a": 1}', a: 1 })
  expect(fieldsIn('{ no JSON')).toEqual({ input: '{ no JSON' })
  expect(fieldsIn('[1]')).toEqual({ input: '[1]' })
})
