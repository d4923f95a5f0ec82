// Turns what a terminal in raw mode sends into keys, text and pastes. Knows no line and no screen.

export type KeyName =
  | 'enter'
  | 'newline'
  | 'tab'
  | 'backspace'
  | 'delete'
  | 'left'
  | 'right'
  | 'up'
  | 'down'
  | 'home'
  | 'end'
  | 'word-left'
  | 'word-right'
  | 'kill-end'
  | 'kill-start'
  | 'kill-word-left'
  | 'kill-word-right'
  | 'yank'
  | 'clear-screen'
  | 'interrupt'
  | 'end-of-input'
  | 'suspend'

export type Key =
  | { readonly kind: 'text'; readonly text: string }
  /** Pasted as a whole: its newlines are text. */
  | { readonly kind: 'paste'; readonly text: string }
  | { readonly kind: 'key'; readonly name: KeyName }

const CONTROLS: Readonly<Record<string, KeyName>> = {
  '\x01': 'home',
  '\x02': 'left',
  '\x03': 'interrupt',
  '\x04': 'end-of-input',
  '\x05': 'end',
  '\x06': 'right',
  '\x08': 'backspace',
  '\t': 'tab',
  '\n': 'enter',
  '\x0b': 'kill-end',
  '\x0c': 'clear-screen',
  '\r': 'enter',
  '\x0e': 'down',
  '\x10': 'up',
  '\x15': 'kill-start',
  '\x17': 'kill-word-left',
  '\x19': 'yank',
  '\x1a': 'suspend',
  '\x7f': 'backspace'
}

/** The whole sequence after ESC. */
const SEQUENCES: Readonly<Record<string, KeyName>> = {
  '[A': 'up',
  '[B': 'down',
  '[C': 'right',
  '[D': 'left',
  '[H': 'home',
  '[F': 'end',
  '[1~': 'home',
  '[3~': 'delete',
  '[4~': 'end',
  '[7~': 'home',
  '[8~': 'end',
  '[1;3C': 'word-right',
  '[1;3D': 'word-left',
  '[1;5C': 'word-right',
  '[1;5D': 'word-left',
  '[13;2u': 'newline',
  '[27;2;13~': 'newline',
  OA: 'up',
  OB: 'down',
  OC: 'right',
  OD: 'left',
  OH: 'home',
  OF: 'end',
  b: 'word-left',
  f: 'word-right',
  d: 'kill-word-right',
  '\r': 'newline',
  '\n': 'newline',
  '\x7f': 'kill-word-left',
  '\x08': 'kill-word-left'
}

const PASTE_BEGINS = '\x1b[200~'
const PASTE_ENDS = '\x1b[201~'
/** A sequence after ESC: CSI, SS3, or one character. */
const SEQUENCE = /^(?:\[[0-?]*[ -/]*[@-~]|O[ -~]|[^[O])/s
/** Longer ones are dropped: an endless one must not be kept. */
const MOST_SEQUENCE = 64

/** Bytes of a terminal to keys. An incomplete sequence waits for the rest. */
export class KeyReader {
  readonly #decoder = new TextDecoder()
  #rest = ''
  #paste: string | undefined

  push(bytes: Uint8Array | string): Key[] {
    this.#rest += typeof bytes === 'string' ? bytes : this.#decoder.decode(bytes, { stream: true })
    const keys: Key[] = []
    while (this.#rest !== '') {
      const key = this.#paste === undefined ? this.#key() : this.#pasted(this.#paste)
      if (key === 'wait') break
      if (key) keys.push(key)
    }
    return keys
  }

  /** The next key; undefined for one without a meaning. */
  #key(): Key | undefined | 'wait' {
    const rest = this.#rest
    if (rest.startsWith(PASTE_BEGINS)) {
      this.#rest = rest.slice(PASTE_BEGINS.length)
      this.#paste = ''
      return undefined
    }
    const first = rest[0] ?? ''
    if (first === '\x1b') return this.#sequence(rest.slice(1))
    const [text = ''] = /^\P{Cc}+/u.exec(rest) ?? []
    if (text === '') {
      this.#rest = rest.slice(1)
      const control = CONTROLS[first]
      return control && { kind: 'key', name: control }
    }
    this.#rest = rest.slice(text.length)
    return { kind: 'text', text }
  }

  #sequence(behind: string): Key | undefined | 'wait' {
    const [found] = SEQUENCE.exec(behind) ?? []
    if (found === undefined) {
      if (behind.length < MOST_SEQUENCE) return 'wait'
      this.#rest = behind
      return undefined
    }
    this.#rest = behind.slice(found.length)
    const name = Object.hasOwn(SEQUENCES, found) ? SEQUENCES[found] : undefined
    return name && { kind: 'key', name }
  }

  #pasted(before: string): Key | undefined | 'wait' {
    const text = before + this.#rest
    const end = text.indexOf(PASTE_ENDS)
    if (end < 0) {
      this.#paste = text
      this.#rest = ''
      return 'wait'
    }
    this.#paste = undefined
    this.#rest = text.slice(end + PASTE_ENDS.length)
    return { kind: 'paste', text: text.slice(0, end).replaceAll(/\r\n?/g, '\n') }
  }
}
