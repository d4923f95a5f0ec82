// What files of training data consist of, whatever their format.

/** One record: its fields, or what is wrong with it. */
export interface DataRecord {
  /** Of its beginning, from 1; in Parquet the number of the row. */
  readonly line: number
  readonly fields?: Readonly<Record<string, unknown>>
  readonly fault?: string
}

export interface DataFile {
  readonly records: readonly DataRecord[]
  /** What `line` counts. */
  readonly unit: 'line' | 'row'
}
