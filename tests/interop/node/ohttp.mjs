// OHTTP's bytes after RFC 9458 and draft-ietf-ohai-chunked-ohttp-08, written from those texts and not from our Python.

import { AEADS, ENC_BYTES, KEY_BYTES } from './stacks.mjs'

const utf8 = new TextEncoder()
const NONE = new Uint8Array(0)
const FINAL = utf8.encode('final')
const CHUNK = 16384

export const FRAMINGS = {
  chunked: {
    request: 'message/bhttp chunked request',
    response: 'message/bhttp chunked response',
    requestType: 'message/ohttp-chunked-req',
    responseType: 'message/ohttp-chunked-res',
  },
  plain: {
    request: 'message/bhttp request',
    response: 'message/bhttp response',
    requestType: 'message/ohttp-req',
    responseType: 'message/ohttp-res',
  },
}

export function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

const uint16 = (data, at) => (data[at] << 8) | data[at + 1]

// RFC 9458 section 3.2: a list of key configurations, each behind its length.
export function parseKeyList(data) {
  const found = []
  for (let at = 0; at < data.length; ) {
    const length = uint16(data, at)
    found.push(parseKeyConfig(data.subarray(at + 2, at + 2 + length)))
    at += 2 + length
  }
  return found
}

export function parseKeyConfig(data) {
  const kem = uint16(data, 1)
  const end = 3 + KEY_BYTES[kem]
  const suites = []
  for (let at = end + 2; at < end + 2 + uint16(data, end); at += 4) {
    suites.push({ kdf: uint16(data, at), aead: uint16(data, at + 2) })
  }
  return { keyId: data[0], kem, publicKey: data.slice(3, end), suites }
}

function header(keyId, kem, aead) {
  return Uint8Array.of(keyId, kem >> 8, kem & 255, 0, 1, aead >> 8, aead & 255)
}

const info = (label, head) => concat(utf8.encode(label), Uint8Array.of(0), head)

// RFC 9000 section 16
function varint(value) {
  if (value < 64) return Uint8Array.of(value)
  if (value < 16384) return Uint8Array.of(0x40 | (value >> 8), value & 255)
  return Uint8Array.of(0x80 | (value >>> 24), (value >> 16) & 255, (value >> 8) & 255, value & 255)
}

function readVarint(data, at) {
  const size = 1 << (data[at] >> 6)
  let value = data[at] & 63
  for (let i = 1; i < size; i++) value = value * 256 + data[at + i]
  return [value, at + size]
}

async function* sealChunks(seal, pieces) {
  for (const [index, piece] of pieces.entries()) {
    const last = index === pieces.length - 1
    const sealed = await seal(last ? FINAL : NONE, piece)
    yield last ? concat(Uint8Array.of(0), sealed) : concat(varint(sealed.length), sealed)
  }
}

async function openChunks(open, data) {
  const opened = []
  for (let at = 0; ; ) {
    const [length, start] = readVarint(data, at)
    if (length === 0) {
      opened.push(await open(FINAL, data.subarray(start)))
      return opened
    }
    if (start + length > data.length) throw new Error('the message was cut')
    opened.push(await open(NONE, data.subarray(start, start + length)))
    at = start + length
  }
}

const cut = (data) => {
  const pieces = []
  for (let at = 0; at < data.length; at += CHUNK) pieces.push(data.subarray(at, at + CHUNK))
  return [...pieces, NONE]
}

async function collect(parts) {
  const all = []
  for await (const part of parts) all.push(part)
  return concat(...all)
}

// HKDF by WebCrypto's HMAC: RFC 5869, for outputs of one block.
async function hmac(key, data) {
  const imported = await crypto.subtle.importKey('raw', key, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign'])
  return new Uint8Array(await crypto.subtle.sign('HMAC', imported, data))
}

async function responseCipher(context, aead, enc, nonce, label) {
  const secret = await context.export(utf8.encode(label), nonce.length)
  const prk = await hmac(concat(enc, nonce), secret)
  const expand = async (name, length) => (await hmac(prk, concat(utf8.encode(name), Uint8Array.of(1)))).slice(0, length)
  const raw = await expand('key', AEADS[aead].key)
  const base = await expand('nonce', 12)
  const key = await crypto.subtle.importKey('raw', raw, AEADS[aead].name, false, ['encrypt', 'decrypt'])
  let count = 0
  const parameters = (aad) => {
    const iv = base.slice()
    iv[11] ^= count & 255
    iv[10] ^= count >> 8
    count += 1
    return { name: 'AES-GCM', iv, additionalData: aad }
  }
  return {
    open: async (aad, data) => new Uint8Array(await crypto.subtle.decrypt(parameters(aad), key, data)),
    seal: async (aad, data) => new Uint8Array(await crypto.subtle.encrypt(parameters(aad), key, data)),
  }
}

// Seal a request; returns the message and what opens its response.
export async function sealRequest(stack, config, aead, framing, plaintext) {
  const labels = FRAMINGS[framing]
  const head = header(config.keyId, config.kem, aead)
  const context = await stack.sender({ kem: config.kem, aead }, config.publicKey, info(labels.request, head))
  const sealed =
    framing === 'plain' ? await context.seal(NONE, plaintext) : await collect(sealChunks(context.seal, cut(plaintext)))
  const open = async (message) => {
    const size = Math.max(AEADS[aead].key, 12)
    const cipher = await responseCipher(context, aead, context.enc, message.subarray(0, size), labels.response)
    const rest = message.subarray(size)
    return framing === 'plain' ? [await cipher.open(NONE, rest)] : openChunks(cipher.open, rest)
  }
  return { message: concat(head, context.enc, sealed), open }
}

// Open a request with the private key; returns its plaintext and what seals the response.
export async function openRequest(stack, privateKey, framing, message) {
  const labels = FRAMINGS[framing]
  const head = message.subarray(0, 7)
  const [kem, aead] = [uint16(head, 1), uint16(head, 5)]
  const enc = message.slice(7, 7 + ENC_BYTES[kem])
  const context = await stack.recipient({ kem, aead }, privateKey, enc, info(labels.request, head))
  const rest = message.subarray(7 + ENC_BYTES[kem])
  const chunks = framing === 'plain' ? [await context.open(NONE, rest)] : await openChunks(context.open, rest)
  const seal = async (plaintext) => {
    const nonce = crypto.getRandomValues(new Uint8Array(Math.max(AEADS[aead].key, 12)))
    const cipher = await responseCipher(context, aead, enc, nonce, labels.response)
    if (framing === 'plain') return concat(nonce, await cipher.seal(NONE, plaintext))
    return concat(nonce, await collect(sealChunks(cipher.seal, cut(plaintext))))
  }
  return { plaintext: concat(...chunks), seal }
}
