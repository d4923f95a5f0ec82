// How ids are drawn, for those who read it from users: defaults, what is allowed, and in words.
export {
  resolveSampling,
  samplingRange,
  type Sampling,
  type SamplingOptions
} from '../../client/text/sampler.ts'
