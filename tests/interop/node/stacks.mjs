// Two HPKE implementations behind one small interface. Neither is ours, and they share no code with each other:
// "panva" is hpke with @panva/hpke-noble (@noble/*), "dajiaji" is @hpke/* (mlkem, WebCrypto).
//
//   sender(suite, publicKey, info)             -> { enc, seal(aad, plaintext), export(label, length) }
//   recipient(suite, privateKey, enc, info)    -> { open(aad, ciphertext), export(label, length) }

import * as panva from 'hpke'
import * as noble from '@panva/hpke-noble'
import * as core from '@hpke/core'
import { DhkemX25519HkdfSha256 } from '@hpke/dhkem-x25519'
import { XWing } from '@hpke/hybridkem-x-wing'

export const X25519 = 0x0020
export const MLKEM768_X25519 = 0x647a
export const ENC_BYTES = { [X25519]: 32, [MLKEM768_X25519]: 1120 }
export const KEY_BYTES = { [X25519]: 32, [MLKEM768_X25519]: 1216 }
export const AEADS = { 1: { key: 16, name: 'AES-GCM' }, 2: { key: 32, name: 'AES-GCM' } }

function panvaSuite({ kem, aead }) {
  const kems = { [X25519]: noble.KEM_DHKEM_X25519_HKDF_SHA256, [MLKEM768_X25519]: noble.KEM_MLKEM768_X25519 }
  const aeads = { 1: panva.AEAD_AES_128_GCM, 2: panva.AEAD_AES_256_GCM }
  return new panva.CipherSuite(kems[kem], panva.KDF_HKDF_SHA256, aeads[aead])
}

function dajiajiSuite({ kem, aead }) {
  const kems = { [X25519]: DhkemX25519HkdfSha256, [MLKEM768_X25519]: XWing }
  const aeads = { 1: core.Aes128Gcm, 2: core.Aes256Gcm }
  return new core.CipherSuite({ kem: new kems[kem](), kdf: new core.HkdfSha256(), aead: new aeads[aead]() })
}

const bytes = (buffer) => new Uint8Array(buffer)

export const stacks = {
  panva: {
    async sender(names, publicKey, info) {
      const suite = panvaSuite(names)
      const { encapsulatedSecret, ctx } = await suite.SetupSender(await suite.DeserializePublicKey(publicKey), { info })
      return {
        enc: encapsulatedSecret,
        seal: (aad, plaintext) => ctx.Seal(plaintext, aad),
        export: (label, length) => ctx.Export(label, length),
      }
    },
    async recipient(names, privateKey, enc, info) {
      const suite = panvaSuite(names)
      const ctx = await suite.SetupRecipient(await suite.DeserializePrivateKey(privateKey), enc, { info })
      return {
        open: (aad, ciphertext) => ctx.Open(ciphertext, aad),
        export: (label, length) => ctx.Export(label, length),
      }
    },
  },
  dajiaji: {
    async sender(names, publicKey, info) {
      const suite = dajiajiSuite(names)
      const recipientPublicKey = await suite.kem.deserializePublicKey(publicKey)
      const ctx = await suite.createSenderContext({ recipientPublicKey, info })
      return {
        enc: bytes(ctx.enc),
        seal: async (aad, plaintext) => bytes(await ctx.seal(plaintext, aad)),
        export: async (label, length) => bytes(await ctx.export(label, length)),
      }
    },
    async recipient(names, privateKey, enc, info) {
      const suite = dajiajiSuite(names)
      const recipientKey = await suite.kem.deserializePrivateKey(privateKey)
      const ctx = await suite.createRecipientContext({ recipientKey, enc, info })
      return {
        open: async (aad, ciphertext) => bytes(await ctx.open(ciphertext, aad)),
        export: async (label, length) => bytes(await ctx.export(label, length)),
      }
    },
  },
}
