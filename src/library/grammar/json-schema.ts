// A JSON schema as a grammar of the texts that it permits, or of a part of them: objects have their
// properties in the order of the schema, and none beside them. What a schema says and this cannot
// hold is refused by name, so that every whole answer is valid.
import { badInput, type AppError } from '../../base/errors.ts'
import { lookUp } from '../../base/look-up.ts'
import type { Fragment, GrammarBuilder } from './grammar.ts'
import { JsonParts } from './json-parts.ts'
import { regexFragment } from './regex.ts'
import { areApart, type Schema } from './schemas-apart.ts'

/** What says nothing about values. */
const NOTES: ReadonlySet<string> = new Set([
  '$schema',
  '$id',
  '$anchor',
  '$comment',
  '$defs',
  'definitions',
  'title',
  'description',
  'default',
  'example',
  'examples',
  'deprecated',
  'readOnly',
  'writeOnly',
  'strict'
])

const TYPES = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null'] as const
type Type = (typeof TYPES)[number]

/** Keywords that say something about one type only. */
const OF_TYPE: Readonly<Record<Type, readonly string[]>> = {
  object: ['properties', 'required', 'additionalProperties', 'minProperties', 'maxProperties'],
  array: ['items', 'prefixItems', 'minItems', 'maxItems'],
  string: ['minLength', 'maxLength', 'pattern', 'format'],
  number: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'],
  integer: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'],
  boolean: [],
  null: []
}
const TYPED: ReadonlySet<string> = new Set(Object.values(OF_TYPE).flat())
const COMBINING = ['enum', 'const', 'anyOf', 'oneOf', 'allOf', '$ref'] as const

const DATE = '\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|1\\d|2[0-8])'
const TIME = '([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)'
const OCTET = '(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)'
/** Each a part of what the format permits. */
export const FORMATS: Readonly<Record<string, string>> = {
  date: DATE,
  time: TIME,
  'date-time': `${DATE}T${TIME}`,
  uuid: '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}',
  email:
    '[A-Za-z0-9_+-]{1,32}(\\.[A-Za-z0-9_+-]{1,32}){0,3}@[a-z0-9]{1,32}(\\.[a-z0-9]{1,32}){1,3}',
  ipv4: `${OCTET}(\\.${OCTET}){3}`,
  uri: 'https?://[a-z0-9]{1,32}(\\.[a-z0-9]{1,32}){0,4}(/[A-Za-z0-9_.~-]{0,64}){0,8}'
}

const MOST_BYTES = 512 * 1024
const MOST_DEPTH = 64
const MOST_PROPERTIES = 5000
const MOST_ENUM = 5000
const MOST_REPEATS = 10_000
/** Numbers that are written are below it, and not below it negative. */
const MOST_BOUND = 1e15

/** @throws AppError BAD_INPUT, naming the keyword that cannot be held and where it stands */
export function schemaFragment(builder: GrammarBuilder, schema: unknown): Fragment {
  return new Compiler(builder, schema).compile()
}

class Compiler {
  readonly #builder: GrammarBuilder
  readonly #parts: JsonParts
  readonly #root: unknown
  /** By the schema itself: one that refers to itself calls itself. */
  readonly #rules = new Map<unknown, number>()
  #properties = 0
  #depth = 0

  constructor(builder: GrammarBuilder, root: unknown) {
    this.#builder = builder
    this.#parts = new JsonParts(builder)
    this.#root = root
    if (JSON.stringify(root)?.length > MOST_BYTES) {
      throw badInput(`The schema is over ${MOST_BYTES} bytes`)
    }
  }

  compile(): Fragment {
    const b = this.#builder
    return b.sequence(this.#parts.space(), this.#value(this.#root, '#'), this.#parts.space())
  }

  #value(schema: unknown, path: string): Fragment {
    if (schema === true) return this.#parts.any()
    if (schema === false) throw fault(path, 'permits nothing')
    if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) {
      throw fault(path, 'is no schema')
    }
    const b = this.#builder
    const known = this.#rules.get(schema)
    if (known !== undefined) return b.call(known)
    const rule = b.declare()
    this.#rules.set(schema, rule)
    if (++this.#depth > MOST_DEPTH) throw fault(path, `is nested deeper than ${MOST_DEPTH} levels`)
    b.define(rule, this.#body(schema as Schema, path))
    this.#depth--
    return b.call(rule)
  }

  #body(schema: Schema, path: string): Fragment {
    const keys = Object.keys(schema).filter((key) => !NOTES.has(key))
    for (const key of keys) {
      const isKnown = key === 'type' || TYPED.has(key) || COMBINING.some((one) => one === key)
      if (!isKnown) throw fault(path, `has '${key}', which cannot be held`)
    }
    // References inside would lead elsewhere.
    if (path !== '#' && '$id' in schema && JSON.stringify(schema).includes('"$ref"'))
      throw fault(path, "has an '$id' of its own")
    const combining = COMBINING.filter((key) => key in schema)
    const [only, ...others] = combining
    if (only !== undefined) {
      if (others.length > 0) throw fault(path, `has '${only}' beside '${others.join("', '")}'`)
      return this.#combined(only, schema, keys, path)
    }
    const types = this.#types(schema, path)
    const parts = types.map((type) => this.#typed(type, schema, path))
    return this.#builder.choice(parts)
  }

  #combined(
    key: (typeof COMBINING)[number],
    schema: Schema,
    keys: readonly string[],
    path: string
  ): Fragment {
    const beside = keys.filter((one) => one !== key && one !== 'type')
    if (beside.length > 0) throw fault(path, `has '${beside[0]}' beside '${key}'`)
    const value = schema[key]
    if (key === 'const') return this.#literals([value], schema, path)
    if (key === 'enum') {
      if (!Array.isArray(value) || value.length === 0 || value.length > MOST_ENUM) {
        throw fault(path, `has an 'enum' that is no list of 1 to ${MOST_ENUM} values`)
      }
      return this.#literals(value as unknown[], schema, path)
    }
    if ('type' in schema) throw fault(path, `has 'type' beside '${key}'`)
    if (key === '$ref') return this.#value(this.#resolve(value, path), `${path}/$ref`)
    if (!Array.isArray(value) || value.length === 0) throw fault(path, `has an empty '${key}'`)
    const list = value as unknown[]
    if (key === 'allOf' && list.length > 1) throw fault(path, "has an 'allOf' of several")
    if (key === 'oneOf') this.#requireApart(list, path)
    return this.#builder.choice(list.map((one, i) => this.#value(one, `${path}/${key}/${i}`)))
  }

  /** Values as they are, those that `type` permits. */
  #literals(values: readonly unknown[], schema: Schema, path: string): Fragment {
    const types = 'type' in schema ? this.#types(schema, path) : TYPES
    const fit = values.filter((value) => types.some((type) => isOfType(value, type)))
    if (fit.length === 0) throw fault(path, "has no value of its 'type'")
    return this.#builder.texts(fit.map((value) => JSON.stringify(value)))
  }

  /** Values that fit several of a oneOf are not valid: the parts must have nothing in common. */
  #requireApart(list: readonly unknown[], path: string): void {
    const resolved = list.map((one) => this.#resolved(one, path))
    for (const [i, a] of resolved.entries()) {
      for (const b of resolved.slice(i + 1)) {
        if (!areApart(a, b)) {
          throw fault(path, "has a 'oneOf' whose parts are not told apart by type or a constant")
        }
      }
    }
  }

  #resolved(schema: unknown, path: string): Schema {
    let current = schema
    for (let i = 0; i < MOST_DEPTH; i++) {
      if (typeof current !== 'object' || current === null) throw fault(path, 'has no schemas')
      if (!('$ref' in current)) return current as Schema
      current = this.#resolve(current.$ref, path)
    }
    throw fault(path, "has a '$ref' that leads back to itself")
  }

  #resolve(reference: unknown, path: string): unknown {
    if (typeof reference !== 'string' || !/^#(\/|$)/.test(reference)) {
      throw fault(path, "has a '$ref' to elsewhere: only '#/...' is looked up")
    }
    let found = this.#root
    for (const part of reference.slice(1).split('/').slice(1)) {
      const key = decoded(part)?.replaceAll('~1', '/').replaceAll('~0', '~')
      if (key === undefined) throw fault(path, `has a '$ref' to '${reference}', which is no path`)
      const isThere = typeof found === 'object' && found !== null && Object.hasOwn(found, key)
      if (!isThere) throw fault(path, `has a '$ref' to '${reference}', which is not there`)
      found = (found as Record<string, unknown>)[key]
    }
    return found
  }

  /** Types that are named, else those that other keywords speak of, else all. */
  #types(schema: Schema, path: string): readonly Type[] {
    const { type } = schema
    if (type === undefined) {
      const spoken = TYPES.filter((one) => OF_TYPE[one].some((key) => key in schema))
      // Without a type, keywords speak of values of one type and permit all others.
      const [only, ...others] = spoken.filter((one) => one !== 'integer')
      if (only === undefined) return TYPES.filter((one) => one !== 'integer')
      if (others.length > 0) throw fault(path, "has no 'type', but keywords of several")
      return [only]
    }
    const list: unknown[] = Array.isArray(type) ? type : [type]
    const known = list.filter((one): one is Type => TYPES.some((other) => other === one))
    if (known.length === 0 || known.length < list.length) {
      throw fault(path, `has the type '${String(type)}', which there is not`)
    }
    return known
  }

  #typed(type: Type, schema: Schema, path: string): Fragment {
    const b = this.#builder
    switch (type) {
      case 'boolean':
        return b.choice([b.text('true'), b.text('false')])
      case 'null':
        return b.text('null')
      case 'integer':
      case 'number':
        return this.#number(type, schema, path)
      case 'string':
        return this.#string(schema, path)
      case 'array':
        return this.#array(schema, path)
      case 'object':
        return this.#object(schema, path)
      default:
        throw fault(path, 'has no type')
    }
  }

  #number(type: 'number' | 'integer', schema: Schema, path: string): Fragment {
    const bound = (key: string): number | undefined => {
      const value = schema[key]
      if (value === undefined) return undefined
      if (typeof value !== 'number') throw fault(path, `has a '${key}' that is no number`)
      if (Math.abs(value) < MOST_BOUND) return value
      // All that is written lies within it, as within the bounds of 64-bit integers.
      if (value < 0 === /min/i.test(key)) return undefined
      throw fault(path, `has a '${key}' that no number below ${MOST_BOUND} fits`)
    }
    const minimum = bound('minimum')
    const maximum = bound('maximum')
    const above = bound('exclusiveMinimum')
    const below = bound('exclusiveMaximum')
    const isFree = OF_TYPE.number.every((key) => schema[key] === undefined)
    if (isFree) return type === 'integer' ? this.#parts.integer() : this.#parts.number()
    const low = Math.max(minimum ?? -Infinity, above ?? -Infinity)
    const high = Math.min(maximum ?? Infinity, below ?? Infinity)
    const open = { low: above === low, high: below === high }
    if (type === 'number') return this.#parts.numberBetween(low, high, open)
    const from = open.low && Number.isInteger(low) ? low + 1 : low
    const to = open.high && Number.isInteger(high) ? high - 1 : high
    return this.#parts.integerBetween(from, to)
  }

  #string(schema: Schema, path: string): Fragment {
    const { pattern, format } = schema
    const low = this.#count(schema, 'minLength', path) ?? 0
    const high = this.#count(schema, 'maxLength', path) ?? Infinity
    const isBound = low > 0 || high < Infinity
    if (pattern === undefined && format === undefined) {
      if (low > high) throw fault(path, "has a 'minLength' over its 'maxLength'")
      return this.#parts.string(low, high)
    }
    if (isBound) throw fault(path, "has a length beside a 'pattern' or 'format'")
    if (pattern !== undefined && format !== undefined) {
      throw fault(path, "has a 'pattern' beside a 'format'")
    }
    const known = typeof format === 'string' ? lookUp(FORMATS, format) : undefined
    if (format !== undefined && known === undefined) {
      throw fault(
        path,
        `has the format '${String(format)}': only ${Object.keys(FORMATS).join(', ')}`
      )
    }
    if (pattern !== undefined && typeof pattern !== 'string') throw fault(path, 'has no pattern')
    const b = this.#builder
    const inner = regexFragment(known ?? String(pattern), {
      builder: b,
      character: (ranges) => this.#parts.character(ranges),
      covers: known === undefined ? 'part' : 'whole'
    })
    return b.sequence(b.text('"'), inner, b.text('"'))
  }

  #array(schema: Schema, path: string): Fragment {
    const b = this.#builder
    const { items, prefixItems } = schema
    const low = this.#count(schema, 'minItems', path) ?? 0
    const high = this.#count(schema, 'maxItems', path) ?? Infinity
    if (low > high) throw fault(path, "has a 'minItems' over its 'maxItems'")
    const item = (): Fragment =>
      items === undefined ? this.#parts.any() : this.#value(items, `${path}/items`)
    if (prefixItems === undefined) {
      return this.#parts.list(item, low, items === false ? 0 : high)
    }
    if (!Array.isArray(prefixItems)) throw fault(path, "has a 'prefixItems' that is no list")
    const first = prefixItems as unknown[]
    // Fewer items than are described would be valid too; all of them are what is meant.
    if (first.length > high) throw fault(path, "has more 'prefixItems' than 'maxItems'")
    const described = first.flatMap((one, i) => [
      ...(i === 0 ? [] : [this.#parts.comma()]),
      this.#value(one, `${path}/prefixItems/${i}`)
    ])
    const least = Math.max(0, low - first.length)
    const most = items === false || items === undefined ? least : high - first.length
    if (items === false && least > 0) throw fault(path, "has a 'minItems' that 'items' forbids")
    const more = b.repeat(() => b.sequence(this.#parts.comma(), item()), least, most)
    const space = (): Fragment => this.#parts.space()
    return b.sequence(b.text('['), space(), ...described, more, space(), b.text(']'))
  }

  #object(schema: Schema, path: string): Fragment {
    const { properties = {}, required = [], additionalProperties: others } = schema
    const isObject = typeof properties === 'object' && properties !== null
    if (!isObject || Array.isArray(properties)) throw fault(path, "has 'properties' that are none")
    if (!Array.isArray(required) || !required.every((one) => typeof one === 'string')) {
      throw fault(path, "has a 'required' that is no list of names")
    }
    const names = Object.keys(properties)
    const missing = required.filter((name) => !names.includes(name))
    if (missing.length > 0 && others === false) {
      throw fault(path, `requires '${missing[0]}', which it forbids`)
    }
    const all = [...names, ...new Set(missing)]
    // Validators pass over it, as it is no common name in JavaScript.
    if (all.includes('__proto__')) throw fault(path, "has '__proto__', which cannot be held")
    this.#properties += all.length
    if (this.#properties > MOST_PROPERTIES) {
      throw fault(path, `has more than ${MOST_PROPERTIES} properties in all`)
    }
    const least = this.#count(schema, 'minProperties', path) ?? 0
    const most = this.#count(schema, 'maxProperties', path) ?? Infinity
    if (all.length === 0) return this.#map(others, least, most, path)
    if (least > required.length || most < all.length) {
      throw fault(path, "has a 'minProperties' or 'maxProperties' beside 'properties'")
    }
    const pairs = all.map((name) => ({
      name,
      schema: Object.hasOwn(properties, name)
        ? (properties as Record<string, unknown>)[name]
        : (others ?? true),
      isRequired: required.includes(name)
    }))
    return this.#pairs(pairs, path)
  }

  /** An object with any keys. */
  #map(others: unknown, least: number, most: number, path: string): Fragment {
    if (others === false) {
      if (least > 0) throw fault(path, "has a 'minProperties' that it forbids")
      return this.#parts.map(() => this.#parts.any(), 0, 0)
    }
    // A key that comes twice counts once.
    if (least > 1) throw fault(path, "has a 'minProperties' over 1")
    if (others === undefined || others === true) {
      if (least === 0 && most === Infinity) return this.#parts.anyObject()
      return this.#parts.map(() => this.#parts.any(), least, most)
    }
    const value = (): Fragment => this.#value(others, `${path}/additionalProperties`)
    return this.#parts.map(value, least, most)
  }

  /** Pairs in their order; those that are not required may be left out. */
  #pairs(
    pairs: readonly { name: string; schema: unknown; isRequired: boolean }[],
    path: string
  ): Fragment {
    const b = this.#builder
    const space = (): Fragment => this.#parts.space()
    /** Places between pairs: before the first one that is written, and behind one. */
    let fresh = b.node()
    const start = fresh
    let behind: number | undefined
    for (const { name, schema, isRequired } of pairs) {
      const value = this.#value(schema, `${path}/properties/${name}`)
      const pair = b.sequence(this.#parts.literal(name), space(), b.text(':'), space(), value)
      const next = b.node()
      if (fresh >= 0) b.free(fresh, pair.start)
      if (behind !== undefined) {
        const comma = this.#parts.comma()
        b.free(behind, comma.start)
        b.free(comma.end, pair.start)
      }
      b.free(pair.end, next)
      if (isRequired) fresh = -1
      else if (behind !== undefined) b.free(behind, next)
      behind = next
    }
    const end = b.node()
    if (fresh >= 0) b.free(fresh, end)
    if (behind !== undefined) b.free(behind, end)
    return b.sequence(b.text('{'), space(), { start, end }, space(), b.text('}'))
  }

  #count(schema: Schema, key: string, path: string): number | undefined {
    const value = schema[key]
    if (value === undefined) return undefined
    if (Number.isInteger(value) && Number(value) >= 0 && Number(value) <= MOST_REPEATS) {
      return Number(value)
    }
    throw fault(path, `has a '${key}' that is no whole number up to ${MOST_REPEATS}`)
  }
}

function fault(path: string, what: string): AppError {
  return badInput(`The schema cannot be used: '${path.slice(0, 200)}' ${what}`)
}

/** Undefined for what is no text of a URI. */
function decoded(part: string): string | undefined {
  try {
    return decodeURIComponent(part)
  } catch {
    return undefined
  }
}

function isOfType(value: unknown, type: Type): boolean {
  switch (type) {
    case 'object':
      return typeof value === 'object' && value !== null && !Array.isArray(value)
    case 'array':
      return Array.isArray(value)
    case 'null':
      return value === null
    case 'integer':
      return Number.isInteger(value)
    default:
      return typeof value === type
  }
}
