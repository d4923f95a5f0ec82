// Answers as people read them: Markdown made safe, and code that can be copied.
import DOMPurify from 'dompurify'
import { marked } from 'marked'
import { copyButton } from './copy-button.ts'
import { make } from './element.ts'

/** Fills `target` with what the text means. What is no plain markup is left out. */
export function showMarkdown(target: HTMLElement, text: string): void {
  const html = marked.parse(text, { async: false, gfm: true, breaks: true })
  const clean = DOMPurify.sanitize(html, {
    RETURN_DOM_FRAGMENT: true,
    // Pictures of SVG and the like load from elsewhere too.
    USE_PROFILES: { html: true },
    FORBID_TAGS: ['style', 'form', 'input', 'button', 'label', 'dialog', 'img', 'video', 'audio'],
    FORBID_ATTR: ['style', 'class', 'id', 'name', 'background', 'for']
  })
  for (const link of clean.querySelectorAll('a')) {
    link.rel = 'noopener noreferrer'
    link.target = '_blank'
  }
  for (const table of clean.querySelectorAll('table')) {
    const frame = make('div', { class: 'scroll', tabindex: '0' })
    table.replaceWith(frame)
    frame.append(table)
  }
  for (const block of clean.querySelectorAll('pre')) {
    const code = block.textContent ?? ''
    block.tabIndex = 0
    const frame = make(
      'div',
      { class: 'code' },
      copyButton(() => code, 'Copy the code')
    )
    block.replaceWith(frame)
    frame.prepend(block)
  }
  target.replaceChildren(clean)
}
