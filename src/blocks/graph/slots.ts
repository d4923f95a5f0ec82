// Several sessions in one run: matrices see all rows, attention sees each session's own in a slot of its
// own. Rows are dealt out and brought back by index, so a slot may have any number of rows; one that nobody
// sits in gets a copy of some row, whose answer nobody reads.
import type { GraphBuilder, Value } from './builder.ts'

/** Sessions in a run and so of a graph; one is the plain graph without any of this. */
export const SLOT_COUNTS: readonly number[] = [1, 2, 4, 8, 16]

/** Which rows all slots get, one after the other, with each slot's extra rows, (padded). */
export const SLOT_ROWS = 'slots.rows'
/** How many of them each slot gets, (slots). */
export const SLOT_SIZES = 'slots.sizes'
/** Which of what all slots answer, one after the other, are the run's rows, (count). */
export const SLOT_KEPT = 'slots.kept'
/** Every row's position in its session, (1, count). */
export const ROW_POSITIONS = 'positions'

/** An input that each slot has for itself. */
export function slotName(name: Value, slot: number | undefined): Value {
  return slot === undefined ? name : `${name}.${slot}`
}

/** The slots' numbers; one undefined where a graph has no slots. */
export function slotsOf(slots: number): readonly (number | undefined)[] {
  return slots === 1 ? [undefined] : Array.from({ length: slots }, (_, slot) => slot)
}

/** The graph's inputs that say whose rows are whose. */
export function slotInputs(builder: GraphBuilder, slots: number): void {
  builder.input(SLOT_ROWS, 'i64', ['padded'])
  builder.input(SLOT_SIZES, 'i64', [slots])
  builder.input(SLOT_KEPT, 'i64', ['count'])
}

/** Each slot's rows of x (1, count, width), extra rows behind them. */
export function dealt(builder: GraphBuilder, x: Value, slots: number): readonly Value[] {
  const all = builder.node('Gather', [x, SLOT_ROWS], { attributes: { axis: 1 } })
  const outputs = Array.from({ length: slots }, () => builder.fresh('slot'))
  return builder.nodes('Split', [all, SLOT_SIZES], { attributes: { axis: 1 }, outputs })
}

/** The run's rows of what each slot answered. */
export function gathered(builder: GraphBuilder, parts: readonly Value[]): Value {
  const all = builder.node('Concat', parts, { attributes: { axis: 1 } })
  return builder.node('Gather', [all, SLOT_KEPT], { attributes: { axis: 1 } })
}
