/** The stand-in's own CA and a server certificate for loopback, so that no client needs to skip verification. */
import { generate } from "selfsigned";

export interface Certificates {
  /** PEM of the CA. */
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export async function makeCertificates(): Promise<Certificates> {
  const common = { keyType: "ec", algorithm: "sha256" } as const;
  const ca = await generate([{ name: "commonName", value: "mpo-relay sandbox CA" }], {
    ...common,
    extensions: [
      { name: "basicConstraints", cA: true, critical: true },
      { name: "keyUsage", keyCertSign: true, cRLSign: true, critical: true },
    ],
  });
  const server = await generate([{ name: "commonName", value: "localhost" }], {
    ...common,
    ca: { key: ca.private, cert: ca.cert },
    extensions: [
      { name: "basicConstraints", cA: false, critical: true },
      { name: "keyUsage", digitalSignature: true, critical: true },
      { name: "extKeyUsage", serverAuth: true },
      {
        name: "subjectAltName",
        altNames: [
          { type: 2, value: "localhost" },
          { type: 7, ip: "127.0.0.1" },
          { type: 7, ip: "::1" },
        ],
      },
    ],
  });
  return { ca: ca.cert, cert: server.cert, key: server.private };
}
