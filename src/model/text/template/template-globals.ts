// The names that a chat template finds beside its messages, in place of the Jinja library's own,
// whose range() has no limit and whose clock is the system's.
import { badInput } from '../../../base/errors.ts'

const MAX_RANGE = 100_000 // real templates count messages

export function templateGlobals(date: Date): Record<string, unknown> {
  return {
    true: true,
    false: false,
    none: null,
    True: true,
    False: false,
    None: null,
    raise_exception(message: unknown) {
      throw badInput(`The chat template refuses these messages: ${String(message)}`)
    },
    range: limitedRange,
    strftime_now: (format: string) => formatDate(date, format)
  }
}

function limitedRange(first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second]
  const count = Math.max(0, Math.ceil((stop - start) / step))
  if (!(count <= MAX_RANGE)) throw badInput(`The chat template counts over ${MAX_RANGE}`)
  return Array.from({ length: count }, (_, i) => start + i * step)
}

const MONTHS: readonly string[] =
  'January,February,March,April,May,June,July,August,September,October,November,December'.split(',')
const DAYS: readonly string[] = 'Sunday,Monday,Tuesday,Wednesday,Thursday,Friday,Saturday'.split(
  ','
)

/** The parts of Python's strftime that templates use, in English everywhere. */
function formatDate(date: Date, format: string): string {
  const two = (value: number): string => String(value).padStart(2, '0')
  const month = MONTHS[date.getMonth()] ?? ''
  const day = DAYS[date.getDay()] ?? ''
  const hour = date.getHours()
  const parts: Record<string, string> = {
    '%Y': String(date.getFullYear()),
    '%y': two(date.getFullYear() % 100),
    '%m': two(date.getMonth() + 1),
    '%d': two(date.getDate()),
    '%-d': String(date.getDate()),
    '%b': month.slice(0, 3),
    '%B': month,
    '%a': day.slice(0, 3),
    '%A': day,
    '%H': two(hour),
    '%I': two(hour % 12 || 12),
    '%p': hour < 12 ? 'AM' : 'PM',
    '%M': two(date.getMinutes()),
    '%S': two(date.getSeconds()),
    '%%': '%'
  }
  return format.replaceAll(/%(?:[YymdbBaAHIpMS%]|-d)/g, (part) => parts[part] ?? part)
}
