// The functions of onnxruntime's C API that we use: index in the table, argument types. The table
// only grows, so an index is valid in every later version.
import type { FFITypeOrString } from 'bun:ffi'

export interface OrtFunction {
  readonly index: number
  readonly args: readonly FFITypeOrString[]
  /** Default 'ptr': an OrtStatus, null for success. */
  readonly returns?: FFITypeOrString
}

const release = (index: number): OrtFunction => ({ index, args: ['ptr'], returns: 'void' })
const call = (index: number, ...args: FFITypeOrString[]): OrtFunction => ({ index, args })

export type OrtFunctionName =
  | 'GetErrorMessage'
  | 'CreateEnv'
  | 'DisableTelemetryEvents'
  | 'CreateSessionOptions'
  | 'EnableProfiling'
  | 'DisableMemPattern'
  | 'SetSessionLogSeverityLevel'
  | 'SetSessionGraphOptimizationLevel'
  | 'SetIntraOpNumThreads'
  | 'SetInterOpNumThreads'
  | 'CreateRunOptions'
  | 'RunOptionsSetTerminate'
  | 'RunOptionsUnsetTerminate'
  | 'CreateTensorAsOrtValue'
  | 'CreateTensorWithDataAsOrtValue'
  | 'GetTensorMutableData'
  | 'CreateMemoryInfo'
  | 'CreateCpuMemoryInfo'
  | 'GetAllocatorWithDefaultOptions'
  | 'ReleaseEnv'
  | 'ReleaseStatus'
  | 'ReleaseMemoryInfo'
  | 'ReleaseSession'
  | 'ReleaseValue'
  | 'ReleaseRunOptions'
  | 'ReleaseSessionOptions'
  | 'AddSessionConfigEntry'
  | 'CreateAllocator'
  | 'ReleaseAllocator'
  | 'RunWithBinding'
  | 'CreateIoBinding'
  | 'ReleaseIoBinding'
  | 'BindInput'
  | 'BindOutput'
  | 'AddInitializer'
  | 'CreateSessionFromArray'
  | 'SessionOptionsAppendExecutionProvider_CUDA_V2'
  | 'CreateCUDAProviderOptions'
  | 'UpdateCUDAProviderOptions'
  | 'ReleaseCUDAProviderOptions'
  | 'AddExternalInitializers'
  | 'SessionOptionsAppendExecutionProvider'
  | 'GetBuildInfoString'

export const ORT_TABLE: Readonly<Record<OrtFunctionName, OrtFunction>> = {
  GetErrorMessage: { index: 2, args: ['ptr'], returns: 'cstring' },
  CreateEnv: call(3, 'i32', 'ptr', 'ptr'),
  DisableTelemetryEvents: call(6, 'ptr'),
  CreateSessionFromArray: call(8, 'ptr', 'ptr', 'usize', 'ptr', 'ptr'),
  CreateSessionOptions: call(10, 'ptr'),
  EnableProfiling: call(14, 'ptr', 'ptr'),
  DisableMemPattern: call(17, 'ptr'),
  SetSessionLogSeverityLevel: call(22, 'ptr', 'i32'),
  SetSessionGraphOptimizationLevel: call(23, 'ptr', 'i32'),
  SetIntraOpNumThreads: call(24, 'ptr', 'i32'),
  SetInterOpNumThreads: call(25, 'ptr', 'i32'),
  CreateRunOptions: call(39, 'ptr'),
  RunOptionsSetTerminate: call(46, 'ptr'),
  RunOptionsUnsetTerminate: call(47, 'ptr'),
  CreateTensorAsOrtValue: call(48, 'ptr', 'ptr', 'usize', 'i32', 'ptr'),
  CreateTensorWithDataAsOrtValue: call(49, 'ptr', 'ptr', 'usize', 'ptr', 'usize', 'i32', 'ptr'),
  GetTensorMutableData: call(51, 'ptr', 'ptr'),
  CreateMemoryInfo: call(68, 'ptr', 'i32', 'i32', 'i32', 'ptr'),
  CreateCpuMemoryInfo: call(69, 'i32', 'i32', 'ptr'),
  GetAllocatorWithDefaultOptions: call(78, 'ptr'),
  ReleaseEnv: release(92),
  ReleaseStatus: release(93),
  ReleaseMemoryInfo: release(94),
  ReleaseSession: release(95),
  ReleaseValue: release(96),
  ReleaseRunOptions: release(97),
  ReleaseSessionOptions: release(100),
  AddSessionConfigEntry: call(130, 'ptr', 'ptr', 'ptr'),
  CreateAllocator: call(131, 'ptr', 'ptr', 'ptr'),
  ReleaseAllocator: release(132),
  RunWithBinding: call(133, 'ptr', 'ptr', 'ptr'),
  CreateIoBinding: call(134, 'ptr', 'ptr'),
  ReleaseIoBinding: release(135),
  BindInput: call(136, 'ptr', 'ptr', 'ptr'),
  BindOutput: call(137, 'ptr', 'ptr', 'ptr'),
  AddInitializer: call(150, 'ptr', 'ptr', 'ptr'),
  SessionOptionsAppendExecutionProvider_CUDA_V2: call(204, 'ptr', 'ptr'),
  CreateCUDAProviderOptions: call(205, 'ptr'),
  UpdateCUDAProviderOptions: call(206, 'ptr', 'ptr', 'ptr', 'usize'),
  ReleaseCUDAProviderOptions: release(208),
  AddExternalInitializers: call(210, 'ptr', 'ptr', 'ptr', 'usize'),
  SessionOptionsAppendExecutionProvider: call(216, 'ptr', 'ptr', 'ptr', 'ptr', 'usize'),
  GetBuildInfoString: { index: 254, args: [], returns: 'cstring' }
}
