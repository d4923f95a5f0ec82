// A button that copies a text and says so. Knows no page.
import { make } from './element.ts'

export function copyButton(text: () => string, label = 'Copy'): HTMLButtonElement {
  const button = make(
    'button',
    {
      type: 'button',
      click: () => {
        void navigator.clipboard.writeText(text()).then(() => {
          button.textContent = 'Copied'
          setTimeout(() => {
            button.textContent = label
          }, 1500)
        })
      }
    },
    label
  )
  return button
}
