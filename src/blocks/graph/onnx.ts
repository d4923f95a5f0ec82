// The messages of an ONNX model file that our graphs use, and their serialisation. Field numbers
// are those of onnx.proto3; knows no operators.
import protobuf from 'protobufjs'

interface FieldSpec {
  type: string
  id: number
  rule?: 'repeated'
}

const field = (type: string, id: number): FieldSpec => ({ type, id })
const list = (type: string, id: number): FieldSpec => ({ type, id, rule: 'repeated' })

const SCHEMA = {
  ModelProto: {
    fields: {
      irVersion: field('int64', 1),
      producerName: field('string', 2),
      graph: field('GraphProto', 7),
      opsetImport: list('OperatorSetIdProto', 8)
    }
  },
  OperatorSetIdProto: { fields: { domain: field('string', 1), version: field('int64', 2) } },
  GraphProto: {
    fields: {
      node: list('NodeProto', 1),
      name: field('string', 2),
      initializer: list('TensorProto', 5),
      input: list('ValueInfoProto', 11),
      output: list('ValueInfoProto', 12)
    }
  },
  NodeProto: {
    fields: {
      input: list('string', 1),
      output: list('string', 2),
      name: field('string', 3),
      opType: field('string', 4),
      attribute: list('AttributeProto', 5),
      domain: field('string', 7)
    }
  },
  AttributeProto: {
    fields: {
      name: field('string', 1),
      f: field('float', 2),
      i: field('int64', 3),
      s: field('bytes', 4),
      ints: list('int64', 8),
      type: field('int32', 20)
    }
  },
  TensorProto: {
    fields: {
      dims: list('int64', 1),
      dataType: field('int32', 2),
      name: field('string', 8),
      rawData: field('bytes', 9),
      externalData: list('StringStringEntryProto', 13),
      dataLocation: field('int32', 14)
    }
  },
  StringStringEntryProto: { fields: { key: field('string', 1), value: field('string', 2) } },
  ValueInfoProto: { fields: { name: field('string', 1), type: field('TypeProto', 2) } },
  TypeProto: { fields: { tensorType: field('TensorTypeProto', 1) } },
  TensorTypeProto: { fields: { elemType: field('int32', 1), shape: field('TensorShapeProto', 2) } },
  TensorShapeProto: { fields: { dim: list('DimensionProto', 1) } },
  DimensionProto: { fields: { dimValue: field('int64', 1), dimParam: field('string', 2) } }
}

export interface AttributeMessage {
  name: string
  type: number
  f?: number
  i?: number
  s?: Uint8Array
  ints?: number[]
}

export interface NodeMessage {
  opType: string
  domain: string
  name: string
  input: string[]
  output: string[]
  attribute: AttributeMessage[]
}

export interface TensorMessage {
  name: string
  dims: number[]
  dataType: number
  rawData?: Uint8Array
  externalData?: { key: string; value: string }[]
  dataLocation?: number
}

export interface ValueInfoMessage {
  name: string
  type: {
    tensorType: { elemType: number; shape: { dim: { dimValue?: number; dimParam?: string }[] } }
  }
}

export interface ModelMessage {
  irVersion: number
  producerName: string
  opsetImport: { domain: string; version: number }[]
  graph: {
    name: string
    node: NodeMessage[]
    initializer: TensorMessage[]
    input: ValueInfoMessage[]
    output: ValueInfoMessage[]
  }
}

let modelType: protobuf.Type | undefined

/** The bytes of a model file. */
export function encodeModel(model: ModelMessage): Uint8Array {
  modelType ??= protobuf.Root.fromJSON({ nested: SCHEMA }).lookupType('ModelProto')
  return modelType.encode(modelType.fromObject(model)).finish()
}
