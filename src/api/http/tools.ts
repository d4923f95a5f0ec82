// Tools of a request: what the template is told of them, and which of them must be called.
import { RequestError } from './errors.ts'
import { asObject, Fields } from './fields.ts'

export interface Tool {
  readonly name: string
  readonly description?: string | undefined
  /** A JSON schema of its arguments. */
  readonly parameters: Readonly<Record<string, unknown>>
}

/** 'none': not to be called; 'required': one of them must be. */
export type ToolChoice = 'none' | 'auto' | 'required' | { readonly name: string }

export interface ToolUse {
  readonly tools: readonly Tool[]
  readonly choice: ToolChoice
  /** Several calls in one answer. */
  readonly parallel: boolean
}

const MOST_TOOLS = 256
const NAME = /^[\w.:-]{1,128}$/

/** The tools of chat completions. @throws RequestError */
export function readTools(fields: Fields): ToolUse {
  const tools = fields.array('tools', MOST_TOOLS).map((entry, i) => {
    const param = `tools[${i}]`
    const tool = new Fields(asObject(entry, param), `${param}.`)
    const type = tool.string('type') ?? 'function'
    if (type !== 'function') {
      throw new RequestError(`'${param}' is of type '${type}': only functions can be called`, {
        code: 'unsupported_parameter',
        param
      })
    }
    const given = tool.object('function')
    if (given === undefined) throw new RequestError(`'${param}.function' is missing`, { param })
    return readTool(given, 'parameters', param)
  })
  return {
    tools,
    choice: readChoice(fields.raw('tool_choice'), tools),
    parallel: fields.boolean('parallel_tool_calls') ?? true
  }
}

/** A tool by its name, its description and the schema in `schemaField`. @throws RequestError */
export function readTool(given: Fields, schemaField: string, param: string): Tool {
  const name = given.string('name') ?? ''
  if (!NAME.test(name)) {
    throw new RequestError(`'${param}' has no usable name: letters, digits, _ and - are`, { param })
  }
  const parameters = given.object(schemaField)?.body ?? { type: 'object', properties: {} }
  return { name, description: given.string('description'), parameters }
}

/** 'auto' by default. @throws RequestError for a tool that is not among them */
export function readChoice(given: unknown, tools: readonly Tool[]): ToolChoice {
  if (given === undefined || given === null) return 'auto'
  if (given === 'none' || given === 'auto') return given
  if (given === 'required' || given === 'any') return requireSome('required', tools)
  const choice = new Fields(asObject(given, 'tool_choice'), 'tool_choice.')
  const type = choice.string('type')
  if (type === 'none' || type === 'auto') return type
  if (type === 'required' || type === 'any') return requireSome('required', tools)
  const name = choice.object('function')?.string('name') ?? choice.string('name')
  if (name !== undefined && tools.some((tool) => tool.name === name)) return { name }
  throw new RequestError("'tool_choice' names no tool of 'tools'", { param: 'tool_choice' })
}

function requireSome(choice: ToolChoice, tools: readonly Tool[]): ToolChoice {
  if (tools.length > 0) return choice
  throw new RequestError("'tool_choice' wants a call, but there are no 'tools'", {
    param: 'tool_choice'
  })
}

/** As templates expect them. */
export function templateTools({ tools, choice }: ToolUse): readonly object[] {
  if (choice === 'none') return []
  const told = typeof choice === 'object' ? tools.filter(({ name }) => name === choice.name) : tools
  return told.map(({ name, description, parameters }) => ({
    type: 'function',
    function: { name, ...(description === undefined ? {} : { description }), parameters }
  }))
}
