// The specification of the wire, version 1, and its limits. codec/ implements it, test/wire pins
// its bytes. Knows no onnxruntime and no DHT.
//
// CARRIER  An encrypted stream of hyperdht (Noise IK, 32-byte Ed25519 keys; message frames of at
// most 16 MiB). On it protomux, one channel with the protocol name 'petals' and no id. The
// handshake of the channel is Hello; its message types are the numbers below. A frame holds one
// message; protomux's batches are not used. A frame over LIMITS.frameBytes, a batch, or more than
// LIMITS.controlFrames frames of protomux's own end the link.
//
// NOTATION uint: compact-encoding's variable integer, at most 2^53 - 1. u8: one byte. f32: 4 bytes,
// little-endian, finite, not negative. key: 32 bytes. id: 16 bytes. str(n): uint length, then at
// most n bytes of UTF-8; say(n): the same for people, in which a receiver replaces control and
// format characters. bytes(n): uint length, then at most n bytes. list(n, x): uint count, at most
// n, then that many x. A name in angle brackets is a record below.
//
// RECORDS  Every record begins with `flags`, a uint below 2^31. After its plain fields comes one
// field for each bit that is set, in the order of bits: uint length, then that many bytes. A
// boolean is a field of length 0. A receiver skips the fields of bits that it does not know. It
// also skips what follows the last field of a message, or of a record that has its length before
// it. So optional fields may be added anywhere. Plain fields are never added, removed or reordered:
// that is a new version.
//
//   status   flags | queue uint | freeTokens uint | computeMs f32 | queueMs f32
//            bit 0 trained uint: in pongs, tokens of trainings computed so far
//   hop      flags | peer key | start uint | end uint                       start < end
//   trace    flags | peer key | <status>
//   mark     length uint | label id          tokens of a prefix, and its name; no flags
//   tensor   dtype uint | rows uint | columns uint | values bytes         no flags: on the hot path
//            dtype 0 f32, 1 f16, 2 bf16, 3 int8; row after row, little-endian. An int8 row is one
//            f32 scale for each 64 values begun, then the values; value = scale * int8, +-127.
//            `values` is exactly rows * rowBytes(dtype, columns) long: that is checked, as are rows
//            and columns, before anything is allocated. No value is NaN or infinite; a scale is at
//            most 2.6e36, so that -128 times it is finite too.
//   info     flags | peer key | model key | modelName say(128) | blockCount uint |
//            hiddenSize uint | start uint | end uint | quant say(16) | throughput f32 |
//            prefillThroughput f32 | maxTokens uint | freeTokens uint | version say(32) |
//            issuedAt uint | expiresAt uint | pings list(16, peer key, ms f32)
//            bit 0 draining, 1 next <next>, 2 fixed, 3 arithmetic say(24),
//            4 adapters list(8, bytes8), 5 noTraining
//            start < end <= blockCount
//            While a server loads and serves nothing yet, start and end say what it loads.
//   next     flags | start uint | end uint | inMs uint                    start < end <= blockCount
//            bit 0 left: the blocks named by the info are not served
//            In lists each info has its length before it.
//
// MESSAGES  C is the end that wants blocks computed, S the end that serves them. One link carries
// both roles; a server that pushes is C towards the next one, for steps and nothing else.
//   --  hello     version uint | flags | agent say(128) | dtypes list(16, uint) |
//                 servers list(64, info)                                    both ends, once, first
//                 bit 0 proof bytes(4096), 1 refusal <error>
//    0  open      flags | session id | model key | start uint | end uint |
//                 maxTokens uint                                            C to S
//                 bit 0 prefix list(256, mark), 1 forget,
//                 2 adapters list(8, id key | weight f32, also negative)
//    1  opened    flags | session id | <status>                             S to C
//                 bit 0 held uint, 1 adapted
//    2  step      flags | session id | step uint | kind uint | start uint | count uint |
//                 deadlineMs uint | route list(64, hop) | <tensor>          C to S
//                 kind 0 forward, 1 stateless, 2 backward
//                 bit 0 prompts <tensor>, 1 adapter str(128), 2 receipt, 3 answerRows uint,
//                 4 mirror
//    3  result    flags | session id | step uint | start uint | count uint | end uint |
//                 trace list(64, trace) | <tensor>                          S to C
//                 bit 0 receipt bytes(256)
//    4  error     flags | session bytes(16): none or 16 | step uint: number + 1, 0 for an opening |
//                 code str(32) | message say(1024) | retryAfterMs uint | <status>     both
//                 bit 0 retryable
//    5  cancel    flags | session id | step uint                            C to S
//    6  close     flags | session id                                        C to S
//    7  ping      flags | nonce uint                                        both
//    8  pong      flags | nonce uint | <status>                             both
//    9  announce  flags | servers list(64, info)                            both
//                 bit 0 revocations bytes(20000)
//   10  keep      flags | session id | step uint | marks list(256, mark)    C to S
//                 bit 0 shared list(4, mark)
//   11  want      flags | request uint | what uint | name str(512) | start uint | count uint   both
//                 what 0 catalogue, 1 holding, 2 hashes, 3 bytes, 4 adapter, 5 adapter part
//   12  give      flags | request uint | left uint | data bytes(65536)      both
//                 bit 0 refused str(32)
//   13  tune      flags | request uint | left uint | data bytes(65536)     C to S
//                 bit 0 cancel
//   14  tuned     flags | request uint | left uint | data bytes(65536)     S to C
//                 bit 0 failure <error>
//
// STATES  A hello with a refusal (the server is full, the peer is no member) ends the link; such a
// hello shows no servers. An end may send right after its own hello, before the other's has come:
// all versions understand what is in version 1. A peer describes only itself in its infos. `open`
// is answered by `opened` or by an error with step -1 (0 on the wire). A `step` need not wait for
// `opened`, but its session must have been requested on the same link. When a server pushes, the
// session is one that its client has opened at the next server. A step is answered by the last
// server of its route, or by the one at which it failed, and the answer goes to the client's link,
// not to the link that brought the step. Nothing answers cancel, keep and close. A step number that
// is not above the last one of its session is a repeat and is dropped. A message about an unknown
// session is answered with NOT_FOUND (step, open) or dropped. `start` cuts the session's KV to that
// length first. `announce` replaces the infos of hello; an empty one says that this end serves
// nothing any more.
//
// PREFIXES A server may keep the KV of a session that ended, and copy that of one that still runs,
// under the labels that its client gave with `keep`: each names the session's first `length` tokens
// as they were after step `step`. A label is a secret of its maker. Opening a session with a label
// in `prefix` gives a session over the same blocks that already holds that many tokens, as `held`
// says. A server keeps what is `shared` under the first 16 bytes of BLAKE2b-256(key of the link's
// peer, label) instead: no other peer can store anything there, and everybody who knows key and
// label finds it. With `forget` the server gives what it held, drops everything else that begins so
// and is not shared, and keeps nothing of the session. client/session/prefix.ts makes the labels.
//
// WEIGHTS  A server gives the files of its model to every peer that may speak with it. A want is
// answered by gives with its number: pieces of one string of bytes, in order, where `left` counts
// the bytes that follow; or by a single give with a code that says why not (BUSY: ask later;
// NOT_FOUND: it does not have that). More than 16 unanswered wants of one link are answered with
// BUSY. A chunk is chunkBytes of a file; the last chunk is shorter.
//   catalogue  of the model called `name`: flags | model key | kind uint (0 GGUF, 1 folder) |
//              small list(16, file) | weights list(1024, file)
//              file: path str(256) | size uint | sha256 key
//              bit 0 unverified: known from other peers only
//   holding    of the file whose SHA-256 in hex is `name`: flags | size uint | chunkBytes uint |
//              held bytes(524288) | vouched bytes(524288), a bit for each chunk, the lowest first;
//              bit 0 root key, 1 whole: then both are empty. Vouched chunks came from no peer.
//   hashes     SHA-256 of chunks [start, start + count) of that file, count <= 2048; zeros for
//              those that it does not vouch for
//   bytes      bytes [start, start + count) of that file, count <= 1048576
// A root is the BLAKE2b tree of a file's chunks (model/store/manifest.ts). All of this is a claim;
// the peer that fetches decides what to believe (model/hub/bring-chunks.ts).
//
// ADAPTERS  A session is opened with adapters by their content ids. A server that lacks one asks
// the peer that opens the session for it, by wants: by naming it that peer has offered it. A server
// that says `adapters` in its info understands this, and its `opened` says `adapted`; others are
// not asked. The ids in an info are cut: only who knows a whole one can ask for it.
//   adapter       the adapter whose id in hex is `name`:
//                 flags | model key | dtype uint | positions uint | parts list(4097, key)
//                 bit 0 shape <shape>, 1 deep
//                 Its id is the BLAKE2b-256 of these bytes. dtype 0 to 2: the first of f16, bf16
//                 and f32 that holds all numbers exactly.
//   adapter part  part `start` of that adapter, all `count` bytes of it: of a block its low-rank
//                 numbers (for each target A, then B), then with `deep` its rows; of the number
//                 behind the last block the prompt's rows. Its BLAKE2b-256 is in `parts`.
//
// TRAINING  Steps of training have no session and leave nothing behind. A call is one string of
// bytes, sent in tunes with its number, in order, where `left` counts the bytes that follow; its
// answer comes in tuneds likewise, or as a single tuned with a failure. `cancel` ends a call. All
// floats are f32, little-endian. `lengths` are the rows of each sequence; rows of one see no other.
//   call     flags | kind uint | model key | start uint | end uint | deadlineMs uint
//            bit 0 lengths list(1024, uint), 1 hidden bytes, 2 gradient bytes, 3 prompts bytes,
//            4 adapter key, 5 shape <shape>, 6 values bytes, 7 dropout <dropout>: what the adapter
//            does not read, forwards and backwards alike
//            kind 0 forward: lengths, hidden -> answer's hidden
//                 1 backward: lengths, hidden, gradient -> hidden is the gradient of hidden, and
//                   gradients of adapter and prompts where the call has them
//                 2 adapter: shape, values -> nothing. The server keeps the adapter for a while
//                   under its id, the BLAKE2b-256 of the call's shape and values as they are
//                   written here, each with its length before it; calls of the same blocks name it
//                   by that.
//            A call whose adapter is not (or no longer) there fails with NOT_FOUND.
//   shape    flags | rank uint | scale f32 | targets list(16, str(64))
//   dropout  flags | share f32 | seeds list(1024, uint): one for each sequence, of 32 bits
//   answer   flags | hidden bytes | <status>
//            bit 0 adapterGradient bytes, 1 promptGradient bytes
//
// PRIVATE SWARMS  A member's hello says who it is to other members and nothing to strangers: its
// proof is a box that only members can open (swarm/private/proof.ts). Its servers are empty and
// follow in an `announce`, which each end sends, empty or not, once the other's proof was accepted.
// A link is ready with the other's announce. A peer without a valid proof gets DENIED, with an idle
// status. `revocations` is a list signed by the swarm's creator, passed on to members with an older
// one.
//
// FAULTS A message of an unknown type is skipped. A message that cannot be decoded, breaks a limit,
// or has an unknown kind or dtype is answered with an error (PROTOCOL, LIMIT, UNSUPPORTED) for its
// session when that can be read; otherwise it ends the link, as does the 16th such message. An
// opened or result that cannot be read counts as the failure of its request. An error without a
// session is about the link, which then ends. An unknown code reads as UNKNOWN. An end that does
// not read is cut off when too many bytes wait for it.
//
// VERSIONS  Each end says in its hello the highest version it speaks; both then use the lower one.
// Every build speaks MIN_VERSION to PROTOCOL_VERSION; a hello below MIN_VERSION ends the link with
// UNSUPPORTED. The plain fields of a hello are the same in every version.
import type { WireDtype } from './types.ts'

export const PROTOCOL_NAME = 'petals'
export const PROTOCOL_VERSION = 1
export const MIN_VERSION = 1

/** Dtypes by their numbers on the wire. */
export const DTYPES: readonly WireDtype[] = ['f32', 'f16', 'bf16', 'int8']

/** Message types on the channel, in protomux's order. */
export const MESSAGE_TYPES = {
  open: 0,
  opened: 1,
  step: 2,
  result: 3,
  error: 4,
  cancel: 5,
  close: 6,
  ping: 7,
  pong: 8,
  announce: 9,
  keep: 10,
  want: 11,
  give: 12,
  tune: 13,
  tuned: 14
} as const

export type MessageType = keyof typeof MESSAGE_TYPES

export const LIMITS = {
  /** Values of one tensor, 8 MiB: 512 f16 rows of a 70B model. A prompt is sent in chunks. */
  tensorBytes: 8_388_608,
  /** A whole message: its tensor and 64 KiB for the rest; a secret-stream frame ends at 16 MiB. */
  frameBytes: 8_454_144,
  /**
   * protomux's own frames (channels opened, refused, closed): each opening costs memory for good.
   */
  controlFrames: 64,
  /** Tokens of one step: beyond this, chunks flow better than they batch. */
  rows: 1024,
  /** Hidden sizes end at 16,384 today. */
  columns: 65_536,
  /** Servers of one route: the deepest models have 126 blocks, the longest sensible chain fewer. */
  hops: 64,
  /** Marks of a session: a million tokens have 208, see client/session/prefix.ts. */
  marks: 256,
  /** Of those for everybody: published prompts of one session. */
  sharedMarks: 4,
  /** Spans that one peer serves. */
  servers: 64,
  /** Blocks of a model. */
  blocks: 4096,
  /** Tokens of a session, and positions: far over any context there is, well below 2^31. */
  tokens: 16_777_216,
  /** Published round trips: with them all a signed record still fits a DHT datagram. */
  pings: 16,
  /** Dtypes named in a hello: 4 are known. */
  dtypes: 16,
  /** A signature and what it says. */
  receiptBytes: 256,
  /** An invitation's chain of capabilities. */
  proofBytes: 4096,
  /**
   * Revoked invites: 1,024 ids of 16 bytes and a signature, twice what a swarm should ever need.
   */
  revocationBytes: 20_000,
  agentBytes: 128,
  modelNameBytes: 128,
  quantBytes: 16,
  versionBytes: 32,
  arithmeticBytes: 24,
  adapterBytes: 128,
  codeBytes: 32,
  messageBytes: 1024,
  /** What a model is called: owner/name@revision:file. */
  wantNameBytes: 512,
  /** A piece of an answer: a step behind it waits 50 ms at 10 Mbit/s. */
  giveBytes: 65_536,
  /** Bytes of one want: four chunks of the usual size. */
  wantBytes: 1_048_576,
  /** Hashes of one want: 64 KiB. */
  wantHashes: 2048,
  /** Wants of one link that may wait for an answer. */
  wants: 16,
  /** A piece of a training call or of its answer: as long as a give. */
  tuneBytes: 65_536,
  /** A whole call: 4,096 rows of 8,192 floats and their gradient. */
  callBytes: 285_212_672,
  /** Adapters of one session. */
  adapters: 8,
  /** Beginnings of ids of adapters in an info: with them a signed record fits a DHT datagram. */
  namedAdapters: 8,
  /** One for each block and one for the prompt. */
  adapterParts: 4097,
  /** Rows of an adapter's prompt. */
  adapterRows: 4096,
  /** All numbers of an adapter for one block: rank 256 of a 405B model has 340 MiB of f32. */
  adapterPartBytes: 402_653_184,
  /** Sequences of one training step. */
  sequences: 1024,
  targets: 16,
  targetBytes: 64,
  /** A catalogue of 1,024 files, or the bits of the largest file. */
  payloadBytes: 1_114_112,
  pathBytes: 256,
  smallFiles: 16,
  weightFiles: 1024,
  /** As hubs take them, rounded up: 1 TiB. */
  fileBytes: 1_099_511_627_776,
  chunkBytes: 67_108_864,
  /** 1 TiB in chunks of 256 KiB. */
  bitfieldBytes: 524_288,
  /** Patience of a step and advice to come back: one day. */
  waitMs: 86_400_000,
  /** Messages that could not be read before the link ends. */
  faults: 16
} as const
