/** A token service of our own for Distribution: https://distribution.github.io/distribution/spec/auth/token/ */
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { temporaryFolder } from "./child.ts";
import type { TokenAuth } from "./registry.ts";

export interface TokenIssuer {
  readonly auth: TokenAuth;
  /** The scopes of each token that was asked for. */
  readonly asked: readonly (readonly string[])[];
  stop(): Promise<void>;
}

/** Gives anybody a token to push. One to pull alone is for whoever shows user and password. */
export async function startTokenIssuer({ username, password }: { username: string; password: string }): Promise<TokenIssuer> {
  const { publicKey, privateKey } = await generateKeyPair("RS256", { extractable: true });
  const [issuer, service, kid] = ["issuer-of-the-test", "registry-of-the-test", "key-1"];
  const folder = await temporaryFolder("tokens");
  const jwks = join(folder.path, "jwks.json");
  await writeFile(jwks, JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid, use: "sig", alg: "RS256" }] }));
  const known = `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
  const asked: string[][] = [];

  const give = async (url: URL, authorization: string | undefined): Promise<string | null> => {
    const scopes = url.searchParams.getAll("scope").flatMap((each) => each.split(" "));
    asked.push(scopes);
    if (!scopes.every((scope) => scope.includes("push")) && authorization !== known) return null;
    const access = scopes.map((scope) => {
      const [type, name, actions = ""] = scope.split(":");
      return { type, name, actions: actions.split(",") };
    });
    return new SignJWT({ access })
      .setProtectedHeader({ alg: "RS256", kid, typ: "JWT" })
      .setIssuer(issuer)
      .setAudience(service)
      .setSubject("test")
      .setNotBefore("-1m")
      .setExpirationTime("2m")
      .sign(privateKey);
  };
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? "", "http://issuer");
    void give(url, request.headers.authorization).then((token) =>
      token === null
        ? response.writeHead(401).end()
        : response
            .writeHead(200, { "content-type": "application/json" })
            .end(JSON.stringify({ token, access_token: token, expires_in: 12 })),
    );
  }).listen(0, "localhost");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  return {
    // crane asks no token service at a private address, but one by this name
    auth: { realm: `http://localhost:${port}/token`, service, issuer, jwks },
    asked,
    stop: async () => {
      server.close();
      await folder.remove();
    },
  };
}
