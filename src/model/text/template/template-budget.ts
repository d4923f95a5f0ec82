// Runs a Jinja template within a budget: a template is a program that came with a file. Every node
// that is evaluated costs, and so do the sizes that an operation reads and makes; what an operation
// is about to make is told from its arguments before it does. Knows no chats; chat-template.ts says
// what a template is given.
import { type Environment, Interpreter } from '@huggingface/jinja'
import { badInput } from '../../../base/errors.ts'

export interface TemplateBudget {
  /** Units of work: 16 a node or an item of a list, 64 a turn of a loop, 1 a character. */
  readonly work: number
  /** Characters and items of any one value. */
  readonly size: number
}

const UNITS_PER_NODE = 16
const UNITS_PER_ITEM = 16
/** A loop makes a scope and nine variables each time. */
const UNITS_PER_TURN = 64
/** Nodes within nodes, macros that call themselves included; real templates stay under 100. */
const MAX_DEPTH = 400
/** Lists within lists. */
const MAX_NESTING = 100
/** Spaces that tojson and indent put before a line. */
const MAX_INDENT = 64

type Program = Parameters<Interpreter['run']>[0]
type Value = ReturnType<Interpreter['run']>
type Node = Parameters<Interpreter['evaluate']>[0]

/** @throws AppError BAD_INPUT when the budget is spent, and whatever the template throws */
export function runTemplate(
  program: Program,
  environment: Environment,
  budget: TemplateBudget
): string {
  const interpreter = new Interpreter(environment)
  // The library has no hook of its own; all that it does goes through this one method.
  const meter = new Meter(budget, interpreter.evaluate.bind(interpreter))
  interpreter.evaluate = (node, scope) => meter.evaluate(node, scope)
  return String(interpreter.run(program).value)
}

/** What is under evaluation, and what its parts came to. */
interface Frame {
  readonly node: NodeFields | undefined
  readonly parts: Value[]
}

/** What is read of nodes of several types. */
interface NodeFields {
  readonly type: string
  readonly value?: unknown
  readonly operator?: { readonly value: string }
  readonly property?: NodeFields
  readonly filter?: NodeFields
  readonly callee?: NodeFields
  readonly args?: readonly NodeFields[]
  readonly test?: unknown
  readonly iterable?: NodeFields
  readonly lhs?: unknown
}

interface Size {
  /** Characters and items, those of items included. */
  readonly whole: number
  readonly nesting: number
}

/** Statements that write out what their parts come to. */
const WRITERS: ReadonlySet<string> = new Set([
  'Program',
  'If',
  'For',
  'Set',
  'CallStatement',
  'FilterStatement',
  'CallExpression'
])
/** Filters that look at no more than where a value is. */
const FREE_FILTERS: ReadonlySet<string> = new Set(['length', 'first', 'last', 'list', 'default'])

class Meter {
  readonly #budget: TemplateBudget
  readonly #evaluate: Interpreter['evaluate']
  readonly #sizes = new WeakMap<object, Size>()
  readonly #frames: Frame[] = []
  #left: number

  constructor(budget: TemplateBudget, evaluate: Interpreter['evaluate']) {
    this.#budget = budget
    this.#evaluate = evaluate
    this.#left = budget.work
  }

  evaluate(statement: Node, scope: Environment): Value {
    const node = statement as NodeFields | undefined
    const parent = this.#frames.at(-1)
    const depth = this.#frames.length
    if (depth > MAX_DEPTH) throw spent('it is nested too deep')
    // A scope within a scope is looked through for every name.
    this.#take(UNITS_PER_NODE + depth)
    const frame: Frame = { node, parts: [] }
    this.#frames.push(frame)
    let value: Value
    try {
      value = this.#evaluate(statement, scope)
    } finally {
      this.#frames.length = depth
    }
    const size = this.#sizeOf(value)
    if (size.whole > this.#budget.size) throw spent('it makes a value that is too large')
    if (node) this.#take(this.#costOf(frame, value))
    if (parent) this.#pass(parent, node, value, size)
    return value
  }

  #take(units: number): void {
    this.#left -= units
    if (!(this.#left >= 0)) throw spent('it computes too much')
  }

  /** Hands a part to the node that it belongs to, which may now be about to make something. */
  #pass(parent: Frame, node: NodeFields | undefined, value: Value, size: Size): void {
    const { node: owner, parts } = parent
    parts.push(value)
    if (!owner) return
    if (owner.type === 'FilterExpression' || owner.type === 'FilterStatement') {
      this.#checkFilter(owner, parts)
    } else if (owner.type === 'For' && node === (owner.iterable?.lhs ?? owner.iterable)) {
      this.#take(itemsOf(value) * UNITS_PER_TURN)
    } else if (WRITERS.has(owner.type) && node !== owner.test && node !== owner.value) {
      this.#take(isContainer(value) ? size.whole : size.whole / 16)
    }
  }

  /** What the node itself did with its parts. */
  #costOf({ node, parts }: Frame, value: Value): number {
    const whole = (part: Value): number => this.#sizeOf(part).whole
    const all = (): number => parts.reduce((sum, part) => sum + whole(part), whole(value))
    switch (node?.type) {
      case 'BinaryExpression': {
        const operator = node.operator?.value ?? ''
        return operator === 'and' || operator === 'or' ? 0 : all()
      }
      case 'FilterExpression':
      case 'FilterStatement': {
        const name = filterName(node)
        return FREE_FILTERS.has(name)
          ? 0
          : all() + (itemsOf(parts[0]) + itemsOf(value)) * UNITS_PER_ITEM
      }
      case 'CallExpression':
      case 'TestExpression':
        return parts.reduce((sum, part) => sum + lengthOf(part), lengthOf(value))
      case 'MemberExpression':
        return this.#costOfMember(node, parts[0], value)
      default:
        return 0
    }
  }

  #costOfMember(node: NodeFields, object: Value | undefined, value: Value): number {
    if (node.property?.type === 'SliceExpression') {
      return (itemsOf(object) + textOf(object).length) * UNITS_PER_ITEM
    }
    if (value.type !== 'FunctionValue' || object === undefined) return 0
    this.#guardMethod(value as MethodValue, object, String(node.property?.value))
    // Every method reads its text or list once.
    return lengthOf(object)
  }

  /** A method of a text tells what it is about to make when it is called. */
  #guardMethod(method: MethodValue, object: Value, name: string): void {
    if (this.#sizes.has(method)) return
    this.#sizes.set(method, { whole: 1, nesting: 0 })
    const own = STRIPS[name] ? strip(textOf(object), STRIPS[name], method.value) : method.value
    method.value = (args, scope) => {
      this.#expect(this.#replaced(textOf(object), args))
      const made = own(args, scope)
      const items = itemsOf(made)
      this.#take(items * UNITS_PER_ITEM + lengthOf(made))
      return made
    }
  }

  /** `parts`: the operand, then arguments that are known by now. */
  #checkFilter(node: NodeFields, parts: readonly Value[]): void {
    const [operand, ...args] = parts
    if (!operand || args.length === 0) return
    const { whole, nesting } = this.#sizeOf(operand)
    const longest = Math.max(...args.map((arg) => this.#sizeOf(arg).whole))
    const name = filterName(node)
    if (name === 'replace') this.#expect(this.#replaced(textOf(operand), args))
    if (name === 'join') this.#expect(whole + (lengthOf(operand) + itemsOf(operand)) * longest)
    if (name !== 'indent' && name !== 'tojson') return
    const width = Math.max(0, ...args.map((arg) => Number(arg.value) || 0))
    const isSpread = node.filter?.args?.some(({ type }) => type.endsWith('SpreadExpression'))
    if (width > MAX_INDENT || isSpread) throw spent('it indents too far')
    const lines = name === 'indent' ? linesOf(textOf(operand)) : whole * nesting
    this.#expect(whole * (name === 'indent' ? 1 : 1 + longest) + lines * width)
  }

  /** Characters that replacing makes at most; the text that is replaced is the first argument. */
  #replaced(text: string, args: readonly Value[]): number {
    const longest = Math.max(0, ...args.slice(1).map((arg) => this.#sizeOf(arg).whole))
    if (text.length * longest <= this.#budget.size) return 0
    const old = textOf(args[0])
    this.#take(text.length)
    const times = old === '' ? text.length + 1 : text.split(old).length - 1
    return text.length + times * longest
  }

  #expect(size: number): void {
    if (size > this.#budget.size) throw spent('it makes a value that is too large')
  }

  #sizeOf(value: Value): Size {
    if (value.type === 'StringValue') return { whole: textOf(value).length, nesting: 0 }
    if (!isContainer(value)) return { whole: 1, nesting: 0 }
    const known = this.#sizes.get(value)
    if (known) return known
    const isNamespace = value.type === 'NamespaceValue'
    let whole = 1
    let nesting = 0
    for (const [key, item] of entriesOf(value)) {
      // It can change later, and with it whatever holds it.
      if (item.type === 'NamespaceValue') throw spent('it keeps a namespace within another value')
      const own = this.#sizeOf(item)
      whole += own.whole + key.length + 1
      nesting = Math.max(nesting, own.nesting + 1)
    }
    if (nesting > MAX_NESTING) throw spent('its lists are nested too deep')
    const size = { whole, nesting }
    if (!isNamespace) this.#sizes.set(value, size)
    return size
  }
}

type MethodValue = Extract<Value, { value: (...args: never[]) => unknown }>

function spent(why: string): Error {
  return badInput(`The chat template cannot be used: ${why}`, {
    hint: 'Use --raw to give the model the text as it is',
    advice: 'Ask for a completion, which gives the model a text as it is'
  })
}

function filterName({ filter }: NodeFields): string {
  return String((filter?.type === 'CallExpression' ? filter.callee : filter)?.value ?? '')
}

function isContainer(value: Value): boolean {
  return value.value instanceof Map || Array.isArray(value.value)
}

function* entriesOf(value: Value): Generator<[string, Value]> {
  const held: unknown = value.value
  if (held instanceof Map) yield* held as Map<string, Value>
  else if (Array.isArray(held)) for (const item of held as Value[]) yield ['', item]
}

/** Items of a list or a mapping; 0 for anything else. */
function itemsOf(value: Value | undefined): number {
  const held: unknown = value?.value
  return held instanceof Map ? held.size : Array.isArray(held) ? held.length : 0
}

function textOf(value: Value | undefined): string {
  return typeof value?.value === 'string' ? value.value : ''
}

/** Characters or items. */
function lengthOf(value: Value | undefined): number {
  return textOf(value).length + itemsOf(value)
}

function linesOf(text: string): number {
  return text.split('\n').length
}

/** Which ends of a text a method takes letters from. */
const STRIPS: Readonly<Record<string, { readonly start: boolean; readonly end: boolean }>> = {
  strip: { start: true, end: true },
  lstrip: { start: true, end: false },
  rstrip: { start: false, end: true }
}

/** As Python has it, with letters as the argument; the library takes spaces whatever it is told. */
function strip(
  text: string,
  { start, end }: { start: boolean; end: boolean },
  spaces: MethodValue['value']
): MethodValue['value'] {
  return (args, scope) => {
    const made = spaces(args, scope)
    const [given] = args
    if (given?.type !== 'StringValue') return made
    const letters = new Set(textOf(given))
    const characters = Array.from(text)
    let from = 0
    let to = characters.length
    if (start) while (from < to && letters.has(characters[from] ?? '')) from++
    if (end) while (to > from && letters.has(characters[to - 1] ?? '')) to--
    made.value = characters.slice(from, to).join('')
    return made
  }
}
