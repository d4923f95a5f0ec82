// The bytes of one message of each kind, written down. A change here is a change of the protocol:
// it needs a new version unless it only adds an optional field.
import { describe, expect, test } from 'bun:test'
import { toHex } from '../../src/base/bytes.ts'
import { decodeMessage, encodeMessage } from '../../src/wire/codec/encode.ts'
import { samples } from './samples.ts'

/** By name of the sample, hex in pieces of 32 bytes. */
const PINNED: Readonly<Record<string, readonly string[]>> = {
  hello: [
    '010318706574616c732f302e312e3020286c696e757820783634290400010203',
    '01af07aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
    'aaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',
    'bbbbbb0b73746f726965733236304b1efd40020a140471385f30002000440000',
    '0000fd0008fe7011010005302e312e30ff0068e5cf8b010000ff6052e6cf8b01',
    '000001cccccccccccccccccccccccccccccccccccccccccccccccccccccccccc',
    'cccccc000020400007010f19fda00f000004030908071b0000000644454e4945',
    '44024e6f000003fd2c010000c03f0000803e'
  ],
  info: [
    '07aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
    'aabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',
    'bb0b73746f726965733236304b1efd40020a140471385f300020004400000000',
    'fd0008fe7011010005302e312e30ff0068e5cf8b010000ff6052e6cf8b010000',
    '01cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc',
    'cc000020400007010f19fda00f0000'
  ],
  infoWithArithmetic: [
    '0faaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
    'aabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',
    'bb0b73746f726965733236304b1efd40020a140471385f300020004400000000',
    'fd0008fe7011010005302e312e30ff0068e5cf8b010000ff6052e6cf8b010000',
    '01cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc',
    'cc000020400007010f19fda00f00000908706574616c732d31'
  ],
  infoWithAdapters: [
    '17aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
    'aabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',
    'bb0b73746f726965733236304b1efd40020a140471385f300020004400000000',
    'fd0008fe7011010005302e312e30ff0068e5cf8b010000ff6052e6cf8b010000',
    '01cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc',
    'cc000020400007010f19fda00f00000901efefefefefefefef'
  ],
  adapter: [
    '03bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',
    'bb010402f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1',
    'f1f1f1f1f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2f2',
    'f2f2f2f218000800000040011073656c665f6174746e2e715f70726f6a00'
  ],
  openWithAdapters: [
    '0751515151515151515151515151515151bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',
    'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb0a14fd00081401fd2c01eeeeeeeeee',
    'eeeeeeeeeeeeeeeeeeeeee002501efefefefefefefefefefefefefefefefefef',
    'efefefefefefefefefefefefefef000000bf'
  ],
  openedAdapted: ['03515151515151515151515151515151510003fd2c010000c03f0000803e03fd', '2c0100'],
  catalogue: [
    '01bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',
    'bb01010b636f6e6669672e6a736f6efdbc02c1c1c1c1c1c1c1c1c1c1c1c1c1c1',
    'c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1010d612e7361666574656e736f72',
    '73fe70110100c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2c2',
    'c2c2c2c2c2c200'
  ],
  holding: [
    '01fe70110100fd001003ff0100030f000020dddddddddddddddddddddddddddd',
    'dddddddddddddddddddddddddddddddddddd'
  ],
  want: ['0009030a6f776e65722f6e616d65fe00000100fd0010'],
  give: ['0109fdfd0f03050607050442555359'],
  call: [
    '7f01bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',
    'bbbb0a14fdb80b050201fd2c0105040000803f05040000004005040000404020',
    'eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee',
    '18000800000040011073656c665f6174746e2e715f70726f6a050400008040'
  ],
  answer: ['03040000803f0003fd2c010000c03f0000803e050400000040050400004040'],
  tune: ['0104fe905f01000301020300'],
  tuned: [
    '0104000027010000094e4f545f464f554e440a4e6f2061646170746572000003',
    'fd2c010000c03f0000803e00'
  ],
  open: [
    '0351515151515151515151515151515151bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',
    'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb0a14fd00081401fd2c01eeeeeeeeee',
    'eeeeeeeeeeeeeeeeeeeeee00'
  ],
  opened: ['01515151515151515151515151515151510003fd2c010000c03f0000803e03fd', '2c01'],
  step: [
    '1f515151515151515151515151515151510500fd2c0102fdb80b0100aaaaaaaa',
    'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa141e0102',
    '030c0100020003000400050006000a030102060000003f07f905046c6f726100',
    '010100'
  ],
  result: [
    '015151515151515151515151515151515105fd2c01021e0100aaaaaaaaaaaaaa',
    'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa0003fd2c010000',
    'c03f0000803e0102030c010002000300040005000600050401020304'
  ],
  error: [
    '011051515151515151515151515151515151000442555359075370c3a4746572',
    'fdf4010003fd2c010000c03f0000803e00'
  ],
  cancel: ['005151515151515151515151515151515106'],
  close: ['0051515151515151515151515151515151'],
  ping: ['004d'],
  pong: ['004d0003fd2c010000c03f0000803e'],
  announce: [
    '0001af07aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
    'aaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',
    'bbbbbbbb0b73746f726965733236304b1efd40020a140471385f300020004400',
    '000000fd0008fe7011010005302e312e30ff0068e5cf8b010000ff6052e6cf8b',
    '01000001cccccccccccccccccccccccccccccccccccccccccccccccccccccccc',
    'cccccccc000020400007010f19fda00f0000'
  ],
  keep: [
    '01515151515151515151515151515151510602fd2c01eeeeeeeeeeeeeeeeeeee',
    'eeeeeeeeeeee10eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee1401fd2c01eeeeeeee',
    'eeeeeeeeeeeeeeeeeeeeeeee'
  ]
}

describe('the wire', () => {
  for (const [name, codec, value] of samples) {
    test(`writes ${name} as pinned`, () => {
      expect(toHex(encodeMessage(codec, value))).toBe((PINNED[name] ?? []).join(''))
    })

    test(`reads the pinned ${name} back`, () => {
      const bytes = new Uint8Array(Buffer.from((PINNED[name] ?? []).join(''), 'hex'))
      expect(decodeMessage(codec, bytes)).toEqual(value)
    })
  }
})
