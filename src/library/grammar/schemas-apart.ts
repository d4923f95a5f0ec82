// Whether two schemas have no value in common, as far as their types and constants tell.

export type Schema = Readonly<Record<string, unknown>>

/** Whether no value can fit both, by their types or a property's constants. */
export function areApart(a: Schema, b: Schema): boolean {
  const [typesA, typesB] = [typesOf(a), typesOf(b)]
  if (typesA && typesB && !typesA.some((type) => typesB.includes(type))) return true
  const [valuesA, valuesB] = [constantsOf(a), constantsOf(b)]
  if (valuesA && valuesB && !valuesA.some((value) => valuesB.includes(value))) return true
  const [propertiesA, propertiesB] = [requiredOf(a), requiredOf(b)]
  return Object.entries(propertiesA).some(([name, one]) => {
    const other = propertiesB[name]
    return other !== undefined && areApart(one, other)
  })
}

/** Types of a schema, numbers as one; undefined: any. */
function typesOf(schema: Schema): readonly string[] | undefined {
  const values = rawConstants(schema)
  if (values) {
    return values.map((value) =>
      value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value
    )
  }
  if (schema['type'] === undefined) return undefined
  const list: unknown[] = Array.isArray(schema['type']) ? schema['type'] : [schema['type']]
  return list.map((type) => (type === 'integer' ? 'number' : String(type)))
}

function rawConstants(schema: Schema): readonly unknown[] | undefined {
  if ('const' in schema) return [schema['const']]
  return Array.isArray(schema['enum']) ? (schema['enum'] as unknown[]) : undefined
}

function constantsOf(schema: Schema): readonly string[] | undefined {
  return rawConstants(schema)?.map((value) => JSON.stringify(value, inOrder))
}

/** Objects are the same in whatever order their names stand. */
function inOrder(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)))
}

/** Schemas of properties that every value has. */
function requiredOf(schema: Schema): Record<string, Schema> {
  const { properties, required } = schema
  if (typeof properties !== 'object' || properties === null || !Array.isArray(required)) return {}
  return Object.fromEntries(
    Object.entries(properties).filter(
      ([name, one]) => required.includes(name) && typeof one === 'object' && one !== null
    )
  ) as Record<string, Schema>
}
