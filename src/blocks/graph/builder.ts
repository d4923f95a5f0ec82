// Builds one ONNX graph node by node: names, attributes, weights that are passed separately. Knows
// ONNX's structure, no operators and no models; parts.ts has the operators.
import { ELEMENTS, tensorBytes, type ElementType } from '../ort/value.ts'
import {
  encodeModel,
  type AttributeMessage,
  type NodeMessage,
  type TensorMessage,
  type ValueInfoMessage
} from './onnx.ts'

/** The name of a value in the graph. */
export type Value = string

export type Attributes = Readonly<Record<string, number | string | readonly number[] | FloatValue>>

/** A float attribute; a plain number is an integer one. */
export interface FloatValue {
  readonly float: number
}

export const float = (value: number): FloatValue => ({ float: value })

/** Domain of onnxruntime's own operators. */
export const MICROSOFT = 'com.microsoft'

export interface NodeOptions {
  domain?: string
  attributes?: Attributes
  /** Number of outputs, default 1, or their names; '' for one that is not needed. */
  outputs?: readonly Value[]
}

const OPSET = 21
const IR_VERSION = 10
const ATTRIBUTE = { float: 1, int: 2, string: 3, ints: 7 }
const EXTERNAL = 1
/**
 * The library requires a path that exists but never opens it: the values are passed by
 * AddInitializer.
 */
const PLACEHOLDER = '.'

export class GraphBuilder {
  readonly #name: string
  readonly #nodes: NodeMessage[] = []
  readonly #initializers = new Map<string, TensorMessage>()
  readonly #inputs: ValueInfoMessage[] = []
  readonly #outputs: ValueInfoMessage[] = []
  readonly #shared = new Map<string, Value>()
  #fresh = 0

  constructor(name: string) {
    this.#name = name
  }

  /** A dimension is a number, or a name for one that is known only when it runs. */
  input(name: string, type: ElementType, dims: readonly (number | string)[]): Value {
    this.#inputs.push(valueInfo(name, type, dims))
    return name
  }

  output(name: Value, type: ElementType, dims: readonly (number | string)[]): void {
    this.#outputs.push(valueInfo(name, type, dims))
  }

  /** A weight whose values the session gets by name (AddInitializer), not from the model file. */
  weight(name: string, type: ElementType, dims: readonly number[]): Value {
    if (!this.#initializers.has(name)) {
      this.#initializers.set(name, {
        name,
        dims: [...dims],
        dataType: ELEMENTS[type].id,
        dataLocation: EXTERNAL,
        externalData: [
          { key: 'location', value: PLACEHOLDER },
          { key: 'offset', value: '0' },
          { key: 'length', value: String(tensorBytes(type, dims)) }
        ]
      })
    }
    return name
  }

  /** A small constant inside the file. */
  constant(name: string, type: ElementType, dims: readonly number[], rawData: Uint8Array): Value {
    this.#initializers.set(name, { name, dims: [...dims], dataType: ELEMENTS[type].id, rawData })
    return name
  }

  /** Adds a node with one output and returns it. */
  node(opType: string, inputs: readonly Value[], options: NodeOptions = {}): Value {
    const [first = ''] = this.nodes(opType, inputs, options)
    return first
  }

  /** Adds a node and returns its outputs. */
  nodes(opType: string, inputs: readonly Value[], options: NodeOptions = {}): readonly Value[] {
    const name = `${opType}_${this.#fresh++}`
    const outputs = options.outputs ?? [`${name}_out`]
    this.#nodes.push({
      opType,
      domain: options.domain ?? '',
      name,
      input: [...inputs],
      output: [...outputs],
      attribute: Object.entries(options.attributes ?? {}).map(attribute)
    })
    return outputs
  }

  /** The result of `make`, which is called once per key. */
  shared(key: string, make: () => Value): Value {
    const known = this.#shared.get(key)
    if (known !== undefined) return known
    const value = make()
    this.#shared.set(key, value)
    return value
  }

  /** A name that is not used yet. */
  fresh(stem: string): Value {
    return `${stem}_${this.#fresh++}`
  }

  /** Names of the weights that the session needs. */
  get weightNames(): readonly string[] {
    return [...this.#initializers.values()].flatMap((tensor) =>
      tensor.dataLocation === EXTERNAL ? [tensor.name] : []
    )
  }

  /** The model file. */
  build(): Uint8Array {
    return encodeModel({
      irVersion: IR_VERSION,
      producerName: 'petals',
      opsetImport: [
        { domain: '', version: OPSET },
        { domain: MICROSOFT, version: 1 }
      ],
      graph: {
        name: this.#name,
        node: this.#nodes,
        initializer: [...this.#initializers.values()],
        input: this.#inputs,
        output: this.#outputs
      }
    })
  }
}

function valueInfo(
  name: string,
  type: ElementType,
  dims: readonly (number | string)[]
): ValueInfoMessage {
  const dim = dims.map((size) =>
    typeof size === 'number' ? { dimValue: size } : { dimParam: size }
  )
  return { name, type: { tensorType: { elemType: ELEMENTS[type].id, shape: { dim } } } }
}

function attribute([name, value]: [string, Attributes[string]]): AttributeMessage {
  if (typeof value === 'number') return { name, type: ATTRIBUTE.int, i: value }
  if (typeof value === 'string') return { name, type: ATTRIBUTE.string, s: Buffer.from(value) }
  if ('float' in value) return { name, type: ATTRIBUTE.float, f: value.float }
  return { name, type: ATTRIBUTE.ints, ints: [...value] }
}
