import { expect, test } from 'bun:test'
import { codeOf } from '../../../src/cli/pipe/extract.ts'

test('codeOf() is the text of the first fenced block, whole', () => {
  expect(codeOf('Here:\n```sh\nls -l\ncd\n```\nand\n```\nmore\n```\n')).toBe('ls -l\ncd\n')
  expect(codeOf('~~~\n```\n~~~')).toBe('```\n')
  expect(codeOf('````md\n```\na\n```\n````')).toBe('```\na\n```\n')
  expect(codeOf('```\r\na\r\n```\r\n')).toBe('a\n')
  expect(codeOf('```\n```')).toBe('')
})

test('codeOf() takes a block that was cut off to its end, and nothing where there is none', () => {
  expect(codeOf('```py\nprint(1)\nprin')).toBe('print(1)\nprin')
  expect(codeOf('plain `code` and ```inline``` text')).toBeUndefined()
  expect(codeOf('')).toBeUndefined()
  expect(codeOf('    ```\n    indented\n')).toBeUndefined()
})
