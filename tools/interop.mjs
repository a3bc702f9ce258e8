// Verify a bundle that was signed with a key: node interop.mjs BUNDLE PUBLIC_KEY.pem
import { createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { bundleFromJSON } from "@sigstore/bundle";
import { Verifier, toSignedEntity, toTrustMaterial } from "@sigstore/verify";

const [, , file, pem] = process.argv;
const bundle = bundleFromJSON(JSON.parse(readFileSync(file, "utf8")));
const publicKey = createPublicKey(readFileSync(pem));
const root = { tlogs: [], ctlogs: [], certificateAuthorities: [], timestampAuthorities: [] };
const trusted = toTrustMaterial(root, () => ({ publicKey, validFor: () => true }));
const none = { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 };
try {
  new Verifier(trusted, none).verify(toSignedEntity(bundle));
} catch (error) {
  console.log(`refused: ${error.code}: ${error.message}`);
  process.exit(1);
}
console.log("verified");
