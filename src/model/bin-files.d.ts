// `import path from './x.bin' with { type: 'file' }` gives the file's path, also in an executable.
declare module '*.bin' {
  const path: string
  export default path
}
